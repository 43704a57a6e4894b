/** Figures for people: bytes, rates, times, ratios, decibels. Binary units, three significant digits, no locale. */

const BYTE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

export function formatBytes(bytes: number): string {
  if (!Number.isFinite(bytes)) return '–';
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 999.5 && unit < BYTE_UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : significant(value)} ${BYTE_UNITS[unit]}`;
}

export function formatRate(bytesPerSecond: number): string {
  return Number.isFinite(bytesPerSecond) ? `${formatBytes(bytesPerSecond)}/s` : '–';
}

/** 1 weight, 2 weights. */
export function counted(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/** 850 ms, 12.3 s, 4 min 05 s, 2 h 03 min. */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '–';
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const pad = (n: number): string => String(n).padStart(2, '0');
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${pad(Math.floor((whole % 3600) / 60))} min`;
}

/** Milliseconds of one run of a model. */
export function formatMs(ms: number): string {
  return Number.isFinite(ms) ? significant(ms) : '–';
}

/** Statistics: 4 significant digits, exponents for the very large and small, a real minus. */
export function formatValue(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '−∞';
  if (value === 0) return '0';
  const size = Math.abs(value);
  const text = size >= 1e5 || size < 1e-3 ? value.toExponential(2) : Number(value.toPrecision(4)).toString();
  return text.replace('-', '−').replace('e+', 'e').replace('e-', 'e−');
}

/** 1,234,567 */
export function formatCount(count: number): string {
  return String(Math.round(count)).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** 12.3M, 4.56k: elements of a tensor in a narrow column. */
export function formatShortCount(count: number): string {
  for (const [unit, size] of [
    ['G', 1e9],
    ['M', 1e6],
    ['k', 1e3],
  ] as const) {
    if (count >= size * 0.9995) return `${significant(count / size)}${unit}`;
  }
  return String(count);
}

/** Share of the original's size, and how many times smaller that is: `26.1 % (3.83×)`. */
export function formatRatio(bytes: number, original: number): string {
  if (!(original > 0) || !(bytes > 0)) return '–';
  return `${((100 * bytes) / original).toFixed(1)} % (${(original / bytes).toFixed(2)}×)`;
}

export function formatPercent(share: number, digits = 2): string {
  if (!Number.isFinite(share)) return '–';
  if (share === 0) return '0 %';
  const percent = 100 * share;
  return percent < 10 ** -digits ? `<${10 ** -digits} %` : `${Number(percent.toFixed(digits))} %`;
}

export function formatDecibels(decibels: number | undefined): string {
  if (decibels === undefined || Number.isNaN(decibels)) return '–';
  return Number.isFinite(decibels) ? `${decibels.toFixed(1)} dB` : decibels > 0 ? 'exact' : '−∞ dB';
}

/** Enough nines to see a difference: two digits of the distance from 1, at least four places; 1 only where it is 1. */
export function formatCosine(cosine: number | undefined): string {
  if (cosine === undefined || Number.isNaN(cosine)) return '–';
  if (cosine >= 1) return '1';
  const digits = Math.max(4, 1 - Math.floor(Math.log10(1 - cosine)));
  return digits > 9 ? '>0.99999999' : cosine.toFixed(digits).replace('-', '−');
}

function significant(value: number): string {
  const size = Math.abs(value);
  if (size >= 99.95) return value.toFixed(0);
  if (size >= 9.995) return value.toFixed(1);
  return value.toFixed(2);
}
