/**
 * The language model of the quality bench: token rows from a text, runs of a model with replaced weights, and what counts,
 * perplexity and the divergence of the next-token distributions from those of the float model (nats per token).
 *
 * Windows of 256 tokens follow each other without overlap and without a token in front; the 255 predictions in each are scored.
 */

import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import { substituteWeights } from '#src/compress/solve/substitute.js';
import { encodeFile, layoutModel, type OnnxModel } from '#src/formats/onnx/model.js';
import type { Kernels } from '#src/kernels/index.js';
import { onnxruntimeNode } from '#src/runtime/onnxruntime-node.js';
import type { RuntimeSession, RuntimeTensor } from '#src/runtime/runtime.js';

export const CONTEXT = 256;
const BATCH = 8;

/** `count` windows of a text, after its first `offset`. */
export function tokenWindows(text: string, tokenizer: string, count: number, offset = 0): Int32Array[] {
  const json: unknown = JSON.parse(readFileSync(tokenizer, 'utf8'));
  const config: unknown = JSON.parse(
    readFileSync(tokenizer.replace('tokenizer.json', 'tokenizer_config.json'), 'utf8'),
  );
  if (typeof json !== 'object' || json === null || typeof config !== 'object' || config === null)
    throw new Error('no tokenizer');
  const { ids } = new Tokenizer(json, config).encode(readFileSync(text, 'utf8'), {
    add_special_tokens: false,
  });
  return Array.from({ length: count }, (_, window) =>
    Int32Array.from(ids.slice((offset + window) * CONTEXT, (offset + window + 1) * CONTEXT)),
  );
}

/** Complete inputs of one run: token ids, mask, positions, empty past. */
export function modelInputs(windows: readonly Int32Array[], layers: number): Map<string, RuntimeTensor> {
  const rows = windows.length;
  const int64 = (values: BigInt64Array): RuntimeTensor => ({
    dtype: 'int64',
    shape: [rows, CONTEXT],
    data: new Uint8Array(values.buffer),
  });
  const each = (value: (row: number, column: number) => number): BigInt64Array =>
    BigInt64Array.from({ length: rows * CONTEXT }, (_, at) =>
      BigInt(value(Math.floor(at / CONTEXT), at % CONTEXT)),
    );
  const inputs = new Map([
    ['input_ids', int64(each((row, column) => windows[row]![column]!))],
    ['attention_mask', int64(each(() => 1))],
    ['position_ids', int64(each((_, column) => column))],
  ]);
  for (let layer = 0; layer < layers; layer++) {
    for (const half of ['key', 'value'])
      inputs.set(`past_key_values.${layer}.${half}`, {
        dtype: 'f32',
        shape: [rows, 4, 0, 32],
        data: new Uint8Array(0),
      });
  }
  return inputs;
}

export interface Quality {
  readonly perplexity: number;
  /** Mean KL divergence from the float model. */
  readonly divergence: number;
}

export interface Evaluation {
  readonly float: number;
  evaluate(values: ReadonlyMap<string, Float32Array>): Promise<Quality>;
}

/** Runs the float model once and keeps its distributions in memory (4 bytes for each token of the vocabulary and position). */
export async function createEvaluation(
  model: OnnxModel,
  kernels: Kernels,
  windows: readonly Int32Array[],
  threads: number,
): Promise<Evaluation> {
  const reference: Float32Array[] = [];
  const float = await run(new Map(), (batch, logits) => {
    const kept = Float32Array.from(logits);
    reference.push(kept);
    return score(batch, kept, undefined);
  });
  return {
    float: float.perplexity,
    async evaluate(values) {
      let index = 0;
      return run(values, (batch, logits) => score(batch, logits, reference[index++]));
    },
  };

  async function run(
    values: ReadonlyMap<string, Float32Array>,
    visit: (batch: readonly Int32Array[], logits: Float32Array) => { loss: number; divergence: number },
  ): Promise<Quality> {
    return withSession(model, values, kernels, threads, async (session) => {
      let loss = 0;
      let divergence = 0;
      for (let start = 0; start < windows.length; start += BATCH) {
        const batch = windows.slice(start, start + BATCH);
        const logits = (await session.run(modelInputs(batch, 6))).get('logits');
        if (logits === undefined) throw new Error('no logits');
        const part = visit(
          batch,
          new Float32Array(logits.data.buffer, logits.data.byteOffset, logits.data.length / 4),
        );
        loss += part.loss;
        divergence += part.divergence;
      }
      const count = windows.length * (CONTEXT - 1);
      return { perplexity: Math.exp(loss / count), divergence: divergence / count };
    });
  }
}

/** Sums over the scored positions of a batch; `logits` become log probabilities. */
function score(
  batch: readonly Int32Array[],
  logits: Float32Array,
  reference: Float32Array | undefined,
): { loss: number; divergence: number } {
  const vocabulary = logits.length / (batch.length * CONTEXT);
  let loss = 0;
  let divergence = 0;
  for (const [row, tokens] of batch.entries()) {
    for (let position = 0; position < CONTEXT - 1; position++) {
      const start = (row * CONTEXT + position) * vocabulary;
      let max = Number.NEGATIVE_INFINITY;
      for (let i = start; i < start + vocabulary; i++) if (logits[i]! > max) max = logits[i]!;
      let sum = 0;
      for (let i = start; i < start + vocabulary; i++) sum += Math.exp(logits[i]! - max);
      const norm = max + Math.log(sum);
      loss += norm - logits[start + tokens[position + 1]!]!;
      if (reference === undefined) {
        for (let i = start; i < start + vocabulary; i++) logits[i] = logits[i]! - norm;
      } else {
        let total = 0;
        for (let i = start; i < start + vocabulary; i++) {
          const known = reference[i]!;
          if (known > -25) total += Math.exp(known) * (known - logits[i]! + norm);
        }
        divergence += total;
      }
    }
  }
  return { loss, divergence };
}

async function withSession<T>(
  model: OnnxModel,
  values: ReadonlyMap<string, Float32Array>,
  kernels: Kernels,
  threads: number,
  work: (session: RuntimeSession) => Promise<T>,
): Promise<T> {
  const proto = substituteWeights(model.proto, values, kernels);
  const [file] = await layoutModel(proto, {
    fileName: 'model.onnx',
    externalData: 'never',
    sourceHadExternal: false,
    resolve: (tensor) => model.tensorBytes(tensor),
  });
  if (file === undefined) throw new Error('no file');
  const folder = await mkdtemp(join(tmpdir(), 'whittle-quality-'));
  try {
    const path = join(folder, file.name);
    await writeFile(path, await encodeFile(file));
    const session = await onnxruntimeNode().load(path, { threads });
    try {
      return await work(session);
    } finally {
      await session.close();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
