/** `whittle inspect` for GGUF: tensors by layer with their statistics, and the metadata key by key. */

import {
  type GgufMetadataSummary,
  type GgufSummary,
  type GgufTensorSummary,
  summarizeGguf,
} from '../../compress/gguf/inspect.ts';
import type { GgufModel, GgufValue } from '../../formats/gguf/gguf.ts';
import { counted, formatBytes, formatCount, formatShortCount } from '../../report/format.ts';
import type { FileReport, TensorReport } from '../../report/model-report.ts';
import { type Column, renderTable } from '../../report/table.ts';
import { firstCharacters, safeName } from '../../report/text.ts';
import type { Context } from '../context.ts';
import type { InspectFlags } from '../inspect.ts';
import { shownStatistics, tensorInFull, weightTable } from '../weight-table.ts';
import { checkText, writeText } from '../write-text.ts';

/** Characters of a text value that the listing shows: chat templates have thousands. */
const SHOWN_CHARACTERS = 60;

export async function runInspectGguf(
  context: Context,
  model: GgufModel,
  flags: InspectFlags,
): Promise<undefined> {
  if (flags.html !== undefined) await checkText(flags.html, 'page', [model.file]);
  const summary = await summarizeGguf(model, {
    statistics: flags.stats,
    tensors: flags.tensor,
    signal: context.signal,
    onProgress: context.progress.onProgress,
  });
  context.progress.clear();
  // The table shows no percentiles, and those of many thousand tensors take a kilobyte each.
  const whole = flags.html !== undefined || flags.tensor !== undefined;
  const tensors = summary.tensors.map((tensor) => tensorReport(tensor, whole));
  if (flags.html !== undefined) {
    const { inspectFilePage } = await import('../../report/html-inspect.ts');
    await writeText(flags.html, inspectFilePage(fileReport(summary, tensors)), 'page', summary.shards);
    context.say(`Report: ${flags.html}`);
  }
  if (context.json) {
    context.printJson(summary);
    return undefined;
  }
  if (flags.tensor !== undefined) {
    for (const tensor of tensors) context.print(tensorInFull(tensor, context));
    return undefined;
  }
  const listed = { file: summary.file, bytes: summary.fileBytes, tensors };
  context.print(weightTable(listed, { ...flags, all: true }, context));
  context.print(metadataTable(summary.metadata, flags.all === true, context));
  context.print(facts(summary, context));
  return undefined;
}

function fileReport(summary: GgufSummary, tensors: readonly TensorReport[]): FileReport {
  const { architecture = 'no architecture', fileType, shards } = summary;
  return {
    file: summary.file,
    description: [
      firstCharacters(architecture, SHOWN_CHARACTERS),
      fileType,
      `GGUF ${summary.version}`,
      `alignment ${summary.alignment}`,
    ]
      .filter((part) => part !== undefined)
      .join(' · '),
    facts: [
      [formatBytes(summary.fileBytes), shards.length > 1 ? `in ${shards.length} files` : 'file size'],
      [formatShortCount(summary.parameters), 'parameters'],
      [formatCount(tensors.length), 'tensors'],
      [summary.bitsPerWeight.toFixed(2), 'bits per weight'],
    ],
    types: summary.types,
    tensors,
    metadata: summary.metadata.map((entry) => ({
      key: entry.key,
      type: typeText(entry),
      value: valueText(entry, true),
    })),
    notes: summary.notes,
  };
}

function typeText({ type, elementType, count = 0 }: GgufMetadataSummary): string {
  return elementType === undefined ? type : `${elementType} × ${formatCount(count)}`;
}

function tensorReport(
  { name, type, shape, count, bytes, statistics }: GgufTensorSummary,
  whole: boolean,
): TensorReport {
  return {
    key: name,
    name,
    dtype: type,
    shape,
    count,
    bytes,
    statistics:
      statistics &&
      (whole ? shownStatistics(statistics) : shownStatistics({ ...statistics, percentiles: [] })),
  };
}

const METADATA_COLUMNS: readonly Column[] = [
  { title: 'key', min: 20 },
  { title: 'type', drop: 0 },
  { title: 'value', min: 16 },
];

function metadataTable(
  metadata: readonly GgufMetadataSummary[],
  whole: boolean,
  { style, width }: Context,
): string {
  if (metadata.length === 0) return style.dim('no metadata\n');
  const rows = metadata.map((entry) => [safeName(entry.key), typeText(entry), valueText(entry, whole)]);
  return `${renderTable(METADATA_COLUMNS, rows, { width, style })}\n`;
}

function valueText({ value, count }: GgufMetadataSummary, whole: boolean): string {
  if (!isList(value)) return scalarText(value, whole ? Number.POSITIVE_INFINITY : SHOWN_CHARACTERS);
  const shown = value.map((item) => scalarText(item, 16)).join(', ');
  return `[${shown}${(count ?? 0) > value.length ? ', …' : ''}]`;
}

function isList(value: GgufValue | readonly GgufValue[]): value is readonly GgufValue[] {
  return typeof value === 'object';
}

function scalarText(value: GgufValue, most: number): string {
  if (typeof value === 'number' && !Number.isInteger(value)) return String(Number(value.toPrecision(7)));
  if (typeof value !== 'string') return String(value);
  return safeName(firstCharacters(value, most));
}

function facts(summary: GgufSummary, { style }: Context): string {
  const { architecture, fileType, types, shards } = summary;
  const lines: [string, string][] = [
    [
      'total',
      `${counted(summary.parameters, 'parameter')}, ${formatBytes(summary.weightBytes)} of weights, ${summary.bitsPerWeight.toFixed(2)} bits per weight`,
    ],
    [
      'types',
      types
        .map(({ type, tensors, bytes }) => `${type} ${formatBytes(bytes)} in ${formatCount(tensors)}`)
        .join(', '),
    ],
    [
      'format',
      `GGUF ${summary.version}, alignment ${summary.alignment}${shards.length > 1 ? `, ${shards.length} parts` : ''}`,
    ],
    [
      'model',
      `${scalarText(architecture ?? 'no architecture', SHOWN_CHARACTERS)}${fileType === undefined ? '' : `, ${fileType}`}`,
    ],
    ...summary.notes.map((note): [string, string] => ['note', safeName(note)]),
  ];
  return lines.map(([key, text]) => `${style.dim(key.padEnd(10))}${text}`).join('\n');
}
