/**
 * Runs GGUF language models in llama.cpp through node-llama-cpp, an optional peer that is imported when a model is first
 * loaded. Nothing is built or downloaded: the prebuilt library of the package is used, on the processor unless layers for a
 * graphics card are asked for.
 *
 * Logits come back as one number for each token of the vocabulary and position, boxed; a window is therefore run in
 * pieces, and where only the likelihood of one token is wanted, the library sums the distribution itself.
 */

import { resolve } from 'node:path';
import { WhittleError } from '../errors.ts';
import type {
  LanguageModel,
  LanguageModelOptions,
  LanguageRuntime,
  TokenLogits,
  WindowRequest,
} from './language-model.ts';
import { engineError, loadError } from './onnxruntime-tensors.ts';

const NAME = 'node-llama-cpp';
/** Logits that are held at once, as boxed numbers of about 40 bytes. */
const HELD_LOGITS = 4 << 20;
/** Tokens of a batch: llama-perplexity's physical batch. */
const BATCH = 512;

async function engine() {
  try {
    return await import('node-llama-cpp');
  } catch (cause) {
    throw loadError(NAME, cause, 'it runs GGUF files');
  }
}

export function llamaCpp(): LanguageRuntime {
  return {
    name: NAME,
    async version() {
      const { getModuleVersion } = await engine();
      return getModuleVersion();
    },
    load: loadModel,
  };
}

type Engine = Awaited<ReturnType<typeof engine>>;
type Llama = Awaited<ReturnType<Engine['getLlama']>>;
type Sequence = ReturnType<
  Awaited<ReturnType<Awaited<ReturnType<Llama['loadModel']>>['createContext']>>['getSequence']
>;
type Item = Parameters<Sequence['controlledEvaluate']>[0][number];
type Token = Extract<Item, number>;
type Output = Awaited<ReturnType<Sequence['controlledEvaluate']>>[number];

/** The engine brands its token ids. */
function isToken(id: number): id is Token {
  return Number.isSafeInteger(id) && id >= 0;
}

function tokenOf(id: number | undefined): Token {
  if (id === undefined || !isToken(id)) throw new Error(`not a token id: ${id}`);
  return id;
}

async function loadModel(file: string, options: LanguageModelOptions): Promise<LanguageModel> {
  const { getLlama } = await engine();
  const { context: contextSize, threads, gpuLayers = 0 } = options;
  // What llama.cpp says when it refuses a model goes to its log; the error it throws says little.
  const complaints: string[] = [];
  let llama: Llama;
  try {
    llama = await getLlama({
      gpu: gpuLayers > 0 ? 'auto' : false,
      build: 'never',
      skipDownload: true,
      progressLogs: false,
      ...(threads === undefined ? {} : { maxThreads: threads }),
      logger(level, message) {
        if (level === 'error' || level === 'fatal') complaints.push(message.trim());
      },
    });
  } catch (cause) {
    throw engineError(`${NAME} does not start`, file, cause);
  }
  try {
    const model = await llama.loadModel({ modelPath: resolve(file), gpuLayers });
    const context = await model.createContext({
      // A full context would make the engine forget its first half to have room for a next token.
      contextSize: contextSize + 1,
      batchSize: Math.min(contextSize, BATCH),
      flashAttention: 'auto',
      ...(threads === undefined ? {} : { threads }),
    });
    const sequence = context.getSequence();
    const vocabulary = model.fileInfo.metadata.tokenizer.ggml.tokens.length;
    const { bos, shouldPrependBosToken } = model.tokens;
    return {
      file,
      vocabulary,
      beginning: shouldPrependBosToken && bos !== null ? bos : undefined,
      tokenize: (text) => model.tokenize(text, false),
      async score(request, visit) {
        try {
          await scoreWindow(sequence, vocabulary, request, visit);
        } catch (cause) {
          if (cause instanceof WhittleError) throw cause;
          throw engineError(`${NAME} failed to run the model`, file, cause);
        }
      },
      close: () => llama.dispose(),
    };
  } catch (cause) {
    await llama.dispose();
    const found = complaints.length === 0 ? cause : new Error(complaints.slice(0, 4).join('; '), { cause });
    throw engineError(`${NAME} refuses the model`, file, found);
  }
}

async function scoreWindow(
  sequence: Sequence,
  vocabulary: number,
  { tokens, first, targets, all, signal }: WindowRequest,
  visit: (result: TokenLogits) => void,
): Promise<void> {
  await sequence.clearHistory();
  const values = new Float32Array(all ? vocabulary : 0);
  // Whole batches where they can be held; else pieces of a multiple of 16 rows, as the matrix kernels like them.
  const rows = Math.max(16, Math.floor(HELD_LOGITS / vocabulary / 16) * 16);
  const pieces = all && rows < tokens.length - first ? rows : tokens.length;
  for (let start = 0; start < tokens.length; ) {
    if (signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped');
    const end = Math.min(tokens.length, pieces < tokens.length && start < first ? first : start + pieces);
    // The last token is run and asked for too, though nothing follows it: llama-perplexity does, and batches of other sizes
    // take other paths through the matrix kernels.
    const items = tokens.slice(start, end).map((token, i): Item => {
      if (start + i < first) return tokenOf(token);
      const target = targets[start + i] ?? 0;
      const logits = all ? true : { filter: { tokens: [tokenOf(target)], includeTop: 1 } };
      return [tokenOf(token), { generateNext: { logits, totalLogitWeight: true } }];
    });
    const outputs = await sequence.controlledEvaluate(items);
    for (let position = Math.max(start, first); position < Math.min(end, tokens.length - 1); position++) {
      const target = targets[position] ?? 0;
      visit({ position, ...resultOf(outputs[position - start], target, all ? values : undefined) });
    }
    start = end;
  }
}

/** Fills `values` with the logits where all are wanted; with one token and the largest, the engine's own sum makes −log p. */
function resultOf(
  output: Output,
  target: number,
  values: Float32Array | undefined,
): Omit<TokenLogits, 'position'> {
  const { logits, totalLogitWeight } = output?.next ?? {};
  if (logits === undefined || totalLogitWeight === undefined) throw new Error('no logits came back');
  let largest = Number.NEGATIVE_INFINITY;
  for (const value of logits.values()) largest = Math.max(largest, value);
  if (values === undefined) {
    const own = logits.get(tokenOf(target)) ?? Number.NaN;
    return { logits: undefined, negativeLogLikelihood: largest + Math.log(totalLogitWeight) - own };
  }
  values.fill(Number.NEGATIVE_INFINITY);
  for (const [token, value] of logits) values[token] = value;
  let sum = 0;
  for (const value of values) sum += Math.exp(value - largest);
  return { logits: values, negativeLogLikelihood: largest + Math.log(sum) - (values[target] ?? Number.NaN) };
}
