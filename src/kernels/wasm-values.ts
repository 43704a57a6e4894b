/**
 * WebAssembly kernels over plain arrays: reductions, conversions, affine codes. Arrays inside the kernels' memory are
 * used in place, others pass through the stage in chunks. Rare cases (odd types, parameters that are not small integers)
 * and the few values after the last whole vector go to the reference, which gives the same result by definition.
 */

import type { DType } from '../core/dtype.ts';
import { DTYPES } from '../core/dtype.ts';
import { encodeFloat, FLOAT_FORMATS, isNarrowFloat, type NarrowFloat } from '../core/floats.ts';
import type { ErrorSums, Kernels, PowerSums, Range, Rounding } from './kernels.ts';
import { CLIP_HIGH_BITS, CLIP_LOW_BITS, type ConvertOptions, decodeTable } from './reference/convert.ts';
import { laneTotal } from './reference/reductions.ts';
import { type KernelMemory, WORK, WORK_BYTES } from './wasm-memory.ts';

/** Elements that pass through the stage at once. */
const CHUNK = 65536;
/** Elements of a conversion whose intermediate f32 values stay in WORK (64 KiB, below the second cache's size). */
const CONVERT_CHUNK = 16384;
const ROUNDINGS: Readonly<Record<Rounding, number>> = { halfEven: 0, halfAway: 1, floor: 2 };
/** Bounds and zero points that f32 lanes hold exactly with room to add. */
const SMALL = 131071;

const isSmall = (value: number): boolean => Number.isInteger(value) && Math.abs(value) <= SMALL;

/** From 1 to 2^126: scaling by it is exact for every f32. */
const isPowerOfTwo = (value: number): boolean => {
  const exponent = Math.log2(value);
  return Number.isInteger(exponent) && exponent >= 0 && exponent <= 126 && 2 ** exponent === value;
};

export type ValueKernels = Pick<
  Kernels,
  | 'range'
  | 'powerSums'
  | 'binCounts'
  | 'errorSums'
  | 'convert'
  | 'decodeHalves'
  | 'quantizeAffine'
  | 'dequantizeAffine'
  | 'columnRange'
  | 'quantizeAffineColumns'
>;

export function valueKernels(memory: KernelMemory, reference: Kernels): ValueKernels {
  const range = memory.kernel('range');
  const powerSums = memory.kernel('powerSums');
  const binCounts = memory.kernel('binCounts');
  const errorSums = memory.kernel('errorSums');
  const columnRange = memory.kernel('columnRange');
  const quantizeAffine = memory.kernel('quantizeAffine');
  const quantizeAffineColumns = memory.kernel('quantizeAffineColumns');
  const dequantizeAffine = memory.kernel('dequantizeAffine');
  const decodeHalf = memory.kernel('decodeHalf');

  /** Sums first (16 f64), then the small results, all in WORK. */
  const SUMS = WORK;
  const OUT = WORK + 128;

  return {
    range(values): Range {
      const step = memory.isResident(values) ? values.length : CHUNK;
      let min = Number.POSITIVE_INFINITY;
      let max = Number.NEGATIVE_INFINITY;
      let nonFinite = 0;
      for (let start = 0; start < values.length; start += step) {
        const count = Math.min(step, values.length - start);
        range(memory.input(values, start, count), count, OUT);
        memory.deliver();
        const extremes = memory.floats(OUT, 2);
        min = Math.min(min, extremes[0]!);
        max = Math.max(max, extremes[1]!);
        nonFinite += memory.words(OUT, 3)[2]!;
      }
      return { min: min + 0, max: max + 0, nonFinite };
    },

    powerSums(values, shift): PowerSums {
      const step = memory.isResident(values) ? values.length : CHUNK;
      let min = Number.POSITIVE_INFINITY;
      let max = Number.NEGATIVE_INFINITY;
      let absMin = Number.POSITIVE_INFINITY;
      let nonFinite = 0;
      let nan = 0;
      let zeros = 0;
      memory.doubles(SUMS, 16).fill(0);
      for (let start = 0; start < values.length; start += step) {
        const count = Math.min(step, values.length - start);
        powerSums(memory.input(values, start, count), count, shift, SUMS, OUT);
        memory.deliver();
        const extremes = memory.floats(OUT, 3);
        const counts = memory.words(OUT, 6);
        min = Math.min(min, extremes[0]!);
        max = Math.max(max, extremes[1]!);
        absMin = Math.min(absMin, extremes[2]!);
        nonFinite += counts[3]!;
        nan += counts[4]!;
        zeros += counts[5]!;
      }
      const sums = memory.doubles(SUMS, 16);
      return {
        min: min + 0,
        max: max + 0,
        nonFinite,
        count: values.length - nonFinite,
        nan,
        zeros,
        absMin,
        sum1: laneTotal(sums, 0),
        sum2: laneTotal(sums, 4),
        sum3: laneTotal(sums, 8),
        sum4: laneTotal(sums, 12),
      };
    },

    binCounts(values, perUnit, first, counts) {
      const bins = counts.length;
      const entries = 2 * (bins + 1);
      // Positions must be whole numbers in f32, and the scaling exact.
      const exact = Math.abs(first) + bins <= 2 ** 22 && isPowerOfTwo(perUnit);
      if (entries * 4 > WORK_BYTES || !exact) {
        reference.binCounts(values, perUnit, first, counts);
        return;
      }
      const step = memory.isResident(values) ? values.length : CHUNK;
      memory.words(WORK, entries).fill(0);
      for (let start = 0; start < values.length; start += step) {
        const count = Math.min(step, values.length - start);
        binCounts(memory.input(values, start, count), count, perUnit, first, bins, WORK);
        memory.deliver();
      }
      const added = memory.words(WORK, entries);
      for (let i = 0; i < bins; i++) counts[i]! += added[i]! + added[bins + 1 + i]!;
    },

    errorSums(a, b): ErrorSums {
      const step = memory.isResident(a, b) ? a.length : CHUNK;
      let pairs = 0;
      memory.doubles(SUMS, 17).fill(0);
      for (let start = 0; start < a.length; start += step) {
        const count = Math.min(step, a.length - start);
        errorSums(memory.input(a, start, count), memory.input(b, start, count), count, SUMS, OUT);
        memory.deliver();
        pairs += memory.words(OUT, 3)[2]!;
      }
      const sums = memory.doubles(SUMS, 17);
      return {
        count: pairs,
        maxAbs: sums[16]!,
        squaredError: laneTotal(sums, 0),
        squaredA: laneTotal(sums, 4),
        squaredB: laneTotal(sums, 8),
        dot: laneTotal(sums, 12),
      };
    },

    convert: converter(memory, reference),

    decodeHalves(source, target) {
      const whole = target.length - (target.length % 16);
      const step = memory.isResident(source, target) ? whole : CHUNK;
      let nonFinite = 0;
      for (let start = 0; start < whole; start += step) {
        const count = Math.min(step, whole - start);
        const from = memory.input(source, start * 2, count * 2);
        nonFinite += decodeHalf(from, count, memory.output(target, start, count));
        memory.deliver();
      }
      return nonFinite + reference.decodeHalves(source.subarray(whole * 2), target.subarray(whole));
    },

    quantizeAffine(values, scale, zeroPoint, low, high, rounding, target) {
      if (![zeroPoint, low, high].every(isSmall)) {
        reference.quantizeAffine(values, scale, zeroPoint, low, high, rounding, target);
        return;
      }
      const step = memory.isResident(values, target) ? values.length : CHUNK;
      const mode = ROUNDINGS[rounding];
      for (let start = 0; start < values.length; start += step) {
        const count = Math.min(step, values.length - start);
        const from = memory.input(values, start, count);
        const to = memory.output(target, start, count);
        quantizeAffine(from, count, scale, zeroPoint, low, high, mode, target.BYTES_PER_ELEMENT, to);
        memory.deliver();
      }
    },

    dequantizeAffine(codes, scale, zeroPoint, target) {
      const whole = isSmall(zeroPoint) ? codes.length - (codes.length % 4) : 0;
      const step = memory.isResident(codes, target) ? whole : CHUNK;
      const signed = codes instanceof Int8Array || codes instanceof Int16Array;
      const kind = (codes.BYTES_PER_ELEMENT - 1) * 2 + (signed ? 1 : 0);
      for (let start = 0; start < whole; start += step) {
        const count = Math.min(step, whole - start);
        const from = memory.input(codes, start, count);
        dequantizeAffine(from, count, kind, scale, zeroPoint, memory.output(target, start, count));
        memory.deliver();
      }
      reference.dequantizeAffine(codes.subarray(whole), scale, zeroPoint, target.subarray(whole));
    },

    columnRange(values, columns, min, max) {
      if (columns === 0 || columns * 4 > CHUNK) {
        if (!memory.isResident(values, min, max)) return reference.columnRange(values, columns, min, max);
      }
      const rows = columns === 0 ? 0 : values.length / columns;
      const step = memory.isResident(values) ? rows : Math.max(1, Math.floor(CHUNK / columns));
      let nonFinite = 0;
      for (let row = 0; row < rows; row += step) {
        const count = Math.min(step, rows - row);
        const lows = foreign(memory, min, columns);
        const highs = foreign(memory, max, columns);
        const from = memory.input(values, row * columns, count * columns);
        nonFinite += columnRange(from, count, columns, lows, highs);
        memory.deliver();
      }
      return nonFinite;
    },

    quantizeAffineColumns(values, columns, scales, zeroPoints, low, high, rounding, target) {
      const fits = columns * 4 <= CHUNK || memory.isResident(values, scales, zeroPoints, target);
      if (columns === 0 || !fits || !isSmall(low) || !isSmall(high) || !zeroPoints.every(isSmall)) {
        reference.quantizeAffineColumns(values, columns, scales, zeroPoints, low, high, rounding, target);
        return;
      }
      const rows = values.length / columns;
      const step = memory.isResident(values, target) ? rows : Math.max(1, Math.floor(CHUNK / columns));
      for (let row = 0; row < rows; row += step) {
        const count = Math.min(step, rows - row);
        const s = memory.input(scales, 0, columns);
        const z = memory.input(zeroPoints, 0, columns);
        const from = memory.input(values, row * columns, count * columns);
        const to = memory.output(target, row * columns, count * columns);
        quantizeAffineColumns(from, count, columns, s, z, low, high, ROUNDINGS[rounding], to);
        memory.deliver();
      }
    },
  };
}

/** An array that is read and written. */
function foreign(memory: KernelMemory, array: Float32Array, length: number): number {
  const pointer = memory.output(array, 0, length);
  if (!memory.isResident(array)) memory.floats(pointer, length).set(array.subarray(0, length));
  return pointer;
}

function floatBits(value: number): number {
  return new Int32Array(Float32Array.of(value).buffer)[0]!;
}

type Encoder = (source: number, count: number, target: number) => void;

function converter(memory: KernelMemory, reference: Kernels): Kernels['convert'] {
  const encodeFloats = memory.kernel('encodeFloats');
  const decodeHalf = memory.kernel('decodeHalf');
  const decodeBrain = memory.kernel('decodeBrain');
  const decodeBytes = memory.kernel('decodeTable');
  const narrowDouble = memory.kernel('narrowDouble');
  const clipMagnitudes = memory.kernel('clipMagnitudes');
  /** After the intermediate values: the table of an 8-bit source. */
  const TABLE = WORK + CONVERT_CHUNK * 4;

  const decoderOf = (from: DType): Encoder | undefined => {
    if (from === 'f16') return decodeHalf;
    if (from === 'bf16') return decodeBrain;
    if (from === 'f64') return narrowDouble;
    if (!isNarrowFloat(from) || DTYPES[from].bits !== 8) return undefined;
    const table = decodeTable(from);
    return (source, count, target) => {
      memory.words(TABLE, 256).set(table);
      decodeBytes(source, count, target, TABLE);
    };
  };

  const encoderOf = (to: NarrowFloat, saturate: boolean): Encoder | undefined => {
    const { bits, signed, mantissaBits, bias, maxFinite, minNormal, minPositive, nan, unsignedZero } =
      FLOAT_FORMATS[to];
    if (!signed || bits < 8 || nan === undefined) return undefined;
    const parameters = [
      bits / 8,
      mantissaBits,
      (127 - bias) << mantissaBits,
      floatBits(minNormal),
      floatBits(minPositive * 2 ** 23),
      encodeFloat(to, maxFinite),
      encodeFloat(to, Number.POSITIVE_INFINITY, saturate),
      nan,
      bits - 1,
      unsignedZero ? 0 : -1,
    ];
    return (source, count, target) => {
      encodeFloats(source, count, target, ...parameters);
    };
  };

  return (from, to, source, target, count, options: ConvertOptions = {}) => {
    const decode = decoderOf(from);
    const encode = isNarrowFloat(to) ? encoderOf(to, options.saturate ?? false) : undefined;
    const clip = options.clip === 'fp16';
    const readable = from === 'f32' || decode !== undefined;
    const writable = encode !== undefined || (to === 'f32' && from !== 'f32' && !clip);
    const whole = readable && writable && (from !== to || clip) ? count - (count % 16) : 0;
    const fromBytes = DTYPES[from].bits / 8;
    const toBytes = DTYPES[to].bits / 8;
    for (let start = 0; start < whole; start += CONVERT_CHUNK) {
      const length = Math.min(CONVERT_CHUNK, whole - start);
      let values = memory.input(source, start * fromBytes, length * fromBytes);
      const out = memory.output(target, start * toBytes, length * toBytes);
      if (decode !== undefined) {
        const decoded = encode === undefined ? out : WORK;
        decode(values, length, decoded);
        values = decoded;
      }
      if (clip) {
        clipMagnitudes(values, length, WORK, CLIP_LOW_BITS, CLIP_HIGH_BITS);
        values = WORK;
      }
      encode?.(values, length, out);
      memory.deliver();
    }
    reference.convert(
      from,
      to,
      source.subarray(whole * fromBytes),
      target.subarray(whole * toBytes),
      count - whole,
      options,
    );
  };
}
