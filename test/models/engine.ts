/**
 * Original and result in onnxruntime-node, called directly: the tests of real models must not lean on the code that `quantize`
 * uses to prove its own results.
 */

import { stat } from 'node:fs/promises';
import { InferenceSession, Tensor } from 'onnxruntime-node';

export type Feeds = Readonly<Record<string, Tensor>>;

/** A model's answers: every output of every step, joined. */
export type Answers = ReadonlyMap<string, Float32Array>;

/** Runs `file` once for each of the feeds. `carry` names outputs that become inputs of the next run (a recurrent state). */
export async function answers(
  file: string,
  feeds: readonly Feeds[],
  carry: Record<string, string> = {},
): Promise<Answers> {
  const session = await InferenceSession.create(file, { logSeverityLevel: 3 });
  const collected = new Map<string, number[]>(session.outputNames.map((name) => [name, []]));
  let state: Record<string, Tensor> = {};
  for (const feed of feeds) {
    const outputs = await session.run({ ...feed, ...state });
    for (const [name, values] of collected) {
      const { data } = outputs[name] ?? {};
      if (!(data instanceof Float32Array)) throw new Error(`${file}: output ${name} is not float32`);
      for (const value of data) values.push(value);
    }
    state = {};
    for (const [output, input] of Object.entries(carry)) {
      const tensor = outputs[output];
      if (tensor !== undefined) state[input] = tensor;
    }
  }
  await session.release();
  return new Map([...collected].map(([name, values]) => [name, Float32Array.from(values)]));
}

/** Cosine between two series; NaN where either holds one. */
export function cosine(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) throw new Error(`${a.length} values against ${b.length}`);
  let dot = 0;
  let aa = 0;
  let bb = 0;
  for (let i = 0; i < a.length; i++) {
    dot += a[i]! * b[i]!;
    aa += a[i]! * a[i]!;
    bb += b[i]! * b[i]!;
  }
  return dot / Math.sqrt(aa * bb);
}

export function maxAbs(a: Float32Array, b: Float32Array): number {
  return a.reduce((most, value, index) => Math.max(most, Math.abs(value - b[index]!)), 0);
}

/** The worst cosine over all outputs. */
export function worstCosine(original: Answers, result: Answers): number {
  return Math.min(
    ...[...original].map(([name, values]) => cosine(values, result.get(name) ?? new Float32Array())),
  );
}

export function float(values: Float32Array, shape: readonly number[]): Tensor {
  return new Tensor('float32', values, shape);
}

export function int64(values: readonly number[], shape: readonly number[]): Tensor {
  return new Tensor('int64', BigInt64Array.from(values, BigInt), shape);
}

export async function fileBytes(paths: readonly string[]): Promise<number> {
  let bytes = 0;
  for (const path of paths) bytes += (await stat(path)).size;
  return bytes;
}
