/**
 * Which weight of an ONNX model is which tensor of the GGUF file of the same model, found by name and proved by value. Rows are
 * outputs in both; those of queries and keys stand in another order in GGUF, where the halves of a head's rotary pairs are interleaved.
 *
 * Source: llama.cpp's conversion (`LlamaModel.permute`): row (head, half, pair) of the original is row (head, pair, half).
 */

import { ggufNames } from '../../../calibration/statistics/gguf-names.ts';
import { isWeightDType } from '../../../core/dtype.ts';
import { isBlockType } from '../../../core/ggml-types.ts';
import { WhittleError } from '../../../errors.ts';
import type { GgufModel, GgufTensor } from '../../../formats/gguf/gguf.ts';
import type { OnnxModel } from '../../../formats/onnx/model.ts';
import type { Kernels } from '../../../kernels/kernels.ts';
import { findLayers, type Layer, toMatrix } from '../../solve/layers.ts';
import { floatReader } from '../../stored-values.ts';
import { tensorValues } from '../values.ts';

export interface Twin {
  readonly tensor: GgufTensor;
  readonly layer: Layer;
  /** Row of the ONNX weight for each row of the tensor. */
  readonly rows: Int32Array;
}

const HEAD = 'output.weight';
const HEAD_NAME = /(?:^|[./])lm_head(?=[./]|$)/;
/** Largest relative difference of a float copy: bf16 keeps 2^−9. */
const FLOAT_DIFFERENCE = 0.02;
/** Of a tensor that is quantized already. Other weights differ by 1.4 of their size. */
const QUANTIZED_DIFFERENCE = 0.5;

/**
 * Twins of `wanted` tensors (by name) that are plain matrices.
 * @throws WhittleError E_SHAPE, E_DATA where the ONNX file is of another model, E_UNSUPPORTED where no name is known
 */
export async function findTwins(
  gguf: GgufModel,
  onnx: OnnxModel,
  wanted: ReadonlySet<string>,
  kernels: Kernels,
): Promise<Twin[]> {
  const names = twinNames(onnx, gguf);
  const tensors = new Map(gguf.tensors.map((tensor) => [tensor.name, tensor]));
  const layers = findLayers(onnx.proto, new Set(names.keys()));
  const twins: Twin[] = [];
  for (const layer of layers) {
    const tensor = tensors.get(names.get(layer.key) ?? '');
    if (tensor === undefined || !wanted.has(tensor.name) || layer.groups !== 1) continue;
    checkShape(gguf, onnx, tensor, layer);
    twins.push({ tensor, layer, rows: await rowsOf(gguf, onnx, tensor, layer, kernels) });
  }
  if (twins.length > 0 || wanted.size === 0) return twins;
  throw new WhittleError('E_UNSUPPORTED', 'no weight of the ONNX file has a known name in the GGUF file', {
    file: onnx.file,
    expected: [...wanted].slice(0, 3).join(', '),
    found: [...names.values()].slice(0, 3).join(', ') || 'no q_proj, k_proj, … gate_proj, down_proj',
    hint: 'Give the ONNX file of the same model, with the names of its modules.',
  });
}

/** Key of an ONNX weight → name in GGUF: the matrices of the blocks, and a head with weights of its own. */
export function twinNames(onnx: OnnxModel, gguf: GgufModel): Map<string, string> {
  const names = ggufNames(onnx.proto);
  if (!gguf.tensors.some(({ name }) => name === HEAD)) return names;
  for (const layer of findLayers(onnx.proto)) {
    const node = onnx.proto.graph?.node.find(({ input }) => input.includes(layer.name));
    if ([layer.name, node?.name ?? ''].some((name) => HEAD_NAME.test(name))) names.set(layer.key, HEAD);
  }
  return names;
}

function checkShape(gguf: GgufModel, onnx: OnnxModel, { name, shape }: GgufTensor, layer: Layer): void {
  const [inputs, outputs = 1] = shape;
  if (inputs === layer.inputs && outputs === layer.outputs) return;
  throw new WhittleError('E_SHAPE', 'the ONNX file is of another model', {
    file: onnx.file,
    tensor: layer.name,
    expected: `${outputs} × ${inputs}, as ${name} of ${gguf.file}`,
    found: `${layer.outputs} × ${layer.inputs}`,
    hint: 'Name the ONNX file of the same model with --onnx.',
  });
}

async function rowsOf(
  gguf: GgufModel,
  onnx: OnnxModel,
  tensor: GgufTensor,
  layer: Layer,
  kernels: Kernels,
): Promise<Int32Array> {
  const mine = await tensorValues(tensor, kernels);
  const other = toMatrix(await weightValues(onnx, layer, kernels), layer);
  const limit = isBlockType(tensor.type) ? QUANTIZED_DIFFERENCE : FLOAT_DIFFERENCE;
  let least = Number.POSITIVE_INFINITY;
  for (const rows of orders(gguf, tensor, layer.outputs)) {
    const difference = relativeDifference(mine, other, rows, layer.inputs);
    if (difference <= limit) return rows;
    least = Math.min(least, difference);
  }
  throw new WhittleError('E_DATA', 'the ONNX file holds other weights than the GGUF file', {
    file: onnx.file,
    tensor: layer.name,
    expected: `the values of ${tensor.name}`,
    found: `values that differ by ${(least * 100).toPrecision(2)} % of their size`,
    hint: 'Name the ONNX file of the same model, in float, with --onnx.',
  });
}

/** Orders of rows that conversions make. */
function orders(gguf: GgufModel, { name }: GgufTensor, outputs: number): Int32Array[] {
  const found = [Int32Array.from({ length: outputs }, (_, row) => row)];
  const count = name.includes('attn_k.') ? 'head_count_kv' : 'head_count';
  const heads = name.includes('attn_q.') || name.includes('attn_k.') ? headsOf(gguf, count) : 0;
  const half = outputs / heads / 2;
  if (heads === 0 || !Number.isInteger(half)) return found;
  found.push(
    Int32Array.from({ length: outputs }, (_, row) => {
      const head = Math.floor(row / (2 * half));
      const within = row % (2 * half);
      return head * 2 * half + (within % 2) * half + Math.floor(within / 2);
    }),
  );
  return found;
}

/** 0 where it is not said, or differs between layers. */
function headsOf(gguf: GgufModel, count: string): number {
  const prefix = `${gguf.architecture ?? ''}.attention.`;
  const value = gguf.value(prefix + count) ?? gguf.value(`${prefix}head_count`);
  return typeof value === 'number' || typeof value === 'bigint' ? Number(value) : 0;
}

function relativeDifference(
  mine: Float32Array,
  other: Float32Array,
  rows: Int32Array,
  inputs: number,
): number {
  let noise = 0;
  let signal = 0;
  for (const [row, twin] of rows.entries()) {
    for (let i = 0; i < inputs; i++) {
      const value = mine[row * inputs + i]!;
      noise += (value - other[twin * inputs + i]!) ** 2;
      signal += value * value;
    }
  }
  return signal > 0 ? Math.sqrt(noise / signal) : noise > 0 ? Number.POSITIVE_INFINITY : 0;
}

async function weightValues(
  onnx: OnnxModel,
  { weight, outputs, inputs }: Layer,
  kernels: Kernels,
): Promise<Float32Array> {
  const values = new Float32Array(outputs * inputs);
  if (!isWeightDType(weight.dtype)) return values;
  const read = await floatReader(onnx, weight.tensor, weight.dtype, kernels);
  await read(0, values);
  return values;
}

/** f32 [outputs, inputs] of a tensor with its rows in the order of the ONNX weight. */
export function inTwinsOrder(values: Float32Array, { rows, layer: { inputs } }: Twin): Float32Array {
  const moved = new Float32Array(values.length);
  for (const [row, twin] of rows.entries())
    moved.set(values.subarray(row * inputs, (row + 1) * inputs), twin * inputs);
  return moved;
}
