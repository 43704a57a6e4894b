/** `whittle quantize` for GGUF: what llama-quantize takes, the run with its progress, and the table of what was gained. */

import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import type { GgufReport, GgufResult, QuantizeGgufOptions } from '../../compress/gguf/options.ts';
import { quantizeGguf } from '../../compress/gguf/quantize.ts';
import { WhittleError } from '../../errors.ts';
import {
  counted,
  formatBytes,
  formatDecibels,
  formatDuration,
  formatRate,
  formatRatio,
} from '../../report/format.ts';
import type { CompressionView } from '../../report/model-report.ts';
import { type Column, renderTable } from '../../report/table.ts';
import { safeName } from '../../report/text.ts';
import type { Context } from '../context.ts';
import { type DataFlags, dataOptions } from '../data-flags.ts';
import { layerLines } from '../layer-table.ts';
import { checkText, writeText } from '../write-text.ts';
import { compositionText, ggufPlanText } from './plan-text.ts';
import { type GgufFlags, parsePositional, wishesOf } from './wishes.ts';

export interface QuantizeGgufFlags extends GgufFlags, Omit<DataFlags, 'shape'> {
  readonly algorithm?: string | undefined;
  readonly onnx?: string | undefined;
  readonly statistics?: string | undefined;
  readonly to?: readonly string[] | undefined;
  readonly output?: string | undefined;
  readonly force?: boolean | undefined;
  readonly threads?: number | undefined;
  readonly measure?: boolean | undefined;
  readonly dryRun?: boolean | undefined;
  readonly all?: boolean | undefined;
  readonly resume?: boolean | undefined;
  readonly sha256?: boolean | undefined;
  readonly savePlan?: string | undefined;
  readonly html?: string | undefined;
}

/** Beyond this, the errors of all tensors are measured on request only. */
const MEASURED_BYTES = 256 << 20;
/** Tensors shown below the table for each result. */
const WORST_TENSORS = 3;

export async function runQuantizeGguf(
  context: Context,
  input: string,
  words: readonly string[],
  flags: QuantizeGgufFlags,
): Promise<undefined> {
  const positional = parsePositional(words, flags);
  const to = positional.to ?? flags.to;
  const wishes = await wishesOf(flags);
  const { signal, progress } = context;
  if (flags.all === true) {
    await runSurvey(context, input, flags, { ...wishes, to: to ?? [] });
    return undefined;
  }
  if (to === undefined) {
    throw new WhittleError('E_USAGE', 'what should the model become?', {
      expected: '--to with a file type of `whittle types`',
      hint: 'Try --to Q4_K_M, or --dry-run --all for a table of all types.',
    });
  }
  await checkExtras(input, flags);
  const { samples, sequence, seed, tokenizer } = flags;
  const options: QuantizeGgufOptions = {
    ...wishes,
    to,
    algorithm: flags.algorithm,
    onnx: flags.onnx,
    statistics: flags.statistics,
    data: dataOptions({ data: flags.data, samples, sequence, seed, tokenizer }),
    output: positional.output ?? flags.output,
    threads: positional.threads ?? flags.threads,
    force: flags.force,
    resume: flags.resume,
    sha256: flags.sha256,
    measure: flags.measure ?? (await isSmall(input)),
    dryRun: flags.dryRun,
    signal,
    onProgress: progress.onProgress,
  };
  const said = new Set<string>();
  const onNote = (note: string): void => {
    if (said.has(note)) return;
    said.add(note);
    context.say(context.errStyle.dim(`note: ${safeName(note)}`));
  };
  const report = await quantizeGguf(input, { ...options, onNote });
  progress.clear();
  await writeExtras(context, input, flags, report);
  if (context.json) {
    context.printJson({ ...report, dryRun: flags.dryRun === true });
    return undefined;
  }
  if (flags.dryRun === true) {
    context.print(report.results.map((result) => ggufPlanText(report, result, context)).join('\n\n'));
  } else printResults(context, report);
  printRemarks(context, report, flags, said);
  return undefined;
}

async function runSurvey(
  context: Context,
  input: string,
  flags: QuantizeGgufFlags,
  { to, ...wishes }: QuantizeGgufOptions,
): Promise<void> {
  if (flags.dryRun !== true) {
    throw new WhittleError('E_USAGE', '--all tries every type, and writes none', {
      hint: 'Use it with --dry-run.',
    });
  }
  const { algorithm, data, onnx, statistics, html, savePlan } = flags;
  const unused = Object.entries({ algorithm, data, onnx, statistics, html, 'save-plan': savePlan });
  for (const [name, value] of unused) {
    if (value === undefined) continue;
    throw new WhittleError('E_USAGE', `--all compares what the encoders do: --${name} has no part in it`, {
      hint: 'Leave it out, or name types with --to in the place of --all.',
    });
  }
  const { surveyGguf } = await import('../../compress/gguf/survey-file.ts');
  const { canonicalTypes } = await import('../../compress/gguf/plan-types.ts');
  const survey = await surveyGguf(input, {
    ...wishes,
    to: to.length === 0 ? undefined : canonicalTypes(to),
    signal: context.signal,
    onProgress: context.progress.onProgress,
  });
  context.progress.clear();
  if (context.json) {
    context.printJson(survey);
    return;
  }
  const { surveyText } = await import('./survey-text.ts');
  context.print(surveyText(survey, flags.imatrix !== undefined, context));
}

async function isSmall(input: string): Promise<boolean> {
  const size = (await stat(input).catch(() => undefined))?.size ?? 0;
  return size <= MEASURED_BYTES;
}

async function checkExtras(input: string, { html, savePlan, dryRun }: QuantizeGgufFlags): Promise<void> {
  if (html !== undefined && dryRun === true) {
    throw new WhittleError(
      'E_USAGE',
      '--html reports on files that were written, which --dry-run leaves out',
      { hint: 'Use --save-plan, or --json.' },
    );
  }
  if (html !== undefined) await checkText(html, 'page', [input]);
  if (savePlan !== undefined) await checkText(savePlan, 'plan', [input]);
}

async function writeExtras(
  context: Context,
  input: string,
  { html, savePlan }: QuantizeGgufFlags,
  report: GgufReport,
): Promise<void> {
  const inputs = [input, ...report.results.flatMap(({ files }) => files.map(({ path }) => path))];
  if (savePlan !== undefined) {
    const plans = report.results.map(({ type, fileType, bytes, bitsPerWeight, tensors, notes }) => ({
      version: 1,
      format: 'gguf',
      type,
      fileType,
      bytes,
      bitsPerWeight,
      tensors,
      notes,
    }));
    const text = `${JSON.stringify(plans.length === 1 ? plans[0] : plans, null, 2)}\n`;
    await writeText(savePlan, text, 'plan', inputs);
    context.say(`Plan: ${savePlan}`);
  }
  if (html !== undefined) {
    const { quantizePage } = await import('../../report/html-quantize.ts');
    await writeText(html, quantizePage(pageView(input, report)), 'page', inputs);
    context.say(`Report: ${html}`);
  }
}

function pageView(input: string, report: GgufReport): CompressionView {
  return {
    title: `${basename(input)} – whittle quantize`,
    input,
    inputBytes: report.inputBytes,
    seconds: report.seconds,
    skipped: [],
    results: report.results.map(({ type, files, bytes, weightSqnr, tensors, notes }) => ({
      mode: type,
      file: files[0]?.path ?? '',
      bytes,
      weightSqnr,
      outputs: [],
      layers: tensors.flatMap(({ name, shape, sqnr, maxAbs }) =>
        sqnr === undefined
          ? []
          : [{ tensor: name, count: shape.reduce((product, dim) => product * dim, 1), sqnr, maxAbs }],
      ),
      notes,
    })),
  };
}

const COLUMNS: readonly Column[] = [
  { title: 'file', min: 16 },
  { title: 'type' },
  { title: 'size', align: 'right' },
  { title: 'of original', align: 'right' },
  { title: 'bits/weight', align: 'right' },
  { title: 'weight SQNR', align: 'right', drop: 1 },
];

function printResults(context: Context, report: GgufReport): void {
  const { style, width } = context;
  const rows = [
    [
      safeName(basename(report.input)),
      'original',
      formatBytes(report.inputBytes),
      '100 %',
      report.inputBitsPerWeight.toFixed(2),
      '',
    ],
    ...report.results.map(({ type, files, bytes, bitsPerWeight, weightSqnr }) => [
      safeName(basename(files[0]?.path ?? '')) + (files.length > 1 ? ` + ${files.length - 1}` : ''),
      type,
      formatBytes(bytes),
      formatRatio(bytes, report.inputBytes),
      bitsPerWeight.toFixed(2),
      weightSqnr === undefined ? '–' : formatDecibels(weightSqnr),
    ]),
  ];
  context.print(
    renderTable(COLUMNS, rows, { width, style, paint: (text, row) => (row === 0 ? style.dim(text) : text) }),
  );
  for (const result of report.results) {
    context.print(style.dim(`${result.type}: ${compositionText(result)} tensors`));
    const line = worstTensors(result);
    if (line !== undefined) context.print(style.dim(`worst in ${result.type}: ${line}`));
    for (const row of layerLines({ mode: result.type, solved: result.solved }, context)) context.print(row);
  }
  for (const { path, sha256 } of report.results.flatMap(({ files }) => files)) {
    if (sha256 !== undefined) context.print(`${sha256}  ${safeName(path)}`);
  }
}

function worstTensors({ tensors }: GgufResult): string | undefined {
  const worst = tensors
    .flatMap(({ name, to, sqnr }) =>
      sqnr === undefined || !Number.isFinite(sqnr) ? [] : [{ name, to, sqnr }],
    )
    .sort((a, b) => a.sqnr - b.sqnr)
    .slice(0, WORST_TENSORS);
  if (worst.length === 0) return undefined;
  return worst.map(({ name, to, sqnr }) => `${safeName(name)} (${to}) ${formatDecibels(sqnr)}`).join(', ');
}

/** @param said - notes that were printed before the work */
function printRemarks(
  context: Context,
  report: GgufReport,
  flags: QuantizeGgufFlags,
  said: ReadonlySet<string>,
): void {
  const { errStyle } = context;
  const notes = new Map<string, string[]>();
  for (const { type, notes: own } of report.results) {
    for (const note of own) if (!said.has(note)) notes.set(note, [...(notes.get(note) ?? []), type]);
  }
  for (const [note, types] of notes) {
    context.say(errStyle.dim(`note (${types.join(', ')}): ${safeName(note)}`));
  }
  if (flags.dryRun === true) return;
  const { seconds, inputBytes, threads = 1 } = report;
  context.say(
    errStyle.dim(
      `done in ${formatDuration(seconds)}: ${formatRate((inputBytes * report.results.length) / seconds)} of input, ${counted(threads, 'thread')}, ${formatBytes(process.resourceUsage().maxRSS * 1024)} of memory at most`,
    ),
  );
  const path = report.results[0]?.files[0]?.path;
  if (path !== undefined) {
    context.say(
      errStyle.dim(
        `next: whittle perplexity ${shellWord(path)} --base ${shellWord(report.input)} --text FILE`,
      ),
    );
  }
}

/** A path as it can be typed. */
function shellWord(path: string): string {
  const word = safeName(path);
  return /^[\w./@%+=:,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
