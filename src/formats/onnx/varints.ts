/**
 * The protobuf wire: varints, tags, fixed-width numbers, read strictly and written canonically.
 *
 * A `Cursor` walks a piece of a file that is in memory; `base` is where that piece starts in the file, so that
 * every error names a byte of the file. Source: protobuf encoding guide; ONNX uses neither groups nor zigzag.
 */

import { type ErrorCode, WhittleError } from '../../errors.ts';

export const WIRE = { varint: 0, fixed64: 1, length: 2, fixed32: 5 } as const;

/** Longest varint, bytes. */
const MAX_VARINT = 10;
const TWO_32 = 0x1_0000_0000;

/**
 * Position in a piece of a file. `end` is where the message that is being read ends, in `bytes`; reading an inner message
 * narrows it for a while (one cursor for a whole piece: a graph has 10⁵ messages, and garbage was most of the time).
 */
export interface Cursor {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  position: number;
  end: number;
  /** File offset of `bytes[0]`. */
  readonly base: number;
  readonly file: string;
  /** Size of the whole file: tells a cut file from a wrong length. */
  readonly fileSize: number;
}

/** A cursor over `bytes[position, end)`; the piece starts at `base` in the file. */
export function cursorOver(
  bytes: Uint8Array,
  position: number,
  end: number,
  origin: { readonly base: number; readonly file: string; readonly fileSize: number },
): Cursor {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { bytes, view, position, end, base: origin.base, file: origin.file, fileSize: origin.fileSize };
}

/** The error for malformed wire data at the cursor (or at `at`, in `cursor.bytes`). */
export function wireError(
  cursor: Cursor,
  message: string,
  at: number,
  details: { code?: ErrorCode; expected?: string; found?: string } = {},
): WhittleError {
  return new WhittleError(details.code ?? 'E_PROTOBUF', message, {
    file: cursor.file,
    offset: cursor.base + at,
    expected: details.expected,
    found: details.found,
    hint: 'The file is damaged or is not an ONNX model. Download or export it again.',
  });
}

/** The error for data that goes past the end of its message, or of the file where both end together. */
export function pastEnd(cursor: Cursor, at: number, end: number, wanted: string): WhittleError {
  const atFileEnd = cursor.base + end >= cursor.fileSize;
  return wireError(
    cursor,
    atFileEnd ? 'the file ends in the middle of a message' : 'a field goes past the end of its message',
    at,
    {
      code: atFileEnd ? 'E_TRUNCATED' : 'E_PROTOBUF',
      expected: wanted,
      found: `${end - at} bytes to the end of the ${atFileEnd ? 'file' : 'message'}`,
    },
  );
}

/** Unsigned 64-bit varint as two halves, so that no BigInt is made where none is needed. */
export interface Halves {
  low: number;
  high: number;
}

/** Reads a varint into `out`. @throws WhittleError E_PROTOBUF (more than 64 bits), E_TRUNCATED */
export function readHalves(cursor: Cursor, out: Halves): void {
  const { bytes, end } = cursor;
  const start = cursor.position;
  let low = 0;
  let high = 0;
  for (let i = 0; i < MAX_VARINT; i++) {
    const at = start + i;
    if (at >= end) throw pastEnd(cursor, start, end, 'a whole varint');
    const byte = bytes[at]!;
    const bits = byte & 0x7f;
    if (i < 4) low |= bits << (7 * i);
    else if (i === 4) {
      low |= (bits & 0x0f) << 28;
      high = bits >>> 4;
    } else if (i < 9) high |= bits << (7 * i - 32);
    else {
      if (byte > 1) throw wireError(cursor, 'a varint has more than 64 bits', start);
      high |= bits << 31;
    }
    if (byte < 0x80) {
      cursor.position = at + 1;
      out.low = low >>> 0;
      out.high = high >>> 0;
      return;
    }
  }
  throw wireError(cursor, 'a varint has more than 10 bytes', start);
}

const scratch: Halves = { low: 0, high: 0 };

/** Signed 64-bit value of a varint. */
export function readInt64(cursor: Cursor): bigint {
  readHalves(cursor, scratch);
  if (scratch.high === 0) return BigInt(scratch.low);
  return (BigInt(scratch.high | 0) << 32n) | BigInt(scratch.low);
}

/** Signed 64-bit value as a number: exact up to ±2^53, which is all that a dimension may use. */
export function readInt64AsNumber(cursor: Cursor): number {
  readHalves(cursor, scratch);
  return (scratch.high | 0) * TWO_32 + scratch.low;
}

/** Signed 32-bit value: the low half, as protobuf truncates. */
export function readInt32(cursor: Cursor): number {
  readHalves(cursor, scratch);
  return scratch.low | 0;
}

/**
 * Reads a tag: field number · 8 + wire type (see `tagNumber`, `tagWire`).
 * @throws WhittleError E_PROTOBUF for field number 0, groups (wire types 3, 4) and wire types 6, 7
 */
export function readTag(cursor: Cursor): number {
  const at = cursor.position;
  readHalves(cursor, scratch);
  const wire = scratch.low & 7;
  const number = scratch.low >>> 3;
  if (scratch.high !== 0 || number === 0) {
    throw wireError(cursor, 'illegal tag', at, { expected: 'a field number from 1 to 536870911' });
  }
  if (wire === 3 || wire === 4) throw wireError(cursor, 'illegal tag: ONNX has no groups', at);
  if (wire > 5) throw wireError(cursor, `illegal tag: wire type ${wire} does not exist`, at);
  return scratch.low;
}

export function tagNumber(tag: number): number {
  return tag >>> 3;
}

export function tagWire(tag: number): number {
  return tag & 7;
}

/** Length of a length-delimited field, without a check against the end (see `readLength`). */
export function readDeclaredLength(cursor: Cursor): number {
  const at = cursor.position;
  readHalves(cursor, scratch);
  const length = scratch.high * TWO_32 + scratch.low;
  if (!Number.isSafeInteger(length)) throw wireError(cursor, 'a length has more than 53 bits', at);
  return length;
}

/** Length of a field that lies inside the cursor. @throws WhittleError E_PROTOBUF, E_TRUNCATED */
export function readLength(cursor: Cursor): number {
  const at = cursor.position;
  const length = readDeclaredLength(cursor);
  if (length > cursor.end - cursor.position) throw pastEnd(cursor, at, cursor.end, `${length} bytes`);
  return length;
}

/** Moves over the value of a field whose tag was read. */
export function skipValue(cursor: Cursor, wire: number): void {
  if (wire === WIRE.varint) readHalves(cursor, scratch);
  else if (wire === WIRE.length) {
    const length = readLength(cursor);
    cursor.position += length;
  } else takeFixed(cursor, wire === WIRE.fixed64 ? 8 : 4);
}

/** Moves over `size` bytes and gives where they start. */
export function takeFixed(cursor: Cursor, size: number): number {
  const at = cursor.position;
  if (size > cursor.end - at) throw pastEnd(cursor, at, cursor.end, `${size} bytes`);
  cursor.position += size;
  return at;
}

/** Bytes that the varint of an unsigned number (a length or tag) takes. */
export function varintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) size++;
  return size;
}

/** Bytes that the varint of a signed 64-bit value takes: 10 where it is negative. */
export function int64Size(value: bigint): number {
  if (value < 0n) return MAX_VARINT;
  let size = 1;
  for (let rest = value >> 7n; rest > 0n; rest >>= 7n) size++;
  return size;
}

/** Writes an unsigned number; gives the position behind it. */
export function writeVarint(target: Uint8Array, position: number, value: number): number {
  let rest = value;
  while (rest >= 128) {
    target[position++] = (rest % 128) | 0x80;
    rest = Math.floor(rest / 128);
  }
  target[position++] = rest;
  return position;
}

/** Writes a signed 64-bit value as protobuf does (two's complement); gives the position behind it. */
export function writeInt64(target: Uint8Array, position: number, value: bigint): number {
  let rest = BigInt.asUintN(64, value);
  while (rest >= 128n) {
    target[position++] = Number(rest & 0x7fn) | 0x80;
    rest >>= 7n;
  }
  target[position++] = Number(rest);
  return position;
}
