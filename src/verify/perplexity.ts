/**
 * Perplexity of a language model on a text, and its divergence from a base model, by the rule of llama-perplexity, so that
 * figures can be compared with published ones: the text is cut into windows of `context` tokens, each run from an
 * empty context (with the beginning-of-text token over its first one where the model wants that); the first half is context,
 * the tokens after positions ⌊context/2⌋ … context − 2 are scored.
 *
 * Divergence compares the two distributions at the same positions. llama-perplexity keeps the base's as 16-bit codes of log p
 * between its largest value and 16 nats below, and leaves out tokens below e^−16; so does this (docs/perplexity.md).
 */

import { WhittleError } from '../errors.ts';
import type { LanguageModel } from '../runtime/language-model.ts';

export interface PerplexityOptions {
  /** Tokens of a window; default 512, as llama-perplexity. */
  readonly context?: number | undefined;
  /** Windows; default all that the text fills. */
  readonly chunks?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called after each window, in windows instead of bytes. */
  readonly onChunk?: ((done: number, total: number, perplexity: number) => void) | undefined;
}

export interface Divergence {
  readonly basePerplexity: number;
  /** Mean of ln(perplexity / base perplexity) with its standard error. */
  readonly logRatio: number;
  readonly logRatioError: number;
  /** Kullback-Leibler divergence of the model from the base, nats per token. */
  readonly mean: number;
  readonly meanError: number;
  readonly median: number;
  readonly percentile90: number;
  readonly percentile99: number;
  readonly max: number;
  /** Share of positions where both models rank the same token first, with its standard error. */
  readonly sameTop: number;
  readonly sameTopError: number;
  /** Change of the true token's probability: mean and root mean square. */
  readonly meanProbabilityChange: number;
  readonly rmsProbabilityChange: number;
}

export interface PerplexityReport {
  readonly file: string;
  readonly perplexity: number;
  /** Standard error of the perplexity. */
  readonly error: number;
  readonly context: number;
  readonly chunks: number;
  /** Tokens that were scored. */
  readonly tokens: number;
  readonly base?: string | undefined;
  readonly divergence?: Divergence | undefined;
}

export const DEFAULT_CONTEXT = 512;
/** Above this many tokens the engine sums the distribution itself, in f32: handing over all logits would take longer than the model. */
const EXACT_VOCABULARY = 1 << 14;

/** Windows of `text`, or an error that says how much more of it there must be. */
export function tokenWindows(model: LanguageModel, text: string, options: PerplexityOptions): number[][] {
  const context = options.context ?? DEFAULT_CONTEXT;
  const start = model.beginning === undefined ? [] : [model.beginning];
  const tokens = [...start, ...model.tokenize(text)];
  if (tokens.length < 2 * context) {
    throw new WhittleError('E_USAGE', 'the text is too short for this context', {
      expected: `at least ${2 * context} tokens (two windows of ${context})`,
      found: `${tokens.length} tokens`,
      hint: 'Give a longer text, or a smaller --context.',
    });
  }
  const count = Math.min(options.chunks ?? Number.POSITIVE_INFINITY, Math.floor(tokens.length / context));
  return Array.from({ length: count }, (_, i) => tokens.slice(i * context, (i + 1) * context));
}

/**
 * @param base - a model of the same vocabulary to measure the divergence from (`baseModel`)
 * @throws WhittleError E_USAGE where text, context or vocabularies do not fit; E_ABORTED; E_RUNTIME
 */
export async function measurePerplexity(
  model: LanguageModel,
  text: string,
  options: PerplexityOptions = {},
  base?: BaseModel | undefined,
): Promise<PerplexityReport> {
  const context = options.context ?? DEFAULT_CONTEXT;
  const windows = tokenWindows(model, text, options);
  if (base !== undefined) assertSameVocabulary(model, base.model, windows);
  const likelihood = new Sums();
  const divergence = base === undefined ? undefined : new DivergenceSums();
  for (const [index, window] of windows.entries()) {
    if (options.signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped');
    await scoreWindow(model, base, window, context, likelihood, divergence, options.signal);
    options.onChunk?.(index + 1, windows.length, Math.exp(likelihood.mean));
  }
  const perplexity = Math.exp(likelihood.mean);
  return {
    file: model.file,
    perplexity,
    error: perplexity * likelihood.standardError,
    context,
    chunks: windows.length,
    tokens: likelihood.count,
    base: base?.model.file,
    divergence: divergence?.report(),
  };
}

async function scoreWindow(
  model: LanguageModel,
  base: BaseModel | undefined,
  window: readonly number[],
  context: number,
  likelihood: Sums,
  divergence: DivergenceSums | undefined,
  signal: AbortSignal | undefined,
): Promise<void> {
  const first = Math.floor(context / 2);
  const targets = window.slice(1);
  const coded = (await base?.distributions(window, first, signal)) ?? [];
  const all = base !== undefined || model.vocabulary <= EXACT_VOCABULARY;
  await model.score({ tokens: begun(model, window), targets, first, signal, all }, (result) => {
    likelihood.add(result.negativeLogLikelihood);
    const own = coded[result.position - first];
    if (divergence === undefined || own === undefined || result.logits === undefined) return;
    divergence.add(own, result.logits, targets[result.position] ?? 0);
  });
}

/** The window as the model runs it. */
function begun({ beginning }: LanguageModel, window: readonly number[]): readonly number[] {
  return beginning === undefined ? window : window.with(0, beginning);
}

/** A model that others are measured against: what it says of a window is kept for the next of them, as far as there is room. */
export interface BaseModel {
  readonly model: LanguageModel;
  distributions(
    window: readonly number[],
    first: number,
    signal: AbortSignal | undefined,
  ): Promise<readonly CodedDistribution[]>;
}

/** @param keepBytes - room for distributions, two bytes for each token of the vocabulary and position; default 1 GiB */
export function baseModel(model: LanguageModel, keepBytes = 1 << 30): BaseModel {
  const kept = new Map<string, readonly CodedDistribution[]>();
  let room = keepBytes;
  return {
    model,
    async distributions(window, first, signal) {
      const key = `${first}:${window.join()}`;
      const known = kept.get(key);
      if (known !== undefined) return known;
      const coded: CodedDistribution[] = [];
      const request = { tokens: begun(model, window), targets: window.slice(1), first, signal, all: true };
      await model.score(request, ({ logits }) => {
        if (logits !== undefined) coded.push(encodeDistribution(logits));
      });
      const bytes = coded.length * model.vocabulary * Uint16Array.BYTES_PER_ELEMENT;
      if (bytes <= room) {
        kept.set(key, coded);
        room -= bytes;
      }
      return coded;
    },
  };
}

function assertSameVocabulary(
  model: LanguageModel,
  base: LanguageModel,
  windows: readonly (readonly number[])[],
): void {
  const largest = windows.reduce((most, window) => Math.max(most, ...window), 0);
  if (model.vocabulary === base.vocabulary && largest < base.vocabulary) return;
  throw new WhittleError('E_USAGE', 'the two models do not have the same vocabulary', {
    file: model.file,
    expected: `${base.vocabulary} tokens, as ${base.file} has`,
    found: `${model.vocabulary} tokens`,
    hint: 'Compare a quantized model with the one it was made from.',
  });
}

/** log p ≈ scale · code + lowest. */
export interface CodedDistribution {
  readonly codes: Uint16Array;
  readonly scale: number;
  readonly lowest: number;
}

/** What llama-perplexity stores of a base's logits: 16 bits for each token, 16 nats below the best at most. */
export function encodeDistribution(logits: Float32Array): CodedDistribution {
  let most = Number.NEGATIVE_INFINITY;
  let least = Number.POSITIVE_INFINITY;
  for (const value of logits) {
    if (value > most) most = value;
    if (value < least) least = value;
  }
  least = Math.max(least, Math.fround(most - 16));
  const logSum = Math.fround(Math.log(sumExp(logits, most)));
  const scale = Math.fround(Math.fround(most - least) / 65535);
  const lowest = Math.fround(Math.fround(least - most) - logSum);
  const codes = new Uint16Array(logits.length);
  if (scale > 0) {
    const inverse = Math.fround(1 / scale);
    for (const [i, value] of logits.entries()) {
      if (value > least) codes[i] = Math.round(Math.fround(inverse * Math.fround(value - least)));
    }
  }
  return { codes, scale, lowest };
}

function sumExp(logits: Float32Array, most: number): number {
  let sum = 0;
  for (const value of logits) sum += Math.exp(value - most);
  return sum;
}

/** Mean and standard error of a stream of numbers. */
class Sums {
  count = 0;
  #sum = 0;
  #squares = 0;

  add(value: number): void {
    this.count++;
    this.#sum += value;
    this.#squares += value * value;
  }

  get mean(): number {
    return this.#sum / this.count;
  }

  get standardError(): number {
    const variance = this.#squares / this.count - this.mean ** 2;
    return this.count > 1 && variance > 0 ? Math.sqrt(variance / (this.count - 1)) : 0;
  }

  get rootMeanSquare(): number {
    return Math.sqrt(this.#squares / this.count);
  }
}

class DivergenceSums {
  readonly #values: number[] = [];
  readonly #divergence = new Sums();
  readonly #ratio = new Sums();
  readonly #base = new Sums();
  readonly #change = new Sums();
  #same = 0;

  add({ codes, scale, lowest }: CodedDistribution, logits: Float32Array, target: number): void {
    let most = Number.NEGATIVE_INFINITY;
    let top = 0;
    for (const [i, value] of logits.entries()) {
      if (value > most) {
        most = value;
        top = i;
      }
    }
    const normalizer = most + Math.log(sumExp(logits, most));
    let sum = 0;
    let baseMost = Number.NEGATIVE_INFINITY;
    let baseTop = 0;
    for (const [i, code] of codes.entries()) {
      const logBase = scale * code + lowest;
      if (logBase > baseMost) {
        baseMost = logBase;
        baseTop = i;
      }
      if (logBase > -16) sum += Math.exp(logBase) * (logBase - (logits[i] ?? 0) + normalizer);
    }
    const own = normalizer - (logits[target] ?? 0);
    const base = -(scale * (codes[target] ?? 0) + lowest);
    this.#values.push(sum);
    this.#divergence.add(sum);
    this.#base.add(base);
    this.#ratio.add(own - base);
    this.#change.add(Math.exp(-own) - Math.exp(-base));
    if (top === baseTop) this.#same++;
  }

  report(): Divergence {
    const sorted = [...this.#values].sort((a, b) => a - b);
    const count = sorted.length;
    const sameTop = this.#same / count;
    return {
      basePerplexity: Math.exp(this.#base.mean),
      logRatio: this.#ratio.mean,
      logRatioError: this.#ratio.standardError,
      mean: this.#divergence.mean,
      meanError: this.#divergence.standardError,
      median: quantile(sorted, 0.5),
      percentile90: quantile(sorted, 0.9),
      percentile99: quantile(sorted, 0.99),
      max: sorted.at(-1) ?? Number.NaN,
      sameTop,
      sameTopError: Math.sqrt((sameTop * (1 - sameTop)) / Math.max(1, count - 1)),
      meanProbabilityChange: this.#change.mean,
      rmsProbabilityChange: this.#change.rootMeanSquare,
    };
  }
}

/** Of ascending numbers, linear between neighbours; NaN where there are none. */
export function quantile(sorted: ArrayLike<number>, q: number): number {
  const at = q * (sorted.length - 1);
  const low = sorted[Math.floor(at)] ?? Number.NaN;
  const high = sorted[Math.ceil(at)] ?? low;
  return low + (high - low) * (at - Math.floor(at));
}
