/**
 * Metadata values: their numbers, sizes and little-endian bytes. Reader and writer share this one table, so that what
 * one of them writes the other one reads.
 */

import { WhittleError } from '../../errors.ts';
import { GGUF_VALUE_TYPES, type GgufScalarType, type GgufValue, type GgufValueType } from './gguf.ts';

/** Bytes of one value; texts differ. */
export const VALUE_BYTES: Readonly<Record<Exclude<GgufScalarType, 'string'>, number>> = {
  u8: 1,
  i8: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  bool: 1,
  u64: 8,
  i64: 8,
  f64: 8,
};

/** undefined for numbers that no type has. */
export function valueTypeOf(number: number): GgufValueType | undefined {
  return GGUF_VALUE_TYPES[number];
}

export function valueTypeNumber(type: GgufValueType): number {
  return GGUF_VALUE_TYPES.indexOf(type);
}

/** The value at `offset` of `view`; a bool byte is 0 or not 0. */
export function decodeValue(
  view: DataView,
  offset: number,
  type: Exclude<GgufScalarType, 'string'>,
): number | bigint | boolean {
  switch (type) {
    case 'u8':
      return view.getUint8(offset);
    case 'i8':
      return view.getInt8(offset);
    case 'u16':
      return view.getUint16(offset, true);
    case 'i16':
      return view.getInt16(offset, true);
    case 'u32':
      return view.getUint32(offset, true);
    case 'i32':
      return view.getInt32(offset, true);
    case 'f32':
      return view.getFloat32(offset, true);
    case 'bool':
      return view.getUint8(offset) !== 0;
    case 'u64':
      return view.getBigUint64(offset, true);
    case 'i64':
      return view.getBigInt64(offset, true);
    case 'f64':
      return view.getFloat64(offset, true);
    default:
      return type satisfies never;
  }
}

const INTEGER_RANGES: Readonly<Partial<Record<GgufScalarType, readonly [low: bigint, high: bigint]>>> = {
  u8: [0n, 2n ** 8n - 1n],
  i8: [-(2n ** 7n), 2n ** 7n - 1n],
  u16: [0n, 2n ** 16n - 1n],
  i16: [-(2n ** 15n), 2n ** 15n - 1n],
  u32: [0n, 2n ** 32n - 1n],
  i32: [-(2n ** 31n), 2n ** 31n - 1n],
  u64: [0n, 2n ** 64n - 1n],
  i64: [-(2n ** 63n), 2n ** 63n - 1n],
};

/**
 * The bytes of a value; texts with their length before them.
 * @throws WhittleError E_USAGE where the value does not fit its type
 */
export function encodeValue(type: GgufScalarType, value: GgufValue, key: string): Uint8Array {
  if (type === 'string') {
    if (typeof value !== 'string') throw misfit(type, value, key);
    return encodeText(value);
  }
  const bytes = new Uint8Array(VALUE_BYTES[type]);
  const view = new DataView(bytes.buffer);
  if (type === 'bool') {
    if (typeof value !== 'boolean') throw misfit(type, value, key);
    view.setUint8(0, value ? 1 : 0);
  } else if (type === 'f32' || type === 'f64') {
    if (typeof value !== 'number') throw misfit(type, value, key);
    if (type === 'f32') view.setFloat32(0, value, true);
    else view.setFloat64(0, value, true);
  } else {
    const number = wholeNumber(type, value, key);
    const [low, high] = INTEGER_RANGES[type] ?? [0n, 0n];
    if (number < low || number > high) throw misfit(type, value, key);
    const raw = BigInt.asUintN(64, number);
    for (let i = 0; i < bytes.length; i++) view.setUint8(i, Number((raw >> BigInt(8 * i)) & 0xffn));
  }
  return bytes;
}

function wholeNumber(type: GgufScalarType, value: GgufValue, key: string): bigint {
  if (typeof value === 'bigint') return value;
  if (typeof value !== 'number' || !Number.isInteger(value)) throw misfit(type, value, key);
  return BigInt(value);
}

function misfit(type: GgufScalarType, value: GgufValue, key: string): WhittleError {
  return new WhittleError('E_USAGE', `the value of ${JSON.stringify(key)} does not fit its type`, {
    expected: `a value of type ${type}`,
    found: typeof value === 'string' ? JSON.stringify(value.slice(0, 80)) : String(value),
  });
}

/** UTF-8 with its length before it (u64). */
export function encodeText(text: string): Uint8Array {
  const content = new TextEncoder().encode(text);
  const bytes = new Uint8Array(8 + content.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(content.length), true);
  bytes.set(content, 8);
  return bytes;
}

const STRICT = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const LENIENT = new TextDecoder('utf-8', { ignoreBOM: true });

/** undefined where the bytes are not UTF-8. */
export function decodeName(bytes: Uint8Array): string | undefined {
  try {
    return STRICT.decode(bytes);
  } catch {
    return undefined;
  }
}

/** The text of a value. Bytes that are not UTF-8 become U+FFFD: vocabularies hold pieces of characters. */
export function decodeText(bytes: Uint8Array): string {
  return (bytes.length <= SHORT_TEXT ? decodeAscii(bytes) : undefined) ?? LENIENT.decode(bytes);
}

const SHORT_TEXT = 32;

/** A call of TextDecoder costs more than most tokens. undefined where a byte is not ASCII. */
function decodeAscii(bytes: Uint8Array): string | undefined {
  let text = '';
  for (const byte of bytes) {
    if (byte > 127) return undefined;
    text += String.fromCharCode(byte);
  }
  return text;
}
