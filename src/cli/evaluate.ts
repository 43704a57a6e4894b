/** `whittle evaluate`: what models are worth on data, what they cost to run, and which of their layers hurt. */

import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { type Evaluation, evaluateModel } from '../compress/evaluate.ts';
import { evaluateGguf } from '../compress/evaluate-gguf.ts';
import { modelFormat } from '../compress/model-format.ts';
import type { CalibrationData } from '../compress/options.ts';
import { WhittleError } from '../errors.ts';
import { formatDuration } from '../report/format.ts';
import { PLAIN } from '../report/style.ts';
import { safeName } from '../report/text.ts';
import type { Context } from './context.ts';
import { evaluationLines, layerLines } from './evaluate-text.ts';
import { describeFailure } from './failure.ts';
import { assertSameFormat } from './format-flags.ts';
import { checkText, writeText } from './write-text.ts';

export interface EvaluateFlags {
  readonly data: string;
  readonly against?: string | undefined;
  readonly samples?: number | undefined;
  readonly sequence?: number | undefined;
  readonly seed?: number | undefined;
  readonly tokenizer?: string | undefined;
  readonly preprocessing?: CalibrationData['preprocessing'];
  readonly scores?: string | undefined;
  readonly layers?: boolean | undefined;
  readonly layerSamples?: number | undefined;
  readonly top?: number | undefined;
  readonly runtime: 'onnxruntime-node' | 'onnxruntime-web';
  readonly runs?: number | undefined;
  readonly cost: boolean;
  readonly threads?: number | undefined;
  readonly html?: string | undefined;
  readonly maxKl?: number | undefined;
  readonly minAccuracy?: number | undefined;
}

const DEFAULT_TOP = 15;

export async function runEvaluate(
  context: Context,
  files: readonly string[],
  flags: EvaluateFlags,
): Promise<number | undefined> {
  const { against, html, layers } = flags;
  if (against === undefined && (layers === true || flags.maxKl !== undefined)) {
    throw new WhittleError('E_USAGE', `${layers === true ? '--layers' : '--max-kl'} needs the original`, {
      hint: 'Name it with --against.',
    });
  }
  refuseIdleFlags(flags);
  const inputs = [...files, flags.data, ...(against === undefined ? [] : [against])];
  if (html !== undefined) await checkText(html, 'page', inputs);
  if (against !== undefined) for (const file of files) await assertSameFormat(against, file);
  const evaluations: Evaluation[] = [];
  for (const file of files) evaluations.push(await evaluateOne(context, file, flags));
  context.progress.clear();
  const failure = gate(evaluations, flags);
  if (html !== undefined) {
    const { evaluatePage } = await import('../report/html-evaluate.ts');
    await writeText(html, evaluatePage(evaluations), 'page', inputs);
  }
  if (context.json) {
    const error = failure && describeFailure(failure, PLAIN, false).json.error;
    context.printJson({ evaluations, ...(error && { error }) });
    return failure?.exitCode;
  }
  context.print(evaluationLines(evaluations, context));
  for (const evaluation of evaluations) {
    const lines = layerLines(evaluation, flags.top ?? DEFAULT_TOP, context);
    if (lines !== '') context.print(`\n${lines}`);
  }
  say(context, evaluations, html);
  if (failure !== undefined) throw failure;
  return undefined;
}

/** Flags that would do nothing beside the others. */
function refuseIdleFlags({ layers, layerSamples, top, runs, cost }: EvaluateFlags): void {
  for (const [name, value] of Object.entries({ 'layer-samples': layerSamples, top })) {
    if (layers === true || value === undefined) continue;
    throw new WhittleError('E_USAGE', `--${name} is about layers, which only --layers looks at`);
  }
  if (runs !== undefined && !cost) {
    throw new WhittleError('E_USAGE', '--runs is about the time of a run, which --no-cost leaves out');
  }
}

async function evaluateOne(context: Context, file: string, flags: EvaluateFlags): Promise<Evaluation> {
  const { against, samples, sequence, threads, tokenizer } = flags;
  const { signal } = context;
  const onProgress = context.progress.onProgress;
  if ((await modelFormat(file)) === 'gguf') {
    refuseOnnxFlags(flags, file);
    return evaluateGguf(file, {
      against,
      text: await readText(flags.data),
      description: basename(flags.data),
      context: sequence,
      samples,
      threads,
      layers: flags.layers,
      signal,
      onProgress,
    });
  }
  return evaluateModel(file, {
    against,
    data: {
      source: flags.data,
      tokenizer,
      preprocessing: flags.preprocessing,
      samples: samples ?? 'all',
      ...(sequence === undefined ? {} : { sequence }),
      ...(flags.seed === undefined ? {} : { seed: flags.seed }),
    },
    runtime: flags.runtime,
    threads,
    scores: flags.scores,
    cost: flags.cost,
    runs: flags.runs,
    layers: flags.layers === true ? { samples: flags.layerSamples } : false,
    signal,
    onProgress,
  });
}

function refuseOnnxFlags(flags: EvaluateFlags, file: string): void {
  const { tokenizer, preprocessing, scores, runs, seed, layerSamples, minAccuracy } = flags;
  const given = Object.entries({ tokenizer, preprocessing, scores, runs, seed, layerSamples, minAccuracy });
  const foreign = given.find(([, value]) => value !== undefined)?.[0];
  const name = foreign?.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  if (name === undefined && flags.runtime === 'onnxruntime-node') return;
  throw new WhittleError('E_USAGE', `--${name ?? 'runtime'} is about ONNX models`, { file });
}

/** Endings of data that is no text, which would be read as one. */
const NO_TEXT = /\.(json|ndjson|jsonl|npy|npz|safetensors|[cm]?js|jpe?g|png|webp|gif|avif|tiff?)$/i;

async function readText(path: string): Promise<string> {
  if (NO_TEXT.test(path)) {
    throw new WhittleError('E_USAGE', 'GGUF models are evaluated on a text', {
      file: path,
      hint: 'Evaluate the ONNX file of the model on other data, or name a text.',
    });
  }
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new WhittleError('E_NOT_FOUND', 'the text cannot be read', { file: path, cause });
  }
  if (text.trim() === '') throw new WhittleError('E_EMPTY', 'the text is empty', { file: path });
  return text;
}

/** The first model that is not good enough. */
function gate(
  evaluations: readonly Evaluation[],
  { maxKl, minAccuracy }: EvaluateFlags,
): WhittleError | undefined {
  for (const { model, quality } of evaluations) {
    const divergence = quality.scores?.distance?.klDivergence;
    if (maxKl !== undefined && !(divergence !== undefined && divergence <= maxKl)) {
      return new WhittleError('E_VERIFICATION', 'a model is too far from its original', {
        file: model.file,
        expected: `a KL divergence of at most ${maxKl} nats`,
        found: divergence === undefined ? 'no output with scores' : String(divergence),
        hint: 'Quantize with more bits, or with data.',
      });
    }
    const accuracy = quality.scores?.result?.accuracy;
    if (minAccuracy !== undefined && accuracy === undefined) {
      return new WhittleError('E_USAGE', '--min-accuracy needs data with labels', {
        file: model.file,
        found: 'no accuracy',
        hint: 'Give the class of each row in the data, as labels.',
      });
    }
    if (minAccuracy !== undefined && !((accuracy ?? 0) >= minAccuracy)) {
      return new WhittleError('E_VERIFICATION', 'a model is right too seldom', {
        file: model.file,
        expected: `an accuracy of at least ${minAccuracy}`,
        found: String(accuracy),
        hint: 'Quantize with more bits, or with data.',
      });
    }
  }
  return undefined;
}

function say(context: Context, evaluations: readonly Evaluation[], html: string | undefined): void {
  const [first] = evaluations;
  if (first === undefined) return;
  const dim = context.errStyle.dim;
  for (const note of new Set(evaluations.flatMap(({ notes }) => notes))) {
    context.say(dim(`note: ${safeName(note)}`));
  }
  const seconds = evaluations.reduce((sum, evaluation) => sum + evaluation.seconds, 0);
  const made = first.data.synthetic ? ' (made up: the figures say little about real inputs)' : '';
  context.say(dim(`on ${safeName(first.data.description)}${made}; done in ${formatDuration(seconds)}`));
  if (html !== undefined) context.say(dim(`report: ${safeName(html)}`));
}
