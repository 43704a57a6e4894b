/**
 * What a GGUF language model is worth: perplexity on a text and divergence from its original, both in llama.cpp by the rule
 * of llama-perplexity (verify/perplexity.ts), size, bits per weight, and the error of every tensor. The same form as of ONNX
 * models, so that one report shows both.
 */

import type { RunOptions } from '../core/progress.ts';
import { WhittleError } from '../errors.ts';
import { openGguf } from '../formats/gguf/open.ts';
import type { LanguageModel } from '../runtime/language-model.ts';
import { llamaCpp } from '../runtime/llama-cpp.ts';
import { baseModel, DEFAULT_CONTEXT, type Divergence, measurePerplexity } from '../verify/perplexity.ts';
import type { Evaluation, ModelFigures } from './evaluate.ts';
import type { LayerQuality } from './evaluate-layers.ts';
import { compareGguf } from './gguf/compare.ts';

export interface EvaluateGgufOptions extends RunOptions {
  /** The model that it was made from. */
  readonly against?: string | undefined;
  readonly text: string;
  /** Where the text comes from, for people. */
  readonly description: string;
  /** Tokens of a window; default 512. */
  readonly context?: number | undefined;
  /** Windows; default all. */
  readonly samples?: number | undefined;
  readonly threads?: number | undefined;
  /** Compare every tensor with the original's. Default false. */
  readonly layers?: boolean | undefined;
}

/** @throws WhittleError E_MISSING_PEER, E_RUNTIME, E_USAGE (text too short, other vocabularies), E_ABORTED, and what is wrong with the files */
export async function evaluateGguf(file: string, options: EvaluateGgufOptions): Promise<Evaluation> {
  const started = performance.now();
  const { against, text, threads, signal, samples, context = DEFAULT_CONTEXT, onProgress } = options;
  if (options.layers === true && against === undefined) {
    throw new WhittleError('E_USAGE', 'layers are judged against the original', {
      file,
      hint: 'Name the original model.',
    });
  }
  const own = await figuresOf(file);
  const other = against === undefined ? undefined : await figuresOf(against);
  const runtime = llamaCpp();
  const base =
    against === undefined ? undefined : baseModel(await runtime.load(against, { context, threads }));
  let model: LanguageModel | undefined;
  try {
    model = await runtime.load(file, { context, threads });
    const report = await measurePerplexity(
      model,
      text,
      {
        context,
        chunks: samples,
        signal,
        onChunk: (done, total) =>
          onProgress?.({ phase: `window ${done} of ${total}`, bytesDone: done, bytesTotal: total }),
      },
      base,
    );
    const { divergence, tokens } = report;
    const quality = (perplexity: number, error: number) => ({
      scored: tokens,
      perplexity,
      crossEntropy: Math.log(perplexity),
      crossEntropyError: error / perplexity,
    });
    const layers =
      options.layers === true && against !== undefined
        ? await tensorErrors(against, file, options)
        : undefined;
    return {
      model: own,
      ...(other && { against: other }),
      data: {
        description: `${report.chunks} × ${context} tokens of ${options.description}, the second half of each scored`,
        synthetic: false,
      },
      quality: {
        samples: report.chunks,
        outputs: [],
        scores: {
          output: 'logits',
          kind: 'logits',
          result: quality(report.perplexity, report.error),
          original: divergence && quality(divergence.basePerplexity, 0),
          distance: divergence && distanceOf(divergence, tokens),
          notes: [],
        },
        notes: [],
      },
      ...(layers && { layers: { layers, samples: 0, distributions: [], notes: [] } }),
      notes: [],
      seconds: (performance.now() - started) / 1000,
    };
  } finally {
    await model?.close();
    await base?.model.close();
  }
}

function distanceOf(divergence: Divergence, rows: number) {
  return {
    rows,
    klDivergence: divergence.mean,
    klError: divergence.meanError,
    klMedian: divergence.median,
    kl99: divergence.percentile99,
    klMax: divergence.max,
    agreement: divergence.sameTop,
  };
}

async function figuresOf(file: string): Promise<ModelFigures> {
  await using model = await openGguf(file);
  const count = model.tensors.reduce((sum, { shape }) => sum + shape.reduce((n, dim) => n * dim, 1), 0);
  const bytes = model.tensors.reduce((sum, { data }) => sum + data.length, 0);
  return { file, bytes: model.bytes, bitsPerWeight: (8 * bytes) / count };
}

async function tensorErrors(
  original: string,
  file: string,
  { signal, onProgress }: EvaluateGgufOptions,
): Promise<LayerQuality[]> {
  const { weights } = await compareGguf(original, file, { signal, onProgress });
  await using a = await openGguf(original);
  await using b = await openGguf(file);
  const sizes = (model: typeof a) => new Map(model.tensors.map(({ name, data }) => [name, data.length]));
  const [before, after] = [sizes(a), sizes(b)];
  return weights
    .filter(({ formA, formB }) => formA !== formB)
    .map(({ name, formB, count, sqnr, cosine }) => ({
      weight: name,
      form: formB,
      count,
      weightSqnr: sqnr,
      weightCosine: cosine,
      keepBytes: (before.get(name) ?? 0) - (after.get(name) ?? 0),
    }))
    .sort((x, y) => x.weightSqnr - y.weightSqnr);
}
