/**
 * Conversion between float types, element by element, ties to even (definitions: core/floats.ts).
 *
 * Every conversion goes through f32: f64 is narrowed first. Values travel as f32 bit patterns so that NaN is defined:
 * the source's sign with the target's quiet NaN, where the target has two NaNs.
 * Equal types without clip are copied as bytes.
 */

import type { DType } from '../../core/dtype.ts';
import { byteLength } from '../../core/dtype.ts';
import {
  decodeFloat,
  encodeFloat,
  FLOAT_FORMATS,
  isNarrowFloat,
  type NarrowFloat,
} from '../../core/floats.ts';
import { WhittleError } from '../../errors.ts';

export interface ConvertOptions {
  readonly clip?: 'fp16' | undefined;
  readonly saturate?: boolean | undefined;
}

const word = new Uint32Array(1);
const single = new Float32Array(word.buffer);

const QUIET_NAN = 0x7fc00000;
const INFINITY_BITS = 0x7f800000;

function floatBits(value: number): number {
  single[0] = value;
  return word[0]!;
}

/** Source NaNs become the quiet NaN with their sign. */
function canonical(bits: number): number {
  return (bits & 0x7fffffff) > INFINITY_BITS ? ((bits & 0x80000000) | QUIET_NAN) >>> 0 : bits;
}

/** f32 bits of every code of a narrow type of at most 8 bits. */
export function decodeTable(from: NarrowFloat): Uint32Array {
  const { bits, signed, nan, unsignedZero } = FLOAT_FORMATS[from];
  const table = new Uint32Array(1 << bits);
  for (let code = 0; code < table.length; code++) {
    const value = decodeFloat(from, code);
    const negative = signed && !unsignedZero && nan !== undefined && code >> (bits - 1) === 1;
    table[code] = Number.isNaN(value) ? ((negative ? 0x80000000 : 0) | QUIET_NAN) >>> 0 : floatBits(value);
  }
  return table;
}

function reader(from: DType, source: Uint8Array): (index: number) => number {
  const view = new DataView(source.buffer, source.byteOffset, source.byteLength);
  switch (from) {
    case 'f32':
      return (i) => canonical(view.getUint32(i * 4, true));
    case 'f64':
      return (i) => {
        const value = view.getFloat64(i * 8, true);
        if (!Number.isNaN(value)) return floatBits(value);
        return ((view.getUint32(i * 8 + 4, true) & 0x80000000) | QUIET_NAN) >>> 0;
      };
    case 'bf16':
      return (i) => canonical((view.getUint16(i * 2, true) << 16) >>> 0);
    case 'f16':
      return (i) => {
        const code = view.getUint16(i * 2, true);
        if ((code & 0x7fff) > 0x7c00) return (((code & 0x8000) << 16) | QUIET_NAN) >>> 0;
        return floatBits(decodeFloat('f16', code));
      };
    case 'f4_e2m1': {
      const table = decodeTable(from);
      return (i) => table[(source[i >> 1]! >> ((i & 1) * 4)) & 15]!;
    }
    default: {
      if (!isNarrowFloat(from)) throw unsupported(from);
      const table = decodeTable(from);
      return (i) => table[source[i]!]!;
    }
  }
}

/** Code of an f32 bit pattern; NaN handled on bits since a JavaScript NaN need not keep its sign. */
function encodeBits(to: NarrowFloat, bits: number, saturate: boolean): number {
  if ((bits & 0x7fffffff) <= INFINITY_BITS) {
    word[0] = bits;
    return encodeFloat(to, single[0]!, saturate);
  }
  const format = FLOAT_FORMATS[to];
  const signBit = 1 << (format.bits - 1);
  if (format.nan === undefined) return signBit;
  if (!format.signed || format.unsignedZero) return format.nan;
  return bits >>> 31 === 1 ? signBit | format.nan : format.nan;
}

function writer(to: DType, target: Uint8Array, saturate: boolean): (index: number, bits: number) => void {
  const view = new DataView(target.buffer, target.byteOffset, target.byteLength);
  switch (to) {
    case 'f32':
      return (i, bits) => view.setUint32(i * 4, bits, true);
    case 'f64':
      return (i, bits) => {
        if ((bits & 0x7fffffff) > INFINITY_BITS) {
          view.setUint32(i * 8, 0, true);
          view.setUint32(i * 8 + 4, ((bits & 0x80000000) | 0x7ff80000) >>> 0, true);
        } else {
          word[0] = bits;
          view.setFloat64(i * 8, single[0]!, true);
        }
      };
    case 'f16':
    case 'bf16':
      return (i, bits) => view.setUint16(i * 2, encodeBits(to, bits, saturate), true);
    case 'f4_e2m1':
      return (i, bits) => {
        const code = encodeBits(to, bits, saturate);
        const byte = i >> 1;
        // The even element clears the byte, so an odd count leaves a zero high nibble.
        target[byte] = (i & 1) === 0 ? code : target[byte]! | (code << 4);
      };
    default:
      if (!isNarrowFloat(to)) throw unsupported(to);
      return (i, bits) => {
        target[i] = encodeBits(to, bits, saturate);
      };
  }
}

/** float16.py's clip: finite magnitudes below 1e-7 and above 1e4 move to those bounds; ±0, ±Inf and NaN stay. */
function clipHalf(bits: number): number {
  const magnitude = bits & 0x7fffffff;
  if (magnitude === 0 || magnitude >= INFINITY_BITS) return bits;
  const sign = bits & 0x80000000;
  if (magnitude < CLIP_LOW_BITS) return (sign | CLIP_LOW_BITS) >>> 0;
  if (magnitude > CLIP_HIGH_BITS) return (sign | CLIP_HIGH_BITS) >>> 0;
  return bits;
}

/** f32 bits of 1e-7 and 1e4. */
export const CLIP_LOW_BITS = floatBits(1e-7);
export const CLIP_HIGH_BITS = floatBits(1e4);

/** See `Kernels.convert`. Throws E_UNSUPPORTED for a type that is not a float. */
export function convert(
  from: DType,
  to: DType,
  source: Uint8Array,
  target: Uint8Array,
  count: number,
  options: ConvertOptions = {},
): void {
  const read = reader(from, source);
  const write = writer(to, target, options.saturate ?? false);
  if (from === to && options.clip === undefined) {
    target.set(source.subarray(0, byteLength(from, count)));
    return;
  }
  if (options.clip === 'fp16') {
    for (let i = 0; i < count; i++) write(i, clipHalf(read(i)));
  } else {
    for (let i = 0; i < count; i++) write(i, read(i));
  }
}

/** See `Kernels.decodeHalves`. */
export function decodeHalves(source: Uint8Array, target: Float32Array): number {
  convert('f16', 'f32', source, bytesOf(target), target.length);
  let nonFinite = 0;
  for (const value of target) if (!Number.isFinite(value)) nonFinite++;
  return nonFinite;
}

function bytesOf({ buffer, byteOffset, byteLength: length }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, length);
}

function unsupported(dtype: DType): WhittleError {
  return new WhittleError('E_UNSUPPORTED', `cannot convert elements of type ${dtype}`, {
    expected: 'a floating-point type',
    found: dtype,
  });
}
