/**
 * The only door to the inner loops. Two implementations of this interface exist: the plain-TypeScript reference
 * (reference.ts and its parts), which defines every result, and WebAssembly SIMD (wasm.ts), which equals it bit for bit.
 * `selectKernels()` returns the fastest that the machine runs.
 *
 * Arrays may live anywhere; those that come from `arena()` live in the kernels' own memory and are used without
 * a copy. A call to `arena()` invalidates every array of earlier arenas of the same `Kernels`.
 *
 * Conventions: f32 arithmetic with one rounding for each step, no fused multiply-add; `halfAway` = C roundf,
 * `halfEven` = IEEE ties-to-even. NaN in a range scan is skipped; counts of non-finite values are always returned
 * so that the caller decides (policy: refuse or keep).
 */

import type { DType } from '../core/dtype.ts';
import type { BlockType } from '../core/ggml-types.ts';

export type Rounding = 'halfEven' | 'halfAway' | 'floor';
export type AnyArray =
  | Float32Array
  | Float64Array
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array;

/** A bump allocator over kernel memory; every allocation is 16-byte aligned and zero-filled at creation of the arena. */
export interface Arena {
  u8(length: number): Uint8Array;
  u16(length: number): Uint16Array;
  f32(length: number): Float32Array;
  f64(length: number): Float64Array;
}

export interface Range {
  readonly min: number;
  readonly max: number;
  /** NaN or ±Inf seen (not part of min and max). */
  readonly nonFinite: number;
}

/** Power sums about `shift` over the finite values, in f64, in the lane order that reference.ts states. */
export interface PowerSums extends Range {
  readonly count: number;
  readonly nan: number;
  readonly zeros: number;
  /** Smallest finite magnitude that is not 0; +Inf where there is none. */
  readonly absMin: number;
  readonly sum1: number;
  readonly sum2: number;
  readonly sum3: number;
  readonly sum4: number;
}

export interface ErrorSums {
  readonly count: number;
  readonly maxAbs: number;
  /** Σ(a−b)², Σa², Σb², Σab in f64, in the lane order that reference.ts states. */
  readonly squaredError: number;
  readonly squaredA: number;
  readonly squaredB: number;
  readonly dot: number;
}

/** How a block's scale and zero point follow from its values; see numerics/ and docs/onnx.md 3.1–3.4. */
export type BlockRule =
  /** MatMulNBits: reciprocal of the stored scale, half away, zero point added before rounding. */
  | 'nbits'
  /** QDQ: as nbits, zero point added after rounding; signed codes when symmetric. */
  | 'qdq'
  /**
   * GatherBlockQuantized: true division, half even, zero point added before rounding. Symmetric codes are offset by
   * 2^(bits−1), which is also their zero point (an INT4 tensor stores code ^ 8). f16: every step is rounded to f16.
   */
  | 'gather';

export interface BlockOptions {
  readonly rule: BlockRule;
  readonly bits: 2 | 4 | 8;
  readonly blockSize: number;
  readonly symmetric: boolean;
  /** f16: the scale is rounded to f16 before anything is derived from it. */
  readonly scaleType: 'f32' | 'f16';
}

export interface Kernels {
  readonly backend: 'reference' | 'wasm';
  arena(byteLength: number): Arena;

  range(values: Float32Array): Range;
  powerSums(values: Float32Array, shift: number): PowerSums;
  /**
   * Counts values in bins of equal width that start at whole multiples of it: bin = ⌊x · perUnit⌋ − first in f64, which is
   * exact for a power of two. Values outside the bins, NaN among them, are left out.
   */
  binCounts(values: Float32Array, perUnit: number, first: number, counts: Uint32Array): void;
  errorSums(a: Float32Array, b: Float32Array): ErrorSums;

  /** Type conversion of `count` elements between float types; `source`/`target` hold little-endian elements. */
  convert(
    from: DType,
    to: DType,
    source: Uint8Array,
    target: Uint8Array,
    count: number,
    options?: { readonly clip?: 'fp16' | undefined; readonly saturate?: boolean | undefined },
  ): void;

  /** f16 codes to f32, as `convert`; returns how many are NaN or Inf, which costs nothing on the way. */
  decodeHalves(source: Uint8Array, target: Float32Array): number;

  /** q = clamp(round(f32(x / scale)) + zeroPoint, low, high) (docs/onnx.md 3.6: true division, zero point added after). */
  quantizeAffine(
    values: Float32Array,
    scale: number,
    zeroPoint: number,
    low: number,
    high: number,
    rounding: Rounding,
    target: Uint8Array | Int8Array | Uint16Array | Int16Array,
  ): void;
  /** x = f32((q − zeroPoint) · scale). */
  dequantizeAffine(
    codes: Uint8Array | Int8Array | Uint16Array | Int16Array,
    scale: number,
    zeroPoint: number,
    target: Float32Array,
  ): void;

  /** Per-column range of a row-major [rows, columns] tile, folded into `min` and `max`; returns the non-finite count. */
  columnRange(values: Float32Array, columns: number, min: Float32Array, max: Float32Array): number;
  /** Per-column affine quantization of a row-major tile; scales and zero points of `columns` length. */
  quantizeAffineColumns(
    values: Float32Array,
    columns: number,
    scales: Float32Array,
    zeroPoints: Int32Array,
    low: number,
    high: number,
    rounding: Rounding,
    target: Uint8Array | Int8Array,
  ): void;

  /**
   * Blocks that run down the columns of a row-major tile [rows, columns] (weights of MatMul). `rows` is a multiple of
   * blockSize except in a tensor's last tile. Codes are written unpacked-to-packed straight into MatMulNBits order:
   * column c's block j at `packed[c · packedStride + (firstBlock + j) · blockSize·bits/8]`; scale of it at
   * `scales[c · scaleStride + firstBlock + j]`; zero point CODE, unpacked, one byte, at the same index of `zeroPoints`.
   * Returns the non-finite count. Ragged tails follow docs/onnx.md 3.1 (slots in the last used byte); `packed` still holds the
   * earlier blocks of the column then. `zeroPoints` may be empty when symmetric (here and below).
   */
  quantizeColumnBlocks(
    tile: Float32Array,
    rows: number,
    columns: number,
    options: BlockOptions,
    packed: Uint8Array,
    packedStride: number,
    scales: Float32Array,
    scaleStride: number,
    zeroPoints: Uint8Array,
    firstBlock: number,
  ): number;

  /**
   * Blocks along contiguous rows: `rows` rows of `rowLength` values; blocks do not cross rows; ragged last block.
   * Codes are written one per byte (qdq symmetric: two's complement low bits), scales and zero-point codes one per block.
   * Returns the non-finite count.
   */
  quantizeRowBlocks(
    values: Float32Array,
    rows: number,
    rowLength: number,
    options: BlockOptions,
    codes: Uint8Array,
    scales: Float32Array,
    zeroPoints: Uint8Array,
  ): number;

  /** Blocks down columns as above (rule qdq), but codes row-major one per byte and scales/zeroPoints [block, column]. */
  quantizeColumnBlocksRowMajor(
    tile: Float32Array,
    rows: number,
    columns: number,
    options: BlockOptions,
    codes: Uint8Array,
    scales: Float32Array,
    zeroPoints: Uint8Array,
  ): number;

  /** bitsandbytes 4-bit (docs/onnx.md 3.3): contiguous values, blocks of blockSize, one code per byte, absmax per block. */
  quantizeBnb4(
    values: Float32Array,
    blockSize: number,
    codebook: 'nf4' | 'fp4',
    codes: Uint8Array,
    absmax: Float32Array,
  ): number;

  /** x = (code − zeroPoint) · scale per contiguous block; `zeroPoints` undefined = `defaultZeroPoint`. Codes one per byte. */
  dequantizeRowBlocks(
    codes: Uint8Array,
    signed: boolean,
    bits: 2 | 4 | 8,
    rows: number,
    rowLength: number,
    blockSize: number,
    scales: Float32Array,
    zeroPoints: Uint8Array | undefined,
    defaultZeroPoint: number,
    target: Float32Array,
  ): void;

  /** Packs one-per-byte codes: 'lowFirst' (ONNX) for 1 to 8 bits as a little-endian bit stream, 'highFirst' for bnb4 nibbles. */
  packBits(codes: Uint8Array, bits: number, order: 'lowFirst' | 'highFirst', target: Uint8Array): void;
  unpackBits(packed: Uint8Array, bits: number, order: 'lowFirst' | 'highFirst', codes: Uint8Array): void;

  /** [rows, columns] → [columns, rows]; 1, 2 and 4 byte elements. */
  transpose(
    source: Uint8Array,
    rows: number,
    columns: number,
    elementSize: 1 | 2 | 4,
    target: Uint8Array,
  ): void;

  /** Mixes whole blocks of 128 bytes into 32 lanes, in place: the step of execution/checksum.ts. */
  mixWords(bytes: Uint8Array, lanes: Int32Array): void;

  /** Loads the code and the code books of a ggml block type; must resolve before the two calls below. Later calls cost nothing. */
  prepareBlocks(type: BlockType): Promise<void>;
  /**
   * Rows of `rowLength` finite values (a multiple of the block's size) to ggml blocks, byte for byte as `ggml_quantize_chunk`.
   * `importance`: `rowLength` weights ≥ 0 shared by all rows, or undefined; required by iq1_s, iq2_xxs and iq2_xs.
   * `target` takes values.length / size · bytes.
   */
  quantizeBlocks(
    type: BlockType,
    values: Float32Array,
    rowLength: number,
    importance: Float32Array | undefined,
    target: Uint8Array,
  ): void;
  /** ggml blocks to values, as ggml's `to_float`. `source` is a whole number of blocks, `target` takes their values. */
  dequantizeBlocks(type: BlockType, source: Uint8Array, target: Float32Array): void;
}
