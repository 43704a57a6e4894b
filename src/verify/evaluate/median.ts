/** The middle of a list of numbers: what stands for the times of many runs, since single ones are disturbed by others' work. */

/** NaN for an empty list; the mean of the two in the middle where their number is even. */
export function median(values: readonly number[]): number {
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >> 1;
  if (sorted.length % 2 === 1) return sorted[middle]!;
  return ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
}
