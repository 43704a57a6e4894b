/**
 * Which grid or code book an operation stores, and how its weight lies: the bridge between algorithms, which see a matrix
 * [outputs, inputs] with the product y = W x and groups of consecutive inputs, and the forms of docs/onnx.md 3.1 to 3.4 and 3.6.
 * `inputs` are the K of an operation and `outputs` its N. What algorithms chose is packed by pack-matrix.ts.
 */

import { elementCount } from '../core/shape.ts';
import { FP4_LEVELS, NF4_LEVELS } from './encodings/codebooks.ts';
import {
  type AffineOperation,
  type Operation,
  type QdqBlockOperation,
  qdqMatrices,
  type ScaleDType,
  type ZeroPoints,
} from './operation.ts';

/** The grid that an operation stores, and how its weight lies. */
export interface StoredGrid {
  readonly bits: 2 | 4 | 7 | 8;
  readonly groupSize: number;
  /** Zero point fixed at 2^(bits−1). */
  readonly symmetric: boolean;
  /** Default: integers among the codes. */
  readonly zeroPoints?: ZeroPoints | undefined;
  readonly scaleType: ScaleDType;
  readonly outputs: number;
  readonly inputs: number;
  /** The weight is stored [filters, channels, places]; the matrix has the channels of a place side by side. */
  readonly filters?: { readonly channels: number; readonly places: number } | undefined;
}

/** The code book that an operation stores; blocks run over the rows of the matrix as if they were one. */
export interface StoredCodebook {
  /** By code. */
  readonly levels: Float32Array;
  readonly blockSize: number;
  readonly scaleType: ScaleDType;
  readonly outputs: number;
  readonly inputs: number;
}

export const TYPE_BITS = { int2: 2, uint2: 2, int4: 4, uint4: 4, int8: 8, uint8: 8 } as const;

/** By code. */
export const FP4: Float32Array = Float32Array.from([...FP4_LEVELS, ...FP4_LEVELS.map((level) => -level)]);

/**
 * The grid of `operation` for the weight of a product that is stored [inputs, outputs] (`turned`) or [outputs, inputs, …]; undefined
 * where its groups are not runs of consecutive inputs of one output (one scale for the tensor, blocks that end within the
 * channels of a filter, 16-bit codes).
 */
export function storedGrid(operation: Operation, turned: boolean): StoredGrid | undefined {
  switch (operation.kind) {
    case 'matmul-nbits': {
      if (operation.transposed === turned) return undefined;
      const { bits, blockSize, symmetric, zeroPoints, scaleType, rows, columns } = operation;
      const real = zeroPoints === 'real' ? { zeroPoints } : {};
      return { bits, groupSize: blockSize, symmetric, ...real, scaleType, outputs: columns, inputs: rows };
    }
    case 'qdq-block':
      return blockGrid(operation, turned);
    case 'gather-block': {
      if (turned) return undefined;
      const { bits, blockSize, symmetric, scaleType, rows, columns } = operation;
      return { bits, groupSize: blockSize, symmetric, scaleType, outputs: rows, inputs: columns };
    }
    case 'affine':
      return affineGrid(operation, turned);
    default:
      return undefined;
  }
}

/** The grid with the layout that its operation says, for weights of which nothing is known but their values. */
export function plainGrid(operation: Operation): (StoredGrid & { readonly turned: boolean }) | undefined {
  const turned = isTurned(operation);
  if (operation.kind === 'qdq-block' && behindAxis(operation)) {
    const { rows, columns } = operation;
    const outputs = qdqMatrices(operation) * columns;
    return {
      ...gridOf(operation, outputs, rows),
      turned: false,
      filters: { channels: rows, places: columns },
    };
  }
  const grid = storedGrid(operation, turned);
  return grid && { ...grid, turned };
}

/** The code book of `operation`, where it has one and the weight lies as `turned` says. */
export function storedCodebook(operation: Operation, turned: boolean): StoredCodebook | undefined {
  if (operation.kind !== 'bnb4' || operation.transposed === turned) return undefined;
  const { codebook, blockSize, scaleType, rows, columns } = operation;
  const levels = codebook === 'nf4' ? NF4_LEVELS : FP4;
  return { levels, blockSize, scaleType, outputs: columns, inputs: rows };
}

/** Whether the operation says that its weight is stored [inputs, outputs]. */
export function isTurned(operation: Operation): boolean {
  switch (operation.kind) {
    case 'matmul-nbits':
    case 'qdq-block':
    case 'bnb4':
      return !operation.transposed;
    case 'affine':
      return operation.axis !== 0 && operation.shape.length > 1;
    default:
      return false;
  }
}

/** Matrices one behind another: blocks run across the channels of a filter, once for each place of the kernel. */
export function behindAxis({ transposed, stored }: QdqBlockOperation): boolean {
  return !transposed && stored !== undefined && stored.axis > 0;
}

function blockGrid(operation: QdqBlockOperation, turned: boolean): StoredGrid | undefined {
  const { rows, columns, transposed, blockSize } = operation;
  if (!behindAxis(operation)) return transposed === turned ? undefined : gridOf(operation, columns, rows);
  if (turned || rows % blockSize !== 0 || operation.stored?.axis !== 1) return undefined;
  const filters = { channels: rows, places: columns };
  return { ...gridOf(operation, qdqMatrices(operation), rows * columns), filters };
}

function gridOf(
  { type, blockSize, scaleType }: QdqBlockOperation,
  outputs: number,
  inputs: number,
): StoredGrid {
  const symmetric = !type.startsWith('u');
  return { bits: TYPE_BITS[type], groupSize: blockSize, symmetric, scaleType, outputs, inputs };
}

function affineGrid(operation: AffineOperation, turned: boolean): StoredGrid | undefined {
  const { type, axis, symmetric, reduceRange, permutation, shape, scaleType } = operation;
  if (type === 'int16' || type === 'uint16') return undefined;
  // A matrix may be stored the other way round; what else moves is no matrix.
  if (permutation !== undefined && permutation.join() !== '1,0') return undefined;
  if (axis === null || axis !== (turned ? shape.length - 1 : 0)) return undefined;
  const outputs = shape[axis] ?? 0;
  const inputs = (elementCount(shape) ?? 0) / outputs;
  // What symmetric unsigned types store as the middle is no power of two.
  if (symmetric && type.startsWith('u')) return undefined;
  if (reduceRange && TYPE_BITS[type] !== 8) return undefined;
  return {
    bits: reduceRange ? 7 : TYPE_BITS[type],
    groupSize: inputs,
    symmetric,
    scaleType,
    outputs,
    inputs,
  };
}
