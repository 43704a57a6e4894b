/** `whittle compare`: two models, weight by weight, at their outputs, and on request at every inner value. */

import { basename } from 'node:path';
import { type Comparison, compareModels } from '../compress/compare.ts';
import { modelFormat } from '../compress/model-format.ts';
import { WhittleError } from '../errors.ts';
import {
  formatBytes,
  formatCosine,
  formatDecibels,
  formatMs,
  formatRatio,
  formatShortCount,
  formatValue,
} from '../report/format.ts';
import { cosineGrade } from '../report/grades.ts';
import { PLAIN, type Style } from '../report/style.ts';
import { type Column, renderTable } from '../report/table.ts';
import { safeName } from '../report/text.ts';
import { activationLines } from './activation-table.ts';
import type { Context } from './context.ts';
import { type DataFlags, dataOptions } from './data-flags.ts';
import { describeFailure } from './failure.ts';
import { assertSameFormat, refuseForeignFlags } from './format-flags.ts';
import { type ProofFlags, proofOptions } from './proof-flags.ts';
import { checkText, writeText } from './write-text.ts';

export interface CompareFlags extends ProofFlags, DataFlags {
  readonly weights: boolean;
  readonly run: boolean;
  readonly top?: number | undefined;
  readonly activations?: boolean | undefined;
  readonly threads?: number | undefined;
  readonly html?: string | undefined;
}

const DEFAULT_TOP = 20;

const WEIGHT_COLUMNS: readonly Column[] = [
  { title: 'weight', min: 18 },
  { title: 'count', align: 'right', drop: 2 },
  { title: 'in a', drop: 3 },
  { title: 'in b', min: 8, drop: 0 },
  { title: 'SQNR', align: 'right' },
  { title: 'cosine', align: 'right' },
  { title: 'largest difference', align: 'right', drop: 1 },
];

const OUTPUT_COLUMNS: readonly Column[] = [
  { title: 'output', min: 18 },
  { title: 'cosine', align: 'right' },
  { title: 'SQNR', align: 'right' },
  { title: 'largest difference', align: 'right' },
];

export async function runCompare(
  context: Context,
  a: string,
  b: string,
  flags: CompareFlags,
  given: readonly string[],
): Promise<number | undefined> {
  await assertSameFormat(a, b);
  if ((await modelFormat(a)) === 'gguf') return compareGgufFiles(context, a, b, flags, given);
  refuseIdleFlags(flags);
  const data = dataOptions(flags);
  const inputs = [a, b, ...(flags.data === undefined ? [] : [flags.data])];
  if (flags.html !== undefined) await checkText(flags.html, 'page', inputs);
  const report = await compareModels(a, b, {
    weights: flags.weights,
    verify: flags.run ? proofOptions(flags) : false,
    activations: data === undefined ? flags.activations : { data },
    threads: flags.threads,
    signal: context.signal,
    onProgress: context.progress.onProgress,
  });
  context.progress.clear();
  const cosine = report.verification?.cosine;
  const tooFar =
    flags.minCosine === undefined || (cosine !== undefined && cosine >= flags.minCosine)
      ? undefined
      : new WhittleError('E_VERIFICATION', 'the models are not similar enough', {
          file: b,
          expected: `cosine of at least ${flags.minCosine}`,
          found:
            cosine === undefined ? report.notes.join(' ') || 'the models were not run' : formatCosine(cosine),
        });
  await writePage(flags.html, report, inputs);
  if (context.json) {
    const error = tooFar && describeFailure(tooFar, PLAIN, false).json.error;
    context.printJson({ ...report, ...(error && { error }) });
    return tooFar?.exitCode;
  }
  printComparison(context, report, flags);
  if (tooFar !== undefined) throw tooFar;
  return undefined;
}

/** Flags that would do nothing beside the others. */
function refuseIdleFlags({ run, minCosine, input, runs, activations, data }: CompareFlags): void {
  for (const [name, value] of Object.entries({ 'min-cosine': minCosine, input, runs })) {
    if (run || value === undefined) continue;
    throw new WhittleError('E_USAGE', `--${name} needs the models to run, which --no-run leaves out`);
  }
  if (activations === true && data === undefined && input !== undefined) {
    throw new WhittleError('E_USAGE', '--input is for the outputs: values inside are compared on --data', {
      hint: 'Give the same as data, the rows first: --data name=file.npy.',
    });
  }
}

const RUN_ON_DATA = ['--data', '--samples', '--sequence', '--seed', '--tokenizer', '--threads'];

async function compareGgufFiles(
  context: Context,
  a: string,
  b: string,
  flags: CompareFlags,
  given: readonly string[],
): Promise<undefined> {
  refuseForeignFlags(given, 'gguf', a);
  const running = RUN_ON_DATA.find((flag) => given.includes(flag));
  if (running !== undefined) {
    throw new WhittleError('E_USAGE', `${running} is about running ONNX models`, {
      file: a,
      hint: 'GGUF files are compared by their weights; what they answer is measured by whittle evaluate.',
    });
  }
  const { compareGguf } = await import('../compress/gguf/compare.ts');
  const { signal, progress } = context;
  if (flags.html !== undefined) await checkText(flags.html, 'page', [a, b]);
  const report = await compareGguf(a, b, { weights: flags.weights, signal, onProgress: progress.onProgress });
  progress.clear();
  await writePage(flags.html, report, [a, b]);
  if (context.json) context.printJson(report);
  else printComparison(context, report, flags);
  return undefined;
}

async function writePage(
  file: string | undefined,
  report: Comparison,
  inputs: readonly string[],
): Promise<void> {
  if (file === undefined) return;
  const { comparePage } = await import('../report/html-compare.ts');
  await writeText(file, comparePage(report), 'page', inputs);
}

function printComparison(context: Context, report: Comparison, flags: CompareFlags): void {
  const { style, width } = context;
  const { verification } = report;
  context.print(
    renderTable(
      [
        { title: '' },
        { title: 'file', min: 16 },
        { title: 'size', align: 'right' },
        { title: 'of a', align: 'right' },
        { title: 'ms/run', align: 'right' },
      ],
      [
        [
          'a',
          safeName(basename(report.a.file)),
          formatBytes(report.a.bytes),
          '100 %',
          verification ? formatMs(verification.msOriginal) : '',
        ],
        [
          'b',
          safeName(basename(report.b.file)),
          formatBytes(report.b.bytes),
          formatRatio(report.b.bytes, report.a.bytes),
          verification ? formatMs(verification.msResult) : '',
        ],
      ],
      { width, style },
    ),
  );
  if (verification !== undefined) {
    const { outputs } = verification;
    context.print('');
    context.print(
      renderTable(
        OUTPUT_COLUMNS,
        outputs.map(({ name, cosine, sqnr, maxAbs }) => [
          safeName(name),
          formatCosine(cosine),
          formatDecibels(sqnr),
          formatValue(Number(maxAbs.toPrecision(4))),
        ]),
        {
          width,
          style,
          paint: (text, row, column) => (column === 1 ? paint(text, outputs[row]?.cosine, style) : text),
        },
      ),
    );
    context.say(
      context.errStyle.dim(
        `run in ${verification.runtime} ${verification.runtimeVersion} on ${safeName(verification.inputs)}`,
      ),
    );
  }
  const top = flags.top ?? DEFAULT_TOP;
  if (flags.weights) printWeights(context, report, top);
  if (report.activations !== undefined) {
    context.print(`\n${activationLines(report.activations, top, context)}`);
    const { data, samples } = report.activations;
    const made = data.synthetic ? ' (made up: real inputs may differ otherwise)' : '';
    context.say(
      context.errStyle.dim(
        `inner values on ${safeName(data.description)}${made}, ${samples} ${samples === 1 ? 'run' : 'runs'}`,
      ),
    );
  }
  for (const note of report.notes) context.say(context.errStyle.dim(`note: ${safeName(note)}`));
  if (flags.html !== undefined) context.say(context.errStyle.dim(`report: ${safeName(flags.html)}`));
}

function printWeights(context: Context, report: Comparison, top: number): void {
  const { style, width } = context;
  const differing = report.weights.filter(({ sqnr }) => sqnr !== Infinity).sort((x, y) => x.sqnr - y.sqnr);
  const shown = differing.slice(0, top);
  context.print('');
  if (shown.length > 0) {
    context.print(
      renderTable(
        WEIGHT_COLUMNS,
        shown.map(({ name, count, formA, formB, sqnr, cosine, maxAbs }) => [
          safeName(name),
          formatShortCount(count),
          formA,
          formB,
          formatDecibels(sqnr),
          formatCosine(cosine),
          formatValue(Number(maxAbs.toPrecision(4))),
        ]),
        { width, style },
      ),
    );
  }
  const same = report.weights.length - differing.length;
  const rest = differing.length - shown.length;
  const parts = [
    `${report.weights.length} weights compared, ${same} equal`,
    ...(rest > 0 ? [`${rest} more differ (--top)`] : []),
    ...(report.onlyInA.length > 0 ? [`${report.onlyInA.length} only in a: ${names(report.onlyInA)}`] : []),
    ...(report.onlyInB.length > 0 ? [`${report.onlyInB.length} only in b: ${names(report.onlyInB)}`] : []),
  ];
  context.print(style.dim(parts.join('; ')));
}

function names(list: readonly string[]): string {
  const shown = list.slice(0, 3).map(safeName).join(', ');
  return list.length > 3 ? `${shown} …` : shown;
}

function paint(text: string, cosine: number | undefined, style: Style): string {
  const grade = cosineGrade(cosine);
  if (grade === 'good') return style.green(text);
  if (grade === 'fair') return style.yellow(text);
  return grade === 'bad' ? style.red(text) : text;
}
