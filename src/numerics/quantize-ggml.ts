/**
 * One tensor in a ggml type, as GGUF files hold it: `quantizeGgml` → bytes with `dequantize()` and `error()` on them;
 * `dequantizeGgml` from the bytes alone.
 *
 * Rows are the last dimension and are encoded one by one, so its length is a multiple of the type's block. The bytes are those
 * of `ggml_quantize_chunk` (docs/encodings.md, "ggml block types"). What llama.cpp would not load is refused: NaN and Inf, and
 * values whose scale a half does not hold.
 */

import { BLOCK_TYPES, type BlockType, GGML_TYPES, ggmlBytes, isBlockType } from '../core/ggml-types.ts';
import { formatShape, type Shape } from '../core/shape.ts';
import { WhittleError } from '../errors.ts';
import { selectKernels } from '../kernels/index.ts';
import type { Kernels } from '../kernels/kernels.ts';
import { type ErrorOptions, measureError, type TensorError } from './error.ts';
import { firstBadBlock, firstBadHalf } from './ggml-scales.ts';
import { checkShape, refuseNonFinite, toFloat32, type WeightOptions, type WeightValues } from './weights.ts';

/** Types that store weights. */
export type GgmlWeightType = BlockType | 'f32' | 'f16' | 'bf16';

export interface GgmlOptions extends WeightOptions {
  /**
   * How much each column matters, ≥ 0 (mean squares of what it is multiplied with): `columns` numbers for all rows, or as many for
   * each matrix of [..., rows, columns]. Types that make no use of it ignore it.
   */
  readonly importance?: Float32Array | undefined;
}

/** A tensor in a ggml type; `data` is what a GGUF file holds. */
export interface GgmlTensor {
  readonly type: GgmlWeightType;
  /** Row-major: the last dimension is a row (the first one in GGUF's order). */
  readonly shape: Shape;
  readonly data: Uint8Array;
  readonly bitsPerWeight: number;
  dequantize(): Float32Array;
  /** Error against the values that were quantized. */
  error(options?: Pick<ErrorOptions, 'groupSize'>): TensorError;
}

/**
 * Quantizes `values` of `shape` (row-major) to `type`. Throws E_USAGE for what is no such type, E_SHAPE, E_DTYPE, E_IMATRIX for
 * importance that is missing or does not fit, E_NONFINITE for NaN, Inf and values beyond the type.
 * @param options - `kernels`: default the fastest
 */
export async function quantizeGgml(
  values: WeightValues,
  shape: Shape,
  type: GgmlWeightType,
  options: GgmlOptions = {},
): Promise<GgmlTensor> {
  const columns = rowLength(type, shape);
  checkShape(shape, values.length);
  const floats = toFloat32(values, options);
  refuseNonFinite(floats);
  const importance = checkedImportance(type, shape, columns, options.importance);
  const kernels = await prepared(type, options.kernels);
  const data = new Uint8Array(ggmlBytes(type, floats.length));
  if (isBlockType(type)) {
    const matrices = (importance?.length ?? columns) / Math.max(1, columns);
    const height = floats.length / Math.max(1, matrices);
    for (let matrix = 0; matrix < matrices && height > 0; matrix++) {
      kernels.quantizeBlocks(
        type,
        floats.subarray(matrix * height, (matrix + 1) * height),
        columns,
        importance?.subarray(matrix * columns, (matrix + 1) * columns),
        data.subarray(ggmlBytes(type, matrix * height), ggmlBytes(type, (matrix + 1) * height)),
      );
    }
  } else kernels.convert('f32', type, bytesOf(floats), data, floats.length);
  refuseOverflow(type, data);
  const dequantize = (): Float32Array => decode(kernels, type, data, floats.length);
  const { size, bytes } = GGML_TYPES[type];
  return {
    type,
    shape: [...shape],
    data,
    bitsPerWeight: (8 * bytes) / size,
    dequantize,
    error: (errorOptions = {}) => measureError(floats, dequantize(), { ...errorOptions, kernels }),
  };
}

/** Values of a tensor that is stored in a ggml type. Throws E_USAGE for what is no such type, E_SHAPE where the bytes do not fit. */
export async function dequantizeGgml(
  data: Uint8Array,
  shape: Shape,
  type: GgmlWeightType,
  options: { readonly kernels?: Kernels | undefined } = {},
): Promise<Float32Array> {
  rowLength(type, shape);
  const count = shape.reduce((product, dim) => product * dim, 1);
  checkShape(shape, count);
  const expected = ggmlBytes(type, count);
  if (data.length !== expected) {
    throw new WhittleError('E_SHAPE', 'the bytes do not fit the shape', {
      expected: `${expected} bytes for ${formatShape(shape)} in ${type}`,
      found: `${data.length} bytes`,
    });
  }
  return decode(await prepared(type, options.kernels), type, data, count);
}

let fastest: Promise<Kernels> | undefined;

function sharedKernels(): Promise<Kernels> {
  fastest ??= selectKernels();
  return fastest;
}

/** `kernels`, or one set of the fastest that all calls share, with the codec of `type` loaded. */
async function prepared(type: GgmlWeightType, kernels: Kernels | undefined): Promise<Kernels> {
  const chosen = kernels ?? (await sharedKernels());
  if (isBlockType(type)) await chosen.prepareBlocks(type);
  return chosen;
}

function decode(kernels: Kernels, type: GgmlWeightType, data: Uint8Array, count: number): Float32Array {
  const values = new Float32Array(count);
  if (isBlockType(type)) kernels.dequantizeBlocks(type, data, values);
  else kernels.convert(type, 'f32', data, bytesOf(values), count);
  return values;
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/** The last dimension, which blocks divide. */
function rowLength(type: GgmlWeightType, shape: Shape): number {
  if (!isBlockType(type) && type !== 'f32' && type !== 'f16' && type !== 'bf16') {
    throw new WhittleError('E_USAGE', `${String(type)} is no ggml type of weights`, {
      expected: 'f32, f16, bf16 or a block type',
      found: String(type),
      hint: 'BLOCK_TYPES lists the block types: q4_0 … q8_0, q2_K … q6_K, iq1_s … iq4_xs and others.',
    });
  }
  const columns = shape.at(-1);
  const { size } = GGML_TYPES[type];
  if (columns === undefined || columns % size !== 0) {
    throw new WhittleError('E_SHAPE', `blocks of ${type} do not divide the rows`, {
      expected: `a last dimension that is a multiple of ${size}`,
      found: formatShape(shape),
      hint: 'Choose a type with smaller blocks (32 values: q4_0, q5_0, q8_0, iq4_nl), or f16.',
    });
  }
  return columns;
}

function checkedImportance(
  type: GgmlWeightType,
  shape: Shape,
  columns: number,
  importance: Float32Array | undefined,
): Float32Array | undefined {
  const policy = isBlockType(type) ? BLOCK_TYPES[type].importance : 'ignored';
  if (importance === undefined || policy === 'ignored') {
    if (policy !== 'required') return undefined;
    throw new WhittleError('E_IMATRIX', `${type} needs importance`, {
      expected: `${columns} numbers`,
      hint: 'Pass the mean squares of what the columns are multiplied with, or ones.',
    });
  }
  const matrices = shape.slice(0, -2).reduce((product, dim) => product * dim, 1);
  if (importance.length !== columns && importance.length !== matrices * columns) {
    throw new WhittleError('E_IMATRIX', 'the importance does not fit the shape', {
      expected: matrices === 1 ? `${columns} numbers` : `${columns} or ${matrices * columns} numbers`,
      found: `${importance.length}`,
    });
  }
  const index = importance.findIndex((weight) => !(weight >= 0 && weight < Infinity));
  if (index < 0) return importance;
  throw new WhittleError('E_IMATRIX', `importance ${index} is ${importance[index]}`, {
    expected: 'finite numbers that are not negative',
  });
}

function refuseOverflow(type: GgmlWeightType, data: Uint8Array): void {
  if (type === 'f32') return;
  const bad = isBlockType(type) ? firstBadBlock(type, data) : firstBadHalf(type, data);
  if (bad < 0) return;
  throw new WhittleError(
    'E_NONFINITE',
    `values from ${bad * GGML_TYPES[type].size} on are too large for ${type}`,
    {
      expected: 'a scale below 65,536',
      hint: 'Take bf16 or f32 for this tensor.',
    },
  );
}
