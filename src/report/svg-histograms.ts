/** Two histograms over the same range, one drawn over the other: how the values of a weight lay before and after. */

import { formatValue } from './format.ts';
import { escapeXml } from './svg.ts';

/** Square roots of the counts, as everywhere; `before` is filled, `after` drawn as bars in front of it. */
export function overlaidHistogramSvg(
  title: string,
  data: {
    readonly low: number;
    readonly high: number;
    readonly before: readonly number[];
    readonly after: readonly number[];
  },
  width = 1080,
  height = 170,
): string {
  const base = height - 20;
  const { low, high, before, after } = data;
  const [a, b] = [largest(before), largest(after)];
  // Few values hold everything after quantization: each picture has a scale of its own.
  const body = [
    `<path class="s0" fill-opacity=".35" d="${steps(before, width, base, a)}"/>`,
    `<path class="s1" fill-opacity=".9" d="${spikes(after, width, base, b)}"/>`,
    `<line class="axis" x1="0" x2="${width}" y1="${base}" y2="${base}"/>`,
    `<text x="0" y="${height - 4}">${escapeXml(formatValue(low))}</text>`,
    `<text x="${width}" y="${height - 4}" text-anchor="end">${escapeXml(formatValue(high))}</text>`,
  ].join('');
  return `<svg viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img"><title>${escapeXml(title)}</title>${body}</svg>`;
}

function largest(counts: readonly number[]): number {
  return counts.reduce((most, count) => Math.max(most, count), 1);
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

function steps(counts: readonly number[], width: number, base: number, most: number): string {
  const step = width / Math.max(1, counts.length);
  const tops = counts.map((count, i) => {
    const y = round(base - (base - 4) * Math.sqrt(count / most));
    return `L${round(i * step)} ${y}H${round((i + 1) * step)}`;
  });
  return `M0 ${base}${tops.join('')}V${base}Z`;
}

function spikes(counts: readonly number[], width: number, base: number, most: number): string {
  const step = width / Math.max(1, counts.length);
  return counts
    .map((count, i) => {
      if (count === 0) return '';
      const y = round(base - (base - 4) * Math.sqrt(count / most));
      return `M${round((i + 0.3) * step)} ${base}V${y}H${round((i + 0.7) * step)}V${base}Z`;
    })
    .join('');
}
