/**
 * Two GGUF files side by side: every tensor of both by name, the error of b as an approximation of a. Both sides are
 * dequantized in pieces, so that memory does not grow with the models.
 */

import { ggmlBytes } from '../../core/ggml-types.ts';
import { WhittleError } from '../../errors.ts';
import { addSums, NO_ERROR } from '../../execution/operations/sums.ts';
import type { GgufTensor } from '../../formats/gguf/gguf.ts';
import { openGguf } from '../../formats/gguf/open.ts';
import { type Kernels, selectKernels } from '../../kernels/index.ts';
import { errorMetrics } from '../../numerics/index.ts';
import type { CompareOptions, Comparison, WeightComparison } from '../compare.ts';
import { hasValues, PIECE, prepareTypes, readValues, valueCount } from './values.ts';

/** @throws WhittleError for everything that is wrong with the files */
export async function compareGguf(
  a: string,
  b: string,
  { weights = true, signal, onProgress }: Omit<CompareOptions, 'verify' | 'threads'> = {},
): Promise<Comparison> {
  const started = performance.now();
  await using modelA = await openGguf(a);
  await using modelB = await openGguf(b);
  const others = new Map(modelB.tensors.map((tensor) => [tensor.name, tensor]));
  const pairs = modelA.tensors.flatMap((tensor) => {
    const other = others.get(tensor.name);
    return other !== undefined && comparable(tensor, other) ? [{ a: tensor, b: other }] : [];
  });
  const paired = new Set(pairs.map((pair) => pair.a.name));
  const kernels = await selectKernels();
  const bytesTotal = pairs.reduce((sum, pair) => sum + pair.a.data.length + pair.b.data.length, 0);
  let bytesDone = 0;
  const compared: WeightComparison[] = [];
  for (const pair of weights ? pairs : []) {
    if (signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped on request');
    compared.push(await comparePair(pair.a, pair.b, kernels, signal));
    bytesDone += pair.a.data.length + pair.b.data.length;
    onProgress?.({ phase: 'comparing', bytesDone, bytesTotal, tensor: pair.a.name });
  }
  return {
    a: { file: a, bytes: modelA.bytes },
    b: { file: b, bytes: modelB.bytes },
    weights: compared,
    onlyInA: modelA.tensors.flatMap(({ name }) => (paired.has(name) ? [] : [name])),
    onlyInB: modelB.tensors.flatMap(({ name }) => (paired.has(name) ? [] : [name])),
    notes: [],
    seconds: (performance.now() - started) / 1000,
  };
}

/** Trailing dimensions of 1 come and go between writers. */
function comparable(a: GgufTensor, b: GgufTensor): boolean {
  const core = ({ shape }: GgufTensor): string => shape.join().replace(/(?:,1)+$/, '');
  return core(a) === core(b) && hasValues(a.type) && hasValues(b.type);
}

async function comparePair(
  a: GgufTensor,
  b: GgufTensor,
  kernels: Kernels,
  signal: AbortSignal | undefined,
): Promise<WeightComparison> {
  const count = valueCount(a);
  let sums = NO_ERROR;
  await prepareTypes(kernels, [a.type, b.type]);
  const length = Math.min(PIECE / 4, count);
  const [bytesA, bytesB] = [ggmlBytes(a.type, length), ggmlBytes(b.type, length)];
  const arena = kernels.arena(length * 8 + bytesA + bytesB + 128);
  const [x, y] = [arena.f32(length), arena.f32(length)];
  const [rawA, rawB] = [arena.u8(bytesA), arena.u8(bytesB)];
  for (let start = 0; start < count; start += length) {
    if (signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped on request');
    const now = Math.min(length, count - start);
    const [partX, partY] = [x.subarray(0, now), y.subarray(0, now)];
    await readValues(a, start, rawA, partX, kernels);
    await readValues(b, start, rawB, partY, kernels);
    sums = addSums(sums, kernels.errorSums(partX, partY));
  }
  const { sqnr, cosine, maxAbs, rmse } = errorMetrics(sums, count);
  return {
    name: a.name,
    shape: a.shape,
    count,
    formA: a.type,
    formB: b.type,
    sqnr,
    cosine,
    maxAbs,
    rmse,
  };
}
