/**
 * The few numpy operations on f32 arrays whose exact rounding decides a calibrated range, since onnxruntime's calibrators
 * are written with them: equal-width histograms, histograms on given edges, arange, floor division and pairwise sums.
 * Each follows numpy 2's documented or observable behaviour step by step in f32 (`f` = round to f32).
 */

const f = Math.fround;

export interface EdgedHistogram {
  readonly counts: Float64Array;
  /** One more than counts; f32. */
  readonly edges: Float32Array;
}

/** numpy.linspace(low, high, count) in f32: i · step + low, the last one exactly high. */
export function linspace(low: number, high: number, count: number): Float32Array {
  const edges = new Float32Array(count);
  const step = f(f(high - low) / (count - 1));
  for (let i = 0; i < count; i++) edges[i] = f(f(i * step) + low);
  if (count > 1) edges[count - 1] = high;
  return edges;
}

/** numpy.arange(start, stop, step, dtype=float32). */
export function arange(start: number, stop: number, step: number): Float32Array {
  const length = Math.max(0, Math.ceil(f(f(stop - start) / step)));
  const result = new Float32Array(length);
  // The increment is the difference of the first two elements, both already rounded.
  const delta = f(f(start + step) - start);
  for (let i = 0; i < length; i++)
    result[i] = i === 0 ? start : i === 1 ? f(start + step) : f(start + f(i * delta));
  return result;
}

/** numpy.histogram(values, bins, range=(low, high)): equal bins, values outside left out, the last bin closed. */
export function uniformHistogram(
  values: Float32Array,
  bins: number,
  low: number,
  high: number,
): EdgedHistogram {
  if (low === high) {
    low = f(low - 0.5);
    high = f(high + 0.5);
  }
  const edges = linspace(low, high, bins + 1);
  const counts = new Float64Array(bins);
  const width = f(high - low);
  for (const value of values) {
    if (value < low || value > high) continue;
    let bin = Math.trunc(f(f(f(value - low) / width) * bins));
    if (bin === bins) bin--;
    // The quotient may be one unit off next to an edge; the edges decide.
    if (value < edges[bin]!) bin--;
    if (value >= edges[bin + 1]! && bin !== bins - 1) bin++;
    counts[bin]!++;
  }
  return { counts, edges };
}

/** numpy.histogram(values, bins=edges): half-open bins, the last closed. */
export function edgeHistogram(values: Float32Array, edges: Float32Array): Float64Array {
  const counts = new Float64Array(Math.max(0, edges.length - 1));
  const last = edges[edges.length - 1]!;
  for (const value of values) {
    if (value < edges[0]! || value > last) continue;
    let low = 0;
    let high = counts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (edges[middle]! <= value) low = middle;
      else high = middle - 1;
    }
    counts[low]!++;
  }
  return counts;
}

/** a // b for f32, by the remainder as numpy does. */
export function floorDivide(a: number, b: number): number {
  const remainder = f(a % b);
  let quotient = f(f(a - remainder) / b);
  if (remainder !== 0 && remainder < 0 !== b < 0) quotient = f(quotient - 1);
  const floor = Math.floor(quotient);
  return f(quotient - floor) > 0.5 ? floor + 1 : floor;
}

/** numpy.sum of contiguous f32: eight running sums up to 128 values, halves above. */
export function pairwiseSum(values: Float32Array, start = 0, count = values.length): number {
  if (count < 8) {
    let sum = 0;
    for (let i = 0; i < count; i++) sum = f(sum + values[start + i]!);
    return sum;
  }
  if (count > 128) {
    let half = Math.floor(count / 2);
    half -= half % 8;
    return f(pairwiseSum(values, start, half) + pairwiseSum(values, start + half, count - half));
  }
  const lanes = Float32Array.from(values.subarray(start, start + 8));
  let i = 8;
  for (; i < count - (count % 8); i += 8) {
    for (let lane = 0; lane < 8; lane++) lanes[lane]! += values[start + i + lane]!;
  }
  const pair = (a: number): number => f(lanes[a]! + lanes[a + 1]!);
  let sum = f(f(pair(0) + pair(2)) + f(pair(4) + pair(6)));
  for (; i < count; i++) sum = f(sum + values[start + i]!);
  return sum;
}

/** numpy.searchsorted(sorted, value): first index whose element is not below `value`. */
export function searchSorted(sorted: Float64Array, value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle]! < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
