/** Tensors as tables: all of a model by layer, or one in full with its histogram. The same for every format. */

import { formatShape } from '../core/shape.ts';
import type { TensorStatistics } from '../numerics/index.ts';
import {
  counted,
  formatBytes,
  formatCount,
  formatPercent,
  formatShortCount,
  formatValue,
} from '../report/format.ts';
import { groupByLayer, nameInLayer } from '../report/groups.ts';
import type { TensorStatistics as ShownStatistics, TensorReport } from '../report/model-report.ts';
import { rebin, sparkline } from '../report/sparkline.ts';
import { type Column, renderTable, type TableRow } from '../report/table.ts';
import { safeName } from '../report/text.ts';
import type { Context } from './context.ts';

/** How the tensors are listed. */
export interface ListingFlags {
  readonly stats: boolean;
  readonly sort?: 'file' | 'name' | 'size' | 'range' | 'std' | 'outliers' | undefined;
  readonly top?: number | undefined;
  /** Single numbers too, which exporters scatter by the hundred. */
  readonly all?: boolean | undefined;
}

/** What the tables need of a model. */
export interface Listed {
  readonly file: string;
  readonly bytes: number;
  readonly tensors: readonly TensorReport[];
}

const SPARK_WIDTH = 16;
/** More single numbers than this are left out of the table. */
const MAX_SCALARS = 4;

function isScalar({ count }: TensorReport): boolean {
  return count <= 1;
}

const COLUMNS: readonly Column[] = [
  { title: 'tensor', min: 18 },
  { title: 'shape', align: 'right', min: 8 },
  { title: 'type' },
  { title: 'count', align: 'right' },
  { title: 'min', align: 'right' },
  { title: 'max', align: 'right' },
  { title: 'mean', align: 'right', drop: 3 },
  { title: 'std', align: 'right', drop: 1 },
  { title: 'outliers', align: 'right', drop: 2 },
  { title: 'histogram', drop: 0 },
];

const COLUMNS_WITHOUT_STATISTICS: readonly Column[] = [
  { title: 'tensor', min: 18 },
  { title: 'shape', align: 'right', min: 8 },
  { title: 'type' },
  { title: 'count', align: 'right' },
  { title: 'size', align: 'right' },
  { title: 'read by', min: 8, drop: 0 },
];

export function weightTable(report: Listed, flags: ListingFlags, context: Context): string {
  const { style, width } = context;
  const title = `${style.bold(safeName(report.file))}  ${style.dim(`${formatBytes(report.bytes)}, ${counted(report.tensors.length, 'weight')}`)}`;
  const sorted = sortTensors(report.tensors, flags.sort);
  const scalars = flags.all === true ? 0 : sorted.filter(isScalar).length;
  const listed = scalars > MAX_SCALARS ? sorted.filter((tensor) => !isScalar(tensor)) : sorted;
  const shown = flags.top === undefined ? listed : listed.slice(0, flags.top);
  const cells = flags.stats ? statisticsCells : plainCells;
  const grouped = flags.sort === undefined || flags.sort === 'file';
  const groups = grouped ? groupByLayer(shown, ({ name }) => name) : [{ layer: '', members: shown }];
  const rows: TableRow[] = groups.flatMap(({ layer, members }) => {
    const bytes = members.reduce((sum, tensor) => sum + tensor.bytes, 0);
    const heading = layer === '' ? (groups.length > 1 ? 'others' : undefined) : safeName(layer);
    const indent = heading === undefined ? '' : '  ';
    return [
      ...(heading === undefined ? [] : [{ heading: `${heading}  ${formatBytes(bytes)}` }]),
      ...members.map((tensor) => cells(tensor, indent + safeName(nameInLayer(tensor.name, layer)))),
    ];
  });
  const left = listed.length - shown.length;
  return [
    title,
    '',
    renderTable(flags.stats ? COLUMNS : COLUMNS_WITHOUT_STATISTICS, rows, {
      width,
      style,
      paint: (text, _row, column) => (flags.stats && column === COLUMNS.length - 1 ? style.cyan(text) : text),
    }),
    ...(left > 0 ? [style.dim(`… and ${formatCount(left)} more`)] : []),
    ...(listed.length < sorted.length
      ? [style.dim(`${formatCount(scalars)} single numbers are not shown (--all)`)]
      : []),
    '',
  ].join('\n');
}

function statisticsCells(tensor: TensorReport, name: string): string[] {
  const { statistics } = tensor;
  const start = [name, formatShape(tensor.shape), tensor.dtype, formatShortCount(tensor.count)];
  if (statistics === undefined) return [...start, '', '', '', '', '', tensor.problem ?? ''];
  const broken = statistics.nan + statistics.infinite;
  return [
    ...start,
    formatValue(statistics.min),
    formatValue(statistics.max),
    formatValue(statistics.mean),
    formatValue(statistics.std),
    broken > 0 ? `${formatCount(broken)} not finite` : formatPercent(statistics.outliers),
    sparkline(statistics.histogram.counts, SPARK_WIDTH),
  ];
}

function plainCells(tensor: TensorReport, name: string): string[] {
  return [
    name,
    formatShape(tensor.shape),
    tensor.dtype,
    formatShortCount(tensor.count),
    formatBytes(tensor.bytes),
    safeName(tensor.uses?.join(', ') ?? ''),
  ];
}

function sortTensors(tensors: readonly TensorReport[], by: ListingFlags['sort']): readonly TensorReport[] {
  const figure = (tensor: TensorReport): number => {
    const { statistics } = tensor;
    switch (by) {
      case 'range':
        return statistics === undefined ? 0 : statistics.max - statistics.min;
      case 'std':
        return statistics?.std ?? 0;
      case 'outliers':
        return statistics?.outliers ?? 0;
      default:
        return tensor.bytes;
    }
  };
  if (by === undefined || by === 'file') return tensors;
  if (by === 'name') return [...tensors].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  return [...tensors].sort((a, b) => figure(b) - figure(a));
}

export function tensorInFull(tensor: TensorReport, { style }: Context): string {
  const { statistics } = tensor;
  const lines: [string, string][] = [
    ['shape', formatShape(tensor.shape)],
    ['type', tensor.dtype],
    ['elements', formatCount(tensor.count)],
    ['size', formatBytes(tensor.bytes)],
    ...(tensor.uses === undefined
      ? []
      : [['read by', safeName(tensor.uses.join(', ')) || 'nothing'] satisfies [string, string]]),
  ];
  if (statistics !== undefined) {
    lines.push(
      ['min', formatValue(statistics.min)],
      ['max', formatValue(statistics.max)],
      ['mean', formatValue(statistics.mean)],
      ['std', formatValue(statistics.std)],
      [
        'largest',
        `${formatValue(statistics.absMax)}, ${statistics.std > 0 ? `${(statistics.absMax / statistics.std).toFixed(1)} σ` : 'constant'}`,
      ],
      ['zeros', formatCount(statistics.zeros)],
      ['NaN', formatCount(statistics.nan)],
      ['infinite', formatCount(statistics.infinite)],
      ['outliers', `${formatPercent(statistics.outliers, 4)} beyond 6 σ`],
      ['skewness', formatValue(statistics.skewness ?? Number.NaN)],
      ['kurtosis', `${formatValue(statistics.kurtosis ?? Number.NaN)} above normal`],
    );
    const percentiles = Object.entries(statistics.percentiles ?? {}).sort(
      (a, b) => Number(a[0]) - Number(b[0]),
    );
    lines.push([
      'percentile',
      percentiles.map(([percent, value]) => `${percent} %: ${formatValue(value)}`).join('  '),
    ]);
  }
  const facts = lines.map(([key, text]) => `  ${style.dim(key.padEnd(11))}${text}`);
  const picture = statistics === undefined ? [] : ['', ...histogramLines(statistics.histogram, style.cyan)];
  return [style.bold(safeName(tensor.key)), ...facts, ...picture, ''].join('\n');
}

const PICTURE_ROWS = 20;
const PICTURE_WIDTH = 48;

function histogramLines(
  { low, high, counts }: { readonly low: number; readonly high: number; readonly counts: readonly number[] },
  paint: (text: string) => string,
): string[] {
  const bins = rebin(counts, PICTURE_ROWS);
  const largest = Math.max(1, ...bins);
  return bins.map((count, index) => {
    const from = low + ((high - low) * index) / bins.length;
    const length = Math.round((PICTURE_WIDTH * count) / largest);
    const bar = count > 0 && length === 0 ? '▏' : '█'.repeat(length);
    return `  ${formatValue(Number(from.toPrecision(4))).padStart(10)} ${paint(bar)} ${formatCount(count)}`;
  });
}

/** Statistics of a tensor as tables and pages show them. */
export function shownStatistics(statistics: TensorStatistics): ShownStatistics {
  return {
    min: statistics.min,
    max: statistics.max,
    mean: statistics.mean,
    std: statistics.std,
    absMax: statistics.absmax,
    skewness: statistics.skewness,
    kurtosis: statistics.kurtosis,
    zeros: statistics.zeros,
    nan: statistics.nan,
    infinite: statistics.positiveInfinity + statistics.negativeInfinity,
    outliers: statistics.outlierShare,
    percentiles: Object.fromEntries(
      statistics.percentiles.map(({ percent, value }) => [String(percent), value]),
    ),
    histogram: {
      low: statistics.histogram.low,
      high: statistics.histogram.low + statistics.histogram.width * statistics.histogram.counts.length,
      counts: statistics.histogram.counts,
    },
  };
}
