/**
 * Golden cases of onnxruntime's Python quantizers, run through a `Kernels`: every function here returns the bytes that
 * the case's output tensors hold. Case list: onnxruntime.json beside the safetensors file.
 */

import { readFileSync } from 'node:fs';
import type { Kernels } from '../../src/kernels/index.ts';
import { floatsOf, type GoldenTensor, readSafetensors } from './safetensors.ts';

type OutputName = string | { readonly tensor: string };

export interface GoldenCase {
  readonly case: string;
  readonly weight?: string;
  readonly dtype?: 'float32' | 'float16';
  readonly bits?: 2 | 4 | 8;
  readonly block_size?: number;
  readonly symmetric?: boolean;
  readonly encoding?: 'nf4' | 'fp4';
  readonly type?: 'int8' | 'int8_asym' | 'uint8' | 'int16' | 'uint16';
  readonly reduce_range?: boolean;
  readonly transpose_weight?: boolean;
  readonly outputs: Readonly<Record<string, OutputName>>;
}

export interface Golden {
  readonly cases: readonly GoldenCase[];
  readonly tensors: ReadonlyMap<string, GoldenTensor>;
}

export function readGolden(folder: string): Golden {
  const cases: GoldenCase[] = JSON.parse(readFileSync(`${folder}/onnxruntime.json`, 'utf8'));
  return { cases, tensors: readSafetensors(`${folder}/onnxruntime.safetensors`) };
}

export function tensorName(output: OutputName): string {
  return typeof output === 'string' ? output : output.tensor;
}

export function expectedBytes(golden: Golden, name: OutputName): Uint8Array {
  const tensor = golden.tensors.get(tensorName(name));
  if (tensor === undefined) throw new Error(`no tensor ${tensorName(name)}`);
  return tensor.bytes;
}

export function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function toHalfBytes(kernels: Kernels, values: Float32Array): Uint8Array {
  const half = new Uint8Array(values.length * 2);
  kernels.convert('f32', 'f16', bytesOf(values), half, values.length);
  return half;
}

/** Outputs of a case by role, as bytes. */
export function runCase(kernels: Kernels, golden: Golden, item: GoldenCase): Record<string, Uint8Array> {
  const tensor = golden.tensors.get(item.weight ?? '');
  if (tensor === undefined) throw new Error(`no weight of ${item.case}`);
  const weight = floatsOf(tensor);
  const [rows = 1, columns = 1] = tensor.shape;
  if (item.case.startsWith('matmulnbits/')) return runNBits(kernels, item, weight, rows, columns);
  if (item.case.startsWith('matmulbnb4/')) return runBnb4(kernels, item, weight, rows, columns);
  if (item.case.startsWith('gather4/')) return runGather(kernels, item, weight, rows, columns);
  return runAffine(kernels, item, weight);
}

function runNBits(
  kernels: Kernels,
  item: GoldenCase,
  weight: Float32Array,
  rows: number,
  columns: number,
): Record<string, Uint8Array> {
  const bits = item.bits ?? 4;
  const blockSize = item.block_size ?? 32;
  const symmetric = item.symmetric ?? true;
  const half = item.dtype === 'float16';
  let values = weight;
  if (half) {
    values = new Float32Array(weight.length);
    kernels.convert('f16', 'f32', toHalfBytes(kernels, weight), bytesOf(values), weight.length);
  }
  const blocks = Math.ceil(rows / blockSize);
  const stride = (blocks * blockSize * bits) / 8;
  const packed = new Uint8Array(columns * stride).fill(0xa5);
  const scales = new Float32Array(columns * blocks);
  const zeros = new Uint8Array(columns * blocks);
  const options = { rule: 'nbits', bits, blockSize, symmetric, scaleType: half ? 'f16' : 'f32' } as const;
  kernels.quantizeColumnBlocks(values, rows, columns, options, packed, stride, scales, blocks, zeros, 0);
  const perByte = 8 / bits;
  const zeroStride = Math.ceil(blocks / perByte);
  const padded = new Uint8Array(zeroStride * perByte);
  const packedZeros = new Uint8Array(columns * zeroStride);
  for (let c = 0; c < columns; c++) {
    padded.fill(2 ** (bits - 1));
    padded.set(zeros.subarray(c * blocks, (c + 1) * blocks));
    kernels.packBits(padded, bits, 'lowFirst', packedZeros.subarray(c * zeroStride, (c + 1) * zeroStride));
  }
  return { packed, scales: half ? toHalfBytes(kernels, scales) : bytesOf(scales), zero_points: packedZeros };
}

function transposed(kernels: Kernels, weight: Float32Array, rows: number, columns: number): Float32Array {
  const result = new Float32Array(weight.length);
  kernels.transpose(bytesOf(weight), rows, columns, 4, bytesOf(result));
  return result;
}

function runBnb4(
  kernels: Kernels,
  item: GoldenCase,
  weight: Float32Array,
  rows: number,
  columns: number,
): Record<string, Uint8Array> {
  const blockSize = item.block_size ?? 64;
  const codebook = item.encoding ?? 'nf4';
  const values = transposed(kernels, weight, rows, columns);
  const even = values.length + (values.length & 1);
  const codes = new Uint8Array(even).fill(codebook === 'nf4' ? 7 : 0);
  const absmax = new Float32Array(Math.ceil(values.length / blockSize));
  kernels.quantizeBnb4(values, blockSize, codebook, codes.subarray(0, values.length), absmax);
  const packed = new Uint8Array(even / 2);
  kernels.packBits(codes, 4, 'highFirst', packed);
  return { packed, absmax: bytesOf(absmax) };
}

function runGather(
  kernels: Kernels,
  item: GoldenCase,
  weight: Float32Array,
  rows: number,
  columns: number,
): Record<string, Uint8Array> {
  const flip = item.transpose_weight === true;
  const values = flip ? transposed(kernels, weight, rows, columns) : weight;
  const count = flip ? columns : rows;
  const length = flip ? rows : columns;
  const blockSize = item.block_size ?? 32;
  const symmetric = item.symmetric ?? true;
  const blocks = count * Math.ceil(length / blockSize);
  const codes = new Uint8Array(values.length);
  const scales = new Float32Array(blocks);
  const zeros = new Uint8Array(blocks);
  const options = { rule: 'gather', bits: 4, blockSize, symmetric, scaleType: 'f32' } as const;
  kernels.quantizeRowBlocks(values, count, length, options, codes, scales, zeros);
  // An INT4 tensor holds two's complement nibbles; the kernel's symmetric codes are offset by 8.
  const stored = symmetric ? codes.map((code) => code ^ 8) : codes;
  const packed = new Uint8Array(Math.ceil(codes.length / 2));
  const packedZeros = new Uint8Array(Math.ceil(blocks / 2));
  kernels.packBits(stored, 4, 'lowFirst', packed);
  kernels.packBits(zeros, 4, 'lowFirst', packedZeros);
  return { packed, scales: bytesOf(scales), zero_points: packedZeros };
}

const TYPES = {
  int8: { low: -128, high: 127, array: Int8Array },
  int8_asym: { low: -128, high: 127, array: Int8Array },
  uint8: { low: 0, high: 255, array: Uint8Array },
  int16: { low: -32768, high: 32767, array: Int16Array },
  uint16: { low: 0, high: 65535, array: Uint16Array },
} as const;

/** Scale and zero point by the formula of docs/onnx.md 3.6; the kernels give the range and the codes. */
function runAffine(kernels: Kernels, item: GoldenCase, weight: Float32Array): Record<string, Uint8Array> {
  const { low, high, array } = TYPES[item.type ?? 'int8'];
  const symmetric = item.symmetric ?? false;
  const { min, max } = kernels.range(weight);
  let [first, last]: [number, number] = [low, high];
  if (symmetric && low < 0) first = -high;
  if (item.reduce_range === true) {
    [first, last] = low < 0 ? [-64, 64] : [0, 127];
  }
  let rmin = Math.min(min, 0);
  let rmax = Math.max(max, 0);
  if (symmetric) {
    rmax = Math.max(Math.abs(rmin), Math.abs(rmax));
    rmin = -rmax;
  }
  let scale = Math.fround(rmax - rmin) / (last - first);
  let zero = 0;
  if (scale < 2 ** -126) {
    scale = 1;
  } else {
    const exact = symmetric ? (first + last) / 2 : first - rmin / scale;
    zero = exact + 1.5 * 2 ** 52 - 1.5 * 2 ** 52;
  }
  const q = new array(weight.length);
  kernels.quantizeAffine(weight, scale, zero, low, high, 'halfEven', q);
  return {
    q: bytesOf(q),
    scale: bytesOf(Float32Array.of(scale)),
    zero_point: bytesOf(Int32Array.of(zero)),
  };
}

/** First difference of two byte strings for a failure's message, or undefined. */
export function firstDifference(actual: Uint8Array, expected: Uint8Array): string | undefined {
  if (actual.length !== expected.length) return `length ${actual.length}, expected ${expected.length}`;
  let count = 0;
  let sample = '';
  for (let i = 0; i < actual.length; i++) {
    if (actual[i] === expected[i]) continue;
    if (count++ < 4) sample += ` [${i}] ${actual[i]} for ${expected[i]}`;
  }
  return count === 0 ? undefined : `${count} of ${actual.length} bytes differ:${sample}`;
}
