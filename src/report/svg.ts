/**
 * Pictures for the HTML report as SVG text: bars, histogram, scatter. No dependency, no script, the same bytes for the same
 * data. Colours come from the page's style sheet through `class` and `currentColor`, so that light and dark both work.
 */

import { formatShortCount, formatValue } from './format.ts';

/** Text between tags and in quoted attributes; names come from files that nobody vouches for. */
export function escapeXml(text: string): string {
  return (
    text
      // Control and direction characters would be invisible or reorder the page: shown as escapes instead.
      .replace(
        /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
        (c) => `\\u${(c.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`,
      )
      // Half of a surrogate pair is no text.
      .replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, '\ufffd')
      .replace(/[&<>"'`]/g, (c) => `&#${c.charCodeAt(0)};`)
  );
}

/** Coordinates with at most two decimals. */
function at(value: number): string {
  return Number.isFinite(value) ? String(Math.round(value * 100) / 100) : '0';
}

function svg(width: number, height: number, title: string, body: string, className: string): string {
  return (
    `<svg class="${className}" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">` +
    `<title>${escapeXml(title)}</title>${body}</svg>`
  );
}

export interface HistogramData {
  /** Edge of the first and of the last bin. */
  readonly low: number;
  readonly high: number;
  readonly counts: readonly number[];
}

/** A histogram without axes, for a cell of a table. Heights are square roots, as in the sparkline. */
export function sparkSvg(data: HistogramData, width = 120, height = 22): string {
  return svg(width, height, rangeText(data), `<path d="${outline(data.counts, width, height)}"/>`, 'spark');
}

/** A histogram with its range, zero and the share of the highest bin. */
export function histogramSvg(data: HistogramData, width = 560, height = 150): string {
  const base = height - 18;
  const zero = data.low < 0 && data.high > 0 ? ((0 - data.low) / (data.high - data.low)) * width : undefined;
  const parts = [
    `<path d="${outline(data.counts, width, base - 4, 4)}"/>`,
    `<line class="axis" x1="0" x2="${width}" y1="${base}" y2="${base}"/>`,
    `<text x="0" y="${height - 4}">${escapeXml(formatValue(data.low))}</text>`,
    `<text x="${width}" y="${height - 4}" text-anchor="end">${escapeXml(formatValue(data.high))}</text>`,
  ];
  if (zero !== undefined) {
    parts.push(`<line class="zero" x1="${at(zero)}" x2="${at(zero)}" y1="0" y2="${base}"/>`);
    if (zero > width * 0.15 && zero < width * 0.85) {
      parts.push(`<text x="${at(zero)}" y="${height - 4}" text-anchor="middle">0</text>`);
    }
  }
  return svg(width, height, rangeText(data), parts.join(''), 'histogram');
}

function rangeText({ low, high }: HistogramData): string {
  return `from ${formatValue(low)} to ${formatValue(high)}`;
}

function outline(counts: readonly number[], width: number, height: number, top = 0): string {
  const largest = counts.reduce((a, b) => Math.max(a, b), 0);
  const step = width / Math.max(1, counts.length);
  const base = top + height;
  let path = `M0 ${at(base)}`;
  counts.forEach((count, i) => {
    const y = largest === 0 ? base : base - height * Math.sqrt(count / largest);
    path += `L${at(i * step)} ${at(y)}H${at((i + 1) * step)}`;
  });
  return `${path}V${at(base)}Z`;
}

export interface Bar {
  readonly label: string;
  readonly value: number;
  /** What stands at the end of the bar. */
  readonly text: string;
  readonly emphasis?: boolean | undefined;
}

/** Horizontal bars from zero, one below the other, with label and figure. */
export function barsSvg(title: string, bars: readonly Bar[], width = 1080): string {
  const rowHeight = 26;
  const labelWidth = Math.min(
    240,
    16 + 7.4 * bars.reduce((n, { label }) => Math.max(n, [...label].length), 0),
  );
  const textWidth = 16 + 7 * bars.reduce((n, { text }) => Math.max(n, [...text].length), 0);
  const room = Math.max(40, width - labelWidth - textWidth);
  const largest = bars.reduce((n, { value }) => Math.max(n, value), 0);
  const rows = bars.map(({ label, value, text, emphasis }, row) => {
    const y = row * rowHeight;
    const length = largest > 0 ? Math.max(1, (room * Math.max(0, value)) / largest) : 1;
    const middle = y + rowHeight / 2 + 4.5;
    return (
      `<text class="label" x="${at(labelWidth - 10)}" y="${at(middle)}" text-anchor="end">${escapeXml(shorten(label))}</text>` +
      `<rect${emphasis ? ' class="strong"' : ''} x="${at(labelWidth)}" y="${y + 5}" width="${at(length)}" height="${rowHeight - 10}" rx="3"/>` +
      `<text x="${at(labelWidth + length + 8)}" y="${at(middle)}">${escapeXml(text)}</text>`
    );
  });
  return svg(width, Math.max(1, bars.length) * rowHeight, title, rows.join(''), 'bars');
}

function shorten(label: string): string {
  const characters = [...label];
  return characters.length <= 30
    ? label
    : `${characters.slice(0, 14).join('')}…${characters.slice(-15).join('')}`;
}

export interface Point {
  readonly x: number;
  readonly y: number;
  /** Shown by the browser when the pointer rests on it. */
  readonly label: string;
  readonly series?: number | undefined;
  /** Written beside the point. */
  readonly tag?: string | undefined;
}

/** Colours of series in the page's style sheet: s0, s1 … */
export const SERIES_COLORS = 12;

export interface ScatterOptions {
  readonly xLabel: string;
  readonly yLabel: string;
  /** Logarithmic x axis. */
  readonly logX?: boolean | undefined;
  readonly width?: number | undefined;
  readonly height?: number | undefined;
}

/** Points over two axes with a few round ticks. Points that are not finite are left out. */
export function scatterSvg(title: string, points: readonly Point[], options: ScatterOptions): string {
  const { width = 1080, height = 300, logX = false } = options;
  const place = (x: number): number => (logX ? Math.log10(Math.max(x, Number.MIN_VALUE)) : x);
  const finite = points.filter(({ x, y }) => Number.isFinite(place(x)) && Number.isFinite(y));
  const xs = extent(finite.map(({ x }) => place(x)));
  const ys = extent(finite.map(({ y }) => y));
  const yTicks = ticks(ys.low, ys.high).map((tick) => ({ tick, text: formatValue(tick) }));
  // The label of the axis stands beside the longest of its figures.
  const longest = yTicks.reduce((n, { text }) => Math.max(n, [...text].length), 4);
  const frame = { left: 28 + 7 * longest, right: width - 12, top: 12, bottom: height - 40 };
  const sx = (x: number): number =>
    frame.left + ((x - xs.low) / (xs.high - xs.low)) * (frame.right - frame.left);
  const sy = (y: number): number =>
    frame.bottom - ((y - ys.low) / (ys.high - ys.low)) * (frame.bottom - frame.top);
  const parts: string[] = [];
  for (const { tick, text } of yTicks) {
    parts.push(
      `<line class="grid" x1="${frame.left}" x2="${frame.right}" y1="${at(sy(tick))}" y2="${at(sy(tick))}"/>` +
        `<text x="${frame.left - 8}" y="${at(sy(tick) + 4)}" text-anchor="end">${escapeXml(text)}</text>`,
    );
  }
  const xTicks = logX
    ? ticks(Math.ceil(xs.low), Math.floor(xs.high)).filter(Number.isInteger)
    : ticks(xs.low, xs.high);
  for (const tick of xTicks) {
    const text =
      logX && tick >= 0
        ? formatShortCount(10 ** tick)
            .replace('.00', '')
            .replace('.0', '')
        : formatValue(logX ? 10 ** tick : tick);
    parts.push(
      `<text x="${at(sx(tick))}" y="${frame.bottom + 16}" text-anchor="middle">${escapeXml(text)}</text>`,
    );
  }
  parts.push(
    `<line class="axis" x1="${frame.left}" x2="${frame.right}" y1="${frame.bottom}" y2="${frame.bottom}"/>`,
    `<text x="${(frame.left + frame.right) / 2}" y="${height - 6}" text-anchor="middle">${escapeXml(options.xLabel)}</text>`,
    `<text transform="translate(12 ${(frame.top + frame.bottom) / 2}) rotate(-90)" text-anchor="middle">${escapeXml(options.yLabel)}</text>`,
  );
  for (const { x, y, label, series = 0, tag } of finite) {
    parts.push(
      `<circle class="s${series % SERIES_COLORS}" cx="${at(sx(place(x)))}" cy="${at(sy(y))}" r="4"><title>${escapeXml(label)}</title></circle>`,
    );
    if (tag !== undefined) {
      // To the left of points near the right edge, so that nothing is cut off.
      const left = sx(place(x)) > frame.right - 90;
      parts.push(
        `<text x="${at(sx(place(x)) + (left ? -8 : 8))}" y="${at(sy(y) + 4)}"${left ? ' text-anchor="end"' : ''}>${escapeXml(shorten(tag))}</text>`,
      );
    }
  }
  return svg(width, height, title, parts.join(''), 'scatter');
}

/** Range of the values with a margin; never empty. */
function extent(values: readonly number[]): { low: number; high: number } {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) return { low: 0, high: 1 };
  const margin = (high - low) * 0.06 || Math.max(1, Math.abs(low) * 0.1);
  return { low: low - margin, high: high + margin };
}

/** About five round numbers within [low, high]. */
function ticks(low: number, high: number): number[] {
  if (!(high > low)) return Number.isFinite(low) ? [low] : [];
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * power).find((candidate) => candidate >= rough) ?? rough;
  const found: number[] = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step * 1e-9; tick += step) {
    found.push(Number(tick.toPrecision(12)));
  }
  return found;
}
