/**
 * Cross-layer equalization: M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019, section 4.1.
 * Where a layer that is scale-free (Relu, nothing) lies between two products, W₁ → S⁻¹ W₁ and W₂ → W₂ S compute the same for every
 * diagonal S. With r₁, r₂ the ranges of a channel in either weight, s = √(r₁ / r₂) makes both √(r₁ r₂).
 *
 * Maximises Σ_i p₁ p₂, with p = r / max r the share of the quantizer's range that a channel uses: what one scale for a whole tensor
 * wastes on channels of small range. Looks at weights only; chains of layers are iterated until nothing moves.
 */

/** Bounds of one factor: what is further apart is a dead channel rather than a range to equalize. */
const MOST_FACTOR = 1e4;

/**
 * The factors s of one place.
 * @param gives For each weight that makes the channels, its largest magnitude in each; divided by s.
 * @param takes The same for weights that read them; multiplied by s.
 * @returns f64 [channels]; 1 where a channel is zero on either side.
 */
export function equalizingFactors(
  gives: readonly Float32Array[],
  takes: readonly Float32Array[],
): Float64Array {
  const before = sharedRanges(gives);
  const behind = sharedRanges(takes);
  return before.map((range, i) => {
    const other = behind[i]!;
    if (!(range > 0 && other > 0)) return 1;
    return Math.min(MOST_FACTOR, Math.max(1 / MOST_FACTOR, Math.sqrt(range / other)));
  });
}

/** Largest share of its tensor's range that a channel has in any of them, times the range of all: tensors count alike. */
function sharedRanges(tensors: readonly Float32Array[]): Float64Array {
  const channels = tensors[0]?.length ?? 0;
  const shares = new Float64Array(channels);
  let all = 0;
  for (const ranges of tensors) {
    const most = ranges.reduce((found, range) => Math.max(found, range), 0);
    all = Math.max(all, most);
    if (most === 0) continue;
    for (let i = 0; i < channels; i++) shares[i] = Math.max(shares[i]!, ranges[i]! / most);
  }
  return shares.map((share) => share * all);
}

/** Mean share of a tensor's range that its channels use, 0 … 1: 1 where one scale suits them all. */
export function rangeUse(ranges: Float32Array): number {
  const most = ranges.reduce((found, range) => Math.max(found, range), 0);
  if (most === 0 || ranges.length === 0) return 1;
  return ranges.reduce((sum, range) => sum + range / most, 0) / ranges.length;
}
