/** A histogram in a few characters: ▁▂▃▄▅▆▇█ by the height of each bin, a blank for an empty one. */

const LEVELS = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'] as const;

/**
 * `counts` folded into `width` characters (wider bins where there are more counts than characters). Heights follow the square
 * root of the count: weights are so peaked that linear bars would show one column only.
 */
export function sparkline(counts: ArrayLike<number>, width: number): string {
  const bins = rebin(counts, width);
  const largest = Math.max(0, ...bins);
  if (largest === 0) return ' '.repeat(bins.length);
  return bins
    .map((count) => {
      if (count <= 0) return ' ';
      return LEVELS[Math.min(LEVELS.length - 1, Math.floor(Math.sqrt(count / largest) * LEVELS.length))];
    })
    .join('');
}

/** Sums neighbouring counts so that at most `width` remain; the total stays the same. */
export function rebin(counts: ArrayLike<number>, width: number): number[] {
  const bins = new Array<number>(Math.min(width, counts.length)).fill(0);
  for (let i = 0; i < counts.length; i++) bins[Math.floor((i * bins.length) / counts.length)]! += counts[i]!;
  return bins;
}
