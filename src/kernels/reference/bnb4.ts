/**
 * bitsandbytes 4-bit codes (Dettmers et al. 2023, QLoRA; docs/onnx.md 3.3): x = f32(w · r), r = 1 / absmax of the block or 0.
 *
 * NF4: the number of thresholds strictly below x; thresholds are the midpoints of neighbouring levels, as f32 constants.
 * FP4: sign bit 8, then the magnitude's code by thresholds. NaN is skipped in absmax and gets the code of 0.
 */

/** Midpoints of the NF4 levels; the code of x is how many of them lie strictly below it. */
export const NF4_THRESHOLDS = Float32Array.of(
  -0.8480964004993439,
  -0.6106329262256622,
  -0.4599952697753906,
  -0.33967943489551544,
  -0.23460740596055984,
  -0.13791173323988914,
  -0.045525018125772476,
  0.03979014977812767,
  0.1202552504837513,
  0.2035212516784668,
  0.2920137718319893,
  0.3893125355243683,
  0.5016634166240692,
  0.6427869200706482,
  0.8614784181118011,
);

/** Rising thresholds of |x| and the code of the interval that begins above each. */
export const FP4_THRESHOLDS = Float32Array.of(
  0.00260417,
  0.0859375,
  0.20833333,
  0.29166667,
  0.4166667,
  0.583333,
  0.8333333,
);
export const FP4_CODES = Uint8Array.of(0, 1, 6, 7, 4, 5, 2, 3);

/** Codes of 0, used for NaN and for an odd total's last nibble. */
export const BNB4_ZERO = { nf4: 7, fp4: 0 } as const;

function countBelow(thresholds: Float32Array, x: number): number {
  let count = 0;
  for (let i = 0; i < thresholds.length; i++) if (x > thresholds[i]!) count++;
  return count;
}

/** See `Kernels.quantizeBnb4`. */
export function quantizeBnb4(
  values: Float32Array,
  blockSize: number,
  codebook: 'nf4' | 'fp4',
  codes: Uint8Array,
  absmax: Float32Array,
): number {
  let nonFinite = 0;
  for (let start = 0, block = 0; start < values.length; start += blockSize, block++) {
    const end = Math.min(start + blockSize, values.length);
    let largest = 0;
    for (let i = start; i < end; i++) {
      const x = values[i]!;
      const magnitude = Math.abs(x);
      if (magnitude > largest) largest = magnitude;
      if (x - x !== 0) nonFinite++;
    }
    absmax[block] = largest;
    const reciprocal = largest === 0 ? 0 : Math.fround(1 / largest);
    for (let i = start; i < end; i++) {
      const x = Math.fround(values[i]! * reciprocal);
      if (Number.isNaN(x)) codes[i] = BNB4_ZERO[codebook];
      else if (codebook === 'nf4') codes[i] = countBelow(NF4_THRESHOLDS, x);
      else codes[i] = (x < 0 ? 8 : 0) | FP4_CODES[countBelow(FP4_THRESHOLDS, Math.abs(x))]!;
    }
  }
  return nonFinite;
}
