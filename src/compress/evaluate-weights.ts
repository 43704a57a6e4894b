/**
 * The weights of a result beside those of its original, as layers that can be judged one by one: values of both in the
 * original's layout, and what it would cost to keep a weight as it was.
 */

import { DTYPES } from '../core/dtype.ts';
import type { TensorProto } from '../formats/onnx/messages.ts';
import { payloadLength } from '../formats/onnx/messages.ts';
import type { OnnxModel } from '../formats/onnx/model.ts';
import type { Kernels } from '../kernels/index.ts';
import { errorMetrics } from '../numerics/index.ts';
import {
  floatReader,
  type NamedWeight,
  namedWeights,
  orientedOperation,
  streamStored,
  turnedOperation,
} from './stored-values.ts';
import { pairWeights, type WeightPair } from './weight-pairs.ts';

/** A weight of a result with its original. */
export interface LayerPair {
  readonly pair: WeightPair;
  /** Bytes more that the original's form takes. */
  readonly keepBytes: number;
}

/** Weights that a result holds in another form, in the order of the original. */
export function changedWeights(original: OnnxModel, result: OnnxModel): LayerPair[] {
  const { pairs } = pairWeights(namedWeights(original), namedWeights(result));
  return pairs.flatMap((pair) =>
    pair.a.content.kind === 'float' && pair.b.form !== pair.a.form
      ? [{ pair, keepBytes: storedBytes(pair.a) - storedBytes(pair.b) }]
      : [],
  );
}

/** Bytes of a weight with its scales and zero points. */
export function storedBytes({ content, count }: NamedWeight): number {
  if (content.kind === 'float') return (count * DTYPES[content.dtype].bits) / 8;
  const parts = new Set<TensorProto>(Object.values(content.stored.parts));
  let bytes = 0;
  for (const part of parts) bytes += tensorBytes(part);
  return bytes;
}

function tensorBytes(tensor: TensorProto): number {
  const { rawData, floatData, int32Data, int64Data, doubleData, uint64Data, externalData } = tensor;
  const external = externalData.find(({ key }) => key === 'length')?.value;
  if (external !== undefined) return Number(external);
  return [rawData, floatData, int32Data, int64Data, doubleData, uint64Data].reduce(
    (sum, payload) => sum + (payload === undefined ? 0 : payloadLength(payload)),
    0,
  );
}

/** Bits of the weights of a model, scales included, for each number. */
export function bitsPerWeight(model: OnnxModel): number {
  const weights = namedWeights(model);
  const count = weights.reduce((sum, weight) => sum + weight.count, 0);
  return (8 * weights.reduce((sum, weight) => sum + storedBytes(weight), 0)) / count;
}

/** Values of one weight in both models, f32, both in the layout of the original. */
export interface LayerValues {
  readonly before: Float32Array;
  readonly after: Float32Array;
}

/** Below this a weight is no approximation of the other: a square matrix may be stored the other way round. */
const UNRELATED_DB = 1;

/** @throws WhittleError as reading does */
export async function layerValues(
  original: OnnxModel,
  result: OnnxModel,
  { a, b }: WeightPair,
  kernels: Kernels,
  signal: AbortSignal | undefined,
): Promise<LayerValues> {
  const before = await valuesOf(original, a, kernels, signal);
  if (b.content.kind === 'float') return { before, after: await valuesOf(result, b, kernels, signal) };
  const { stored } = b.content;
  const operation = orientedOperation(stored, a.shape) ?? stored.operation;
  const read = async (way: typeof operation): Promise<Float32Array> => {
    const values = new Float32Array(a.count);
    const take = async (start: number, piece: Float32Array): Promise<void> => values.set(piece, start);
    await streamStored(result, stored, way, take, signal);
    return values;
  };
  const after = await read(operation);
  const square = a.shape.length >= 2 && a.shape.at(-1) === a.shape.at(-2);
  const turned = square ? turnedOperation(operation) : undefined;
  if (turned === undefined || sqnrOf(before, after, kernels) > UNRELATED_DB) return { before, after };
  const other = await read(turned);
  return { before, after: sqnrOf(before, other, kernels) > sqnrOf(before, after, kernels) ? other : after };
}

function sqnrOf(before: Float32Array, after: Float32Array, kernels: Kernels): number {
  return errorMetrics(kernels.errorSums(before, after), before.length).sqnr;
}

async function valuesOf(
  model: OnnxModel,
  { content, count }: NamedWeight,
  kernels: Kernels,
  signal: AbortSignal | undefined,
): Promise<Float32Array> {
  const values = new Float32Array(count);
  if (content.kind === 'float') {
    await (await floatReader(model, content.tensor, content.dtype, kernels))(0, values);
  } else {
    const { stored } = content;
    const take = async (start: number, piece: Float32Array): Promise<void> => values.set(piece, start);
    await streamStored(model, stored, stored.operation, take, signal);
  }
  return values;
}
