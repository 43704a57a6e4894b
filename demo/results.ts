/** What the demo found, as one table for the terminal and as an HTML page. */

import { writeFile } from 'node:fs/promises';
import { basename, extname, join, relative } from 'node:path';
import type { ModeResult, SkippedMode } from 'whittle';
import {
  formatBytes,
  formatCosine,
  formatDecibels,
  formatMs,
  formatPercent,
  quantizePage,
  renderTable,
  type Style,
} from 'whittle/report';
import type { Reading } from './ocr.ts';

export interface Outcome {
  readonly result: ModeResult;
  readonly reading: Reading;
}

export interface Findings {
  /** What was drawn. */
  readonly text: string;
  readonly model: string;
  readonly bytes: number;
  readonly original: Reading;
  readonly outcomes: readonly Outcome[];
}

const COLUMNS = [
  { title: 'file' },
  { title: 'bytes', align: 'right' },
  { title: 'ratio', align: 'right' },
  { title: 'SQNR', align: 'right' },
  { title: 'cosine', align: 'right' },
  { title: 'text read', min: 12 },
  { title: 'ms/run', align: 'right' },
] as const;

/**
 * One row for the original and each result. SQNR and cosine are those of the network's answer for the picture; the time is the median
 * of one run, original and result timed alike.
 */
export function resultTable(
  found: Findings & { readonly style: Style; readonly width: number | undefined },
): string {
  const { text, model, bytes, original, outcomes, style, width } = found;
  const readings = [original, ...outcomes.map(({ reading }) => reading)];
  const ms = outcomes[0]?.result.verification?.msOriginal ?? Number.NaN;
  const rows = [
    ['the original', formatBytes(bytes), '', '', '', mark(text, original), formatMs(ms)],
    ...outcomes.map(({ result, reading }) => [
      withoutStem(basename(result.files[0]?.path ?? ''), basename(model, extname(model))),
      formatBytes(result.bytes),
      formatPercent(result.bytes / bytes, 1),
      formatDecibels(result.verification?.sqnr),
      formatCosine(result.verification?.cosine),
      mark(text, reading),
      formatMs(result.verification?.msResult ?? Number.NaN),
    ]),
  ];
  const paint = (cell: string, row: number, column: number): string => {
    if (COLUMNS[column]?.title !== 'text read') return cell;
    return readings[row]?.text === text ? style.green(cell) : style.red(cell);
  };
  return renderTable(COLUMNS, rows, { width, style, paint });
}

/** Names of results differ in their ends only. */
function withoutStem(name: string, stem: string): string {
  return name.startsWith(stem) ? `…${name.slice(stem.length)}` : name;
}

function mark(text: string, reading: Reading): string {
  return `${reading.text === text ? '✓' : '✗'} ${reading.text}`;
}

/** Writes the page into `folder` and answers its path. */
export async function writeReport(
  folder: string,
  found: Findings & { readonly skipped: readonly SkippedMode[] },
): Promise<string> {
  const { text, model, bytes, original, outcomes, skipped } = found;
  const proof = outcomes[0]?.result.verification;
  const page = quantizePage({
    title: `${basename(model)} in ${outcomes.length} modes`,
    input: relative(process.cwd(), model),
    inputBytes: bytes,
    msOriginal: proof?.msOriginal,
    runtime: proof === undefined ? undefined : `${proof.runtime} ${proof.runtimeVersion}`,
    inputs: `a picture of the line “${text}”`,
    extra: { 'text read': mark(text, original) },
    results: outcomes.map(({ result, reading }) => ({
      mode: result.mode,
      file: basename(result.files[0]?.path ?? ''),
      bytes: result.bytes,
      weightSqnr: result.weightSqnr,
      cosine: result.verification?.cosine,
      outputSqnr: result.verification?.sqnr,
      ms: result.verification?.msResult,
      layers: result.weights.map(({ tensor, count, sqnr, maxAbs }) => ({
        tensor,
        count,
        sqnr: sqnr ?? Number.NaN,
        maxAbs,
      })),
      outputs: result.verification?.outputs ?? [],
      notes: result.notes,
      extra: { 'text read': mark(text, reading) },
    })),
    skipped,
  });
  const path = join(folder, 'report.html');
  await writeFile(path, page);
  return path;
}
