/** `whittle inspect`: the model's weights as a table by layer, one weight in full, JSON or a page. */

import type { ModelSummary, TensorSummary } from '../compress/inspect.ts';
import { inspectModel } from '../compress/inspect.ts';
import { formatShape } from '../core/shape.ts';
import { WhittleError } from '../errors.ts';
import {
  counted,
  formatBytes,
  formatCount,
  formatPercent,
  formatRatio,
  formatShortCount,
  formatValue,
} from '../report/format.ts';
import { groupByLayer, nameInLayer } from '../report/groups.ts';
import type { ModelReport, ModeSuitability, TensorReport } from '../report/model-report.ts';
import { rebin, sparkline } from '../report/sparkline.ts';
import { type Column, renderTable, type TableRow } from '../report/table.ts';
import { safeName, wrapText } from '../report/text.ts';
import type { Context } from './context.ts';
import { suitableModes } from './suitable-modes.ts';
import { checkText, writeText } from './write-text.ts';

export interface InspectFlags {
  readonly stats: boolean;
  readonly tensor?: readonly string[] | undefined;
  readonly sort?: 'file' | 'name' | 'size' | 'range' | 'std' | 'outliers' | undefined;
  readonly top?: number | undefined;
  /** Single numbers too, which exporters scatter by the hundred. */
  readonly all?: boolean | undefined;
  readonly html?: string | undefined;
}

/** Trying every mode takes about 0.25 ms for each weight; no real model comes near. */
const MAX_PLANNED_WEIGHTS = 20_000;
const SPARK_WIDTH = 16;
/** More single numbers than this are left out of the table. */
const MAX_SCALARS = 4;

function isScalar({ count }: TensorReport): boolean {
  return count <= 1;
}

export async function runInspect(context: Context, file: string, flags: InspectFlags): Promise<undefined> {
  if (flags.tensor !== undefined && !flags.stats) {
    throw new WhittleError('E_USAGE', '--tensor shows statistics, which --no-stats leaves out');
  }
  if (flags.html !== undefined) await checkText(flags.html, 'page', [file]);
  const summary = await inspectModel(file, {
    statistics: flags.stats,
    tensors: flags.tensor,
    signal: context.signal,
    onProgress: context.progress.onProgress,
  });
  context.progress.clear();
  const whole = flags.tensor === undefined;
  const tooMany = summary.tensors.length > MAX_PLANNED_WEIGHTS;
  const modes = whole && !tooMany ? await suitableModes(file, context.signal) : [];
  const inspected = modelReport(summary, modes);
  const report = tooMany
    ? { ...inspected, notes: [...inspected.notes, 'Modes were not tried: the model holds too many weights.'] }
    : inspected;
  if (flags.html !== undefined) {
    const { inspectPage } = await import('../report/html-inspect.ts');
    await writeText(flags.html, inspectPage(report), 'page', [file]);
  }
  if (context.json) {
    context.printJson({ ...summary, modes });
  } else if (whole) {
    context.print(weightTable(report, flags, context));
    context.print(footer(report, context));
  } else {
    for (const tensor of report.tensors) context.print(tensorInFull(tensor, context));
  }
  if (flags.html !== undefined) context.say(`Report: ${flags.html}`);
  return undefined;
}

/** The plain data that tables and pages show. */
export function modelReport(summary: ModelSummary, modes: readonly ModeSuitability[]): ModelReport {
  return {
    file: summary.file,
    bytes: Math.max(summary.fileBytes, summary.weightBytes),
    externalBytes: Math.max(0, summary.weightBytes - summary.fileBytes),
    irVersion: summary.irVersion,
    opsets: Object.entries(summary.opsets).map(([domain, version]) => ({ domain, version })),
    producer: summary.producer,
    inputs: summary.inputs.map(describeValue),
    outputs: summary.outputs.map(describeValue),
    nodes: summary.nodes,
    operators: Object.entries(summary.operators).map(([opType, count]) => ({ opType, count })),
    parameters: summary.parameters,
    weightBytes: summary.weightBytes,
    tensors: summary.tensors.map(tensorReport),
    modes,
    notes: summary.notes,
  };
}

function describeValue({ name, dtype, shape }: ModelSummary['inputs'][number]): string {
  const dims =
    shape === undefined ? '' : ` ${shape.length === 0 ? 'scalar' : shape.map(dimensionText).join('×')}`;
  return `${name} ${dtype ?? '?'}${dims}`;
}

/** Exporters' symbols can be long and tell nothing: p2o.DynamicDimension.0. */
function dimensionText(dim: number | string | null): string {
  if (dim === null || (typeof dim === 'string' && dim.length > 20)) return '?';
  return String(dim);
}

function tensorReport(tensor: TensorSummary): TensorReport {
  const { statistics, uses } = tensor;
  return {
    key: tensor.key,
    name: tensor.key,
    dtype: tensor.dtype,
    shape: tensor.shape,
    count: tensor.count,
    bytes: tensor.bytes,
    uses: [...new Set(uses.map(({ opType }) => opType))],
    statistics: statistics && {
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
    },
  };
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

function weightTable(report: ModelReport, flags: InspectFlags, context: Context): string {
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
    safeName(tensor.uses.join(', ')),
  ];
}

function sortTensors(tensors: readonly TensorReport[], by: InspectFlags['sort']): readonly TensorReport[] {
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

/** Columns of the words before the facts below the table. */
const KEY_WIDTH = 10;

function footer(report: ModelReport, { style, width }: Context): string {
  const computing = report.operators.filter(({ opType }) => opType !== 'Constant');
  const operators = computing.slice(0, 8).map(({ opType, count }) => `${safeName(opType)} ${count}`);
  if (computing.length > 8) operators.push(`${computing.length - 8} more kinds`);
  const lines: [string, string][] = [
    ['total', `${counted(report.parameters, 'parameter')}, ${formatBytes(report.weightBytes)} of weights`],
    [
      'operators',
      `${formatCount(computing.reduce((sum, { count }) => sum + count, 0))}: ${operators.join(', ')}`,
    ],
    [
      'opset',
      `${report.opsets.map(({ domain, version }) => `${safeName(domain)} ${version}`).join(', ')}; IR ${report.irVersion ?? '?'}${report.producer === '' ? '' : `; by ${safeName(report.producer)}`}`,
    ],
    ['inputs', safeName(report.inputs.join(', '))],
    ['outputs', safeName(report.outputs.join(', '))],
  ];
  const fitting = report.modes.filter(({ suits }) => suits);
  if (fitting.length > 0) {
    lines.push([
      'modes',
      fitting
        .map(({ mode, bytes }) => (bytes === undefined ? mode : `${mode} ${formatBytes(bytes)}`))
        .join(', '),
    ]);
    const smallest = fitting.reduce((a, b) => ((b.bytes ?? Infinity) < (a.bytes ?? Infinity) ? b : a));
    if (smallest.bytes !== undefined) {
      lines.push(['smallest', `${smallest.mode}, ${formatRatio(smallest.bytes, report.bytes)}`]);
    }
  }
  const unfit = report.modes.filter(({ suits }) => !suits).map(({ mode }) => mode);
  if (unfit.length > 0) lines.push(['unsuited', unfit.join(', ')]);
  for (const note of report.notes) lines.push(['note', safeName(note)]);
  return lines
    .flatMap(([key, text]) => {
      // Below that, nothing reads well.
      const parts = width === undefined ? [text] : wrapText(text, Math.max(20, width - KEY_WIDTH));
      return parts.map((part, i) => `${style.dim((i === 0 ? key : '').padEnd(KEY_WIDTH))}${part}`);
    })
    .join('\n');
}

function tensorInFull(tensor: TensorReport, { style }: Context): string {
  const { statistics } = tensor;
  const lines: [string, string][] = [
    ['shape', formatShape(tensor.shape)],
    ['type', tensor.dtype],
    ['elements', formatCount(tensor.count)],
    ['size', formatBytes(tensor.bytes)],
    ['read by', safeName(tensor.uses.join(', ')) || 'nothing'],
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
