/** `whittle inspect`: the model's weights as a table by layer, one weight in full, JSON or a page. */

import type { ModelSummary, TensorSummary } from '../compress/inspect.ts';
import { inspectModel } from '../compress/inspect-file.ts';
import { counted, formatBytes, formatCount, formatRatio } from '../report/format.ts';
import type { ModelReport, ModeSuitability, TensorReport } from '../report/model-report.ts';
import { safeName, wrapText } from '../report/text.ts';
import type { Context } from './context.ts';
import { suitableModes } from './suitable-modes.ts';
import { type ListingFlags, shownStatistics, tensorInFull, weightTable } from './weight-table.ts';
import { checkText, writeText } from './write-text.ts';

export interface InspectFlags extends ListingFlags {
  readonly tensor?: readonly string[] | undefined;
  readonly html?: string | undefined;
}

/** Trying every mode takes about 0.25 ms for each weight; no real model comes near. */
const MAX_PLANNED_WEIGHTS = 20_000;
export async function runInspect(context: Context, file: string, flags: InspectFlags): Promise<undefined> {
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
    statistics: statistics && shownStatistics(statistics),
  };
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
