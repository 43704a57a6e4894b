/** `whittle imatrix`: what an importance matrix holds, and the old form as GGUF. */

import {
  convertImatrix,
  type ImatrixEntrySummary,
  type ImatrixSummary,
  inspectImatrix,
} from '../../compress/gguf/imatrix.ts';
import {
  formatBytes,
  formatCount,
  formatPercent,
  formatShortCount,
  formatValue,
} from '../../report/format.ts';
import { type Column, renderTable } from '../../report/table.ts';
import { safeName } from '../../report/text.ts';
import type { Context } from '../context.ts';

export interface ImatrixFlags {
  readonly toGguf?: string | true | undefined;
  readonly force?: boolean | undefined;
  readonly top?: number | undefined;
  readonly all?: boolean | undefined;
}

const DEFAULT_TOP = 20;

const COLUMNS: readonly Column[] = [
  { title: 'weight', min: 18 },
  { title: 'columns', align: 'right' },
  { title: 'matrices', align: 'right', drop: 2 },
  { title: 'Σ importance', align: 'right' },
  { title: 'mean', align: 'right' },
  { title: 'max', align: 'right' },
  { title: 'active', align: 'right', drop: 1 },
  { title: 'top 1 %', align: 'right', drop: 0 },
];

export async function runImatrix(context: Context, file: string, flags: ImatrixFlags): Promise<undefined> {
  const { signal, progress } = context;
  if (flags.toGguf !== undefined) {
    const output = flags.toGguf === true ? undefined : flags.toGguf;
    const written = await convertImatrix(file, { output, force: flags.force, signal });
    if (context.json) context.printJson(written);
    else {
      context.print(
        `${safeName(written.path)}  ${formatBytes(written.bytes)}, ${formatCount(written.entries)} entries`,
      );
    }
    return undefined;
  }
  const summary = await inspectImatrix(file, { signal, onProgress: progress.onProgress });
  progress.clear();
  if (context.json) context.printJson(summary);
  else context.print(summaryText(summary, flags, context));
  return undefined;
}

function summaryText(summary: ImatrixSummary, flags: ImatrixFlags, { style, width }: Context): string {
  const { entries } = summary;
  const strongest = entries.toSorted((a, b) => b.sum - a.sum);
  const shown = flags.all === true ? strongest : strongest.slice(0, flags.top ?? DEFAULT_TOP);
  const left = entries.length - shown.length;
  const facts: [string, string][] = [
    ['form', summary.form === 'gguf' ? 'GGUF' : 'old (.dat)'],
    ['datasets', summary.datasets.map(safeName).join(', ') || 'not said'],
    [
      'chunks',
      summary.chunks === 0
        ? 'not said'
        : `${formatCount(summary.chunks)}${summary.chunkSize === undefined ? '' : ` of ${formatCount(summary.chunkSize)} tokens`}`,
    ],
    ['entries', formatCount(entries.length)],
  ];
  return [
    style.bold(safeName(summary.file)),
    '',
    ...facts.map(([key, text]) => `${style.dim(key.padEnd(10))}${text}`),
    '',
    renderTable(COLUMNS, shown.map(cells), { width, style }),
    ...(left > 0 ? [style.dim(`… and ${formatCount(left)} more, less important (--all)`)] : []),
  ].join('\n');
}

function cells({ name, columns, matrices, sum, mean, max, active, top }: ImatrixEntrySummary): string[] {
  return [
    safeName(name),
    formatShortCount(columns),
    formatCount(matrices),
    formatValue(Number(sum.toPrecision(4))),
    formatValue(mean),
    formatValue(max),
    formatPercent(active),
    formatPercent(top),
  ];
}
