/** `whittle quantize`: recipes from the flags, the run with its progress, and the table of what was gained and lost. */

import { readdir, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import type { CompressionReport, CompressOptions, ModeResult, TargetName } from '../compress/options.ts';
import { modelBytes } from '../compress/size.ts';
import type { AlgorithmName } from '../compress/solve/names.ts';
import { compress } from '../compress.ts';
import { WhittleError } from '../errors.ts';
import { openOnnx } from '../formats/onnx/open.ts';
import { resolveTargets } from '../planning/targets.ts';
import {
  formatBytes,
  formatCosine,
  formatDecibels,
  formatDuration,
  formatMs,
  formatRatio,
} from '../report/format.ts';
import { cosineGrade } from '../report/grades.ts';
import type { CompressionView, ResultRow } from '../report/model-report.ts';
import { PLAIN, type Style } from '../report/style.ts';
import { type Column, renderTable, type TableRow } from '../report/table.ts';
import { safeName } from '../report/text.ts';
import type { Context } from './context.ts';
import { dataOptions } from './data-flags.ts';
import { describeFailure } from './failure.ts';
import { layerLines } from './layer-table.ts';
import { keptLines, type LossFlags, lossRow, maxLossOptions } from './loss-flags.ts';
import { planText } from './plan-text.ts';
import { type ProofFlags, proofOptions } from './proof-flags.ts';
import { type RecipeFlags, recipesOf } from './recipes.ts';
import { checkText, writeText } from './write-text.ts';

export interface QuantizeFlags extends RecipeFlags, ProofFlags, LossFlags {
  readonly algorithm?: AlgorithmName | undefined;
  readonly biasCorrection?: boolean | undefined;
  readonly saveSolution?: string | undefined;
  readonly solution?: string | undefined;
  readonly prepare?: readonly string[] | undefined;
  readonly target?: readonly string[] | undefined;
  readonly output?: string | undefined;
  readonly force?: boolean | undefined;
  readonly externalData?: 'auto' | 'always' | 'never' | undefined;
  readonly nonfinite?: 'error' | 'keep' | undefined;
  readonly threads?: number | undefined;
  readonly measure?: boolean | undefined;
  readonly dryRun?: boolean | undefined;
  readonly savePlan?: string | undefined;
  readonly html?: string | undefined;
  readonly verify?: boolean | undefined;
  readonly resume?: boolean | undefined;
  readonly sha256?: boolean | undefined;
}

/** Weights shown below the table for each result. */
const WORST_WEIGHTS = 3;
/** Constants of a few numbers are no layers: a mask's −3.4e38 that float16 cannot hold says nothing of the weights. */
const MIN_WORST_ELEMENTS = 16;

export async function runQuantize(
  context: Context,
  input: string,
  flags: QuantizeFlags,
): Promise<number | undefined> {
  const to = await recipesOf(flags);
  const targets = flags.target && targetNames(flags.target);
  const verify =
    flags.dryRun === true || flags.verify === false ? false : (proofOptions(flags) ?? flags.verify);
  if (flags.minCosine !== undefined && verify === false) {
    throw new WhittleError(
      'E_USAGE',
      '--min-cosine needs the proof, which --no-verify or --dry-run leaves out',
    );
  }
  await checkExtras(input, flags);
  const options: CompressOptions = {
    to,
    output: flags.output,
    targets,
    algorithm: flags.algorithm,
    biasCorrection: flags.biasCorrection,
    saveSolution: flags.saveSolution,
    solution: flags.solution,
    prepare: flags.prepare,
    data: dataOptions(flags, flags.evaluateData !== undefined),
    maxLoss: maxLossOptions(flags),
    threads: flags.threads,
    force: flags.force,
    externalData: flags.externalData,
    nonFinite: flags.nonfinite,
    measure: flags.measure ?? (await isQuickToMeasure(input)),
    dryRun: flags.dryRun,
    verify,
    resume: flags.resume,
    sha256: flags.sha256,
    signal: context.signal,
    onProgress: context.progress.onProgress,
  };
  const report = await compress(input, options);
  context.progress.clear();
  await writeExtras(context, input, flags, report);
  const tooFar = flags.minCosine === undefined ? undefined : dissimilar(report, flags.minCosine);
  if (context.json) {
    const error = tooFar && describeFailure(tooFar, PLAIN, false).json.error;
    context.printJson({ ...report, dryRun: flags.dryRun === true, ...(error && { error }) });
    return tooFar?.exitCode;
  }
  if (flags.dryRun === true)
    context.print(report.results.map((result) => planText(result, context)).join('\n\n'));
  else printResults(context, report);
  printRemarks(context, report, flags);
  if (tooFar !== undefined) throw tooFar;
  return undefined;
}

/** Beyond this, measuring every weight's error takes longer than quantizing: only on request. */
const MEASURED_BYTES = 256 * 1024 * 1024;

/** Whether model and data files, whatever their names, are small enough to measure without being asked. */
export async function isQuickToMeasure(input: string): Promise<boolean> {
  const info = await stat(input).catch(() => undefined);
  if (info === undefined) return true;
  if (!info.isDirectory()) return (await fileBytes(input)) <= MEASURED_BYTES;
  const folder = join(input, 'onnx');
  const names = await readdir(folder).catch(() => []);
  const sizes = await Promise.all(
    names.map(async (name) => (await stat(join(folder, name)).catch(() => undefined))?.size ?? 0),
  );
  return sizes.reduce((sum, size) => sum + size, 0) <= MEASURED_BYTES;
}

/** 0 for a model that cannot be read: the run itself says why. */
async function fileBytes(input: string): Promise<number> {
  const model = await openOnnx(input).catch(() => undefined);
  if (model === undefined) return 0;
  try {
    return await modelBytes(model).catch(() => 0);
  } finally {
    await model.close();
  }
}

function targetNames(names: readonly string[]): TargetName[] {
  resolveTargets(names);
  return names.filter(
    (name): name is TargetName =>
      name === 'onnxruntime-node' || name === 'onnxruntime-web' || name === 'transformers.js',
  );
}

/** Report and plan must be writable before the work begins: a run that did all of it should not end with an error. */
async function checkExtras(input: string, { html, savePlan, dryRun }: QuantizeFlags): Promise<void> {
  if (html !== undefined && dryRun === true) {
    throw new WhittleError(
      'E_USAGE',
      '--html reports on files that were written, which --dry-run leaves out',
      {
        hint: 'Use --save-plan, or --json.',
      },
    );
  }
  if (html !== undefined && savePlan !== undefined && resolve(html) === resolve(savePlan)) {
    throw new WhittleError('E_USAGE', '--html and --save-plan name the same file', { file: html });
  }
  if (html !== undefined) await checkText(html, 'page', [input]);
  if (savePlan !== undefined) await checkText(savePlan, 'plan', [input]);
}

async function writeExtras(
  context: Context,
  input: string,
  flags: QuantizeFlags,
  report: CompressionReport,
): Promise<void> {
  const inputs = [input, ...report.results.flatMap(({ files }) => files.map(({ path }) => path))];
  if (flags.savePlan !== undefined) {
    const plans = report.results.map(({ plan }) => plan);
    await writeText(
      flags.savePlan,
      `${JSON.stringify(plans.length === 1 ? plans[0] : plans, null, 2)}\n`,
      'plan',
      inputs,
    );
    context.say(`Plan: ${flags.savePlan}`);
  }
  if (flags.html !== undefined) {
    const { quantizePage } = await import('../report/html-quantize.ts');
    await writeText(flags.html, quantizePage(compressionView(input, report)), 'page', inputs);
  }
}

/** The plain data that the page shows. Several model files (a folder) share one page: modes carry the file's name. */
export function compressionView(input: string, report: CompressionReport): CompressionView {
  const files = new Set(report.results.map((result) => result.input));
  const first = report.results[0];
  const one = files.size === 1;
  return {
    title: `${basename(input)} – whittle quantize`,
    input,
    inputBytes:
      one && first !== undefined
        ? first.inputBytes
        : Math.max(0, ...report.results.map(({ inputBytes }) => inputBytes)),
    msOriginal: one ? first?.verification?.msOriginal : undefined,
    runtime: first?.verification && `${first.verification.runtime} ${first.verification.runtimeVersion}`,
    inputs: one ? first?.verification?.inputs : undefined,
    seconds: report.seconds,
    skipped: report.skipped,
    results: report.results.map((result) =>
      resultRow(result, one ? result.mode : `${basename(result.input)} ${result.mode}`),
    ),
  };
}

function resultRow(result: ModeResult, mode: string): ResultRow {
  const { verification } = result;
  return {
    mode,
    file: result.files[0]?.path ?? '',
    bytes: result.bytes,
    weightSqnr: result.weightSqnr,
    cosine: verification?.cosine,
    outputSqnr: verification?.sqnr,
    ms: verification?.msResult,
    outputs: verification?.outputs ?? [],
    layers: result.weights.flatMap(({ tensor, count, sqnr, maxAbs }) =>
      sqnr === undefined ? [] : [{ tensor, count, sqnr, maxAbs }],
    ),
    loss: result.loss && lossRow(result.loss),
    notes: result.notes,
  };
}

const COLUMNS: readonly Column[] = [
  { title: 'file', min: 16 },
  { title: 'mode' },
  { title: 'size', align: 'right' },
  { title: 'of original', align: 'right' },
  { title: 'weight SQNR', align: 'right', drop: 2 },
  { title: 'cosine', align: 'right' },
  { title: 'output SQNR', align: 'right', drop: 3 },
  { title: 'ms/run', align: 'right', drop: 1 },
];
const COSINE_COLUMN = 5;

function printResults(context: Context, report: CompressionReport): void {
  const { style, width } = context;
  const inputs = [...new Set(report.results.map(({ input }) => input))];
  const rows: TableRow[] = [];
  const grades: string[] = [];
  for (const input of inputs) {
    const results = report.results.filter((result) => result.input === input);
    const [first] = results;
    if (first === undefined) continue;
    const original = first.verification?.msOriginal;
    rows.push([
      safeName(basename(input)),
      'original',
      formatBytes(first.inputBytes),
      '100 %',
      '',
      '',
      '',
      original === undefined ? '' : formatMs(original),
    ]);
    grades.push('none');
    for (const { mode, files, bytes, inputBytes, weightSqnr, verification } of results) {
      rows.push([
        safeName(basename(files[0]?.path ?? '')) + (files.length > 1 ? ` + ${files.length - 1}` : ''),
        safeName(mode),
        formatBytes(bytes),
        formatRatio(bytes, inputBytes),
        weightSqnr === undefined ? '–' : formatDecibels(weightSqnr),
        formatCosine(verification?.cosine),
        verification === undefined ? '–' : formatDecibels(verification.sqnr),
        verification === undefined ? '–' : formatMs(verification.msResult),
      ]);
      grades.push(cosineGrade(verification?.cosine));
    }
  }
  context.print(
    renderTable(COLUMNS, rows, {
      width,
      style,
      paint: (text, row, column) => {
        if (column === COSINE_COLUMN) return paintGrade(text, grades[row] ?? 'none', style);
        return rows[row] !== undefined && Array.isArray(rows[row]) && rows[row][1] === 'original'
          ? style.dim(text)
          : text;
      },
    }),
  );
  for (const result of report.results) {
    for (const line of layerLines(result, context)) context.print(line);
    const line = worstWeights(result);
    if (line !== undefined) context.print(style.dim(`worst in ${safeName(result.mode)}: ${line}`));
  }
  for (const line of keptLines(report, context)) context.print(line);
  for (const { path, sha256 } of report.results.flatMap(({ files }) => files)) {
    if (sha256 !== undefined) context.print(`${sha256}  ${safeName(path)}`);
  }
}

function paintGrade(text: string, grade: string, style: Style): string {
  if (grade === 'good') return style.green(text);
  if (grade === 'fair') return style.yellow(text);
  return grade === 'bad' ? style.red(text) : text;
}

function worstWeights(result: ModeResult): string | undefined {
  const worst = result.weights
    .flatMap(({ tensor, count, sqnr }) =>
      sqnr === undefined || !Number.isFinite(sqnr) || count < MIN_WORST_ELEMENTS ? [] : [{ tensor, sqnr }],
    )
    .sort((a, b) => a.sqnr - b.sqnr)
    .slice(0, WORST_WEIGHTS);
  if (worst.length === 0) return undefined;
  return worst.map(({ tensor, sqnr }) => `${safeName(tensor)} ${formatDecibels(sqnr)}`).join(', ');
}

function printRemarks(context: Context, report: CompressionReport, flags: QuantizeFlags): void {
  const { errStyle } = context;
  for (const { mode, input, reason } of report.skipped) {
    context.say(
      errStyle.yellow(`left out: ${safeName(mode)} for ${safeName(basename(input))}: ${safeName(reason)}`),
    );
  }
  const notes = new Map<string, string[]>();
  for (const { mode, notes: own } of report.results) {
    for (const note of own) notes.set(note, [...(notes.get(note) ?? []), mode]);
  }
  for (const [note, modes] of notes) {
    context.say(errStyle.dim(`note (${safeName([...new Set(modes)].join(', '))}): ${safeName(note)}`));
  }
  if (flags.dryRun === true) return;
  const proof = report.results.find(({ verification }) => verification !== undefined)?.verification;
  if (proof !== undefined) {
    context.say(errStyle.dim(`run in ${proof.runtime} ${proof.runtimeVersion} on ${safeName(proof.inputs)}`));
  }
  if (flags.html !== undefined) context.say(`Report: ${flags.html}`);
  context.say(errStyle.dim(`done in ${formatDuration(report.seconds)}`));
}

/** E_VERIFICATION for the first result that is less similar than asked; the files stay for inspection. */
function dissimilar(report: CompressionReport, least: number): WhittleError | undefined {
  for (const { files, verification } of report.results) {
    if (verification === undefined || !(verification.cosine < least)) continue;
    return new WhittleError('E_VERIFICATION', 'a result is not similar enough to the original', {
      file: files[0]?.path,
      expected: `cosine of at least ${least}`,
      found: formatCosine(verification.cosine),
      hint: 'try a mode with more bits, or exclude the worst weights with --exclude',
    });
  }
  return undefined;
}
