/**
 * Encodes a message, by its schema, into segments of a file.
 *
 * Two passes: sizes bottom-up (protobuf writes every message's length before it), then the bytes top-down. Only small
 * things become bytes here; payloads that stand in a file or are computed later become segments that refer to them,
 * so that writing needs no memory for weights. Fields are written in ascending order, undecoded ones in between by
 * their number: a model that was in this order, as all exporters write it, comes out byte for byte.
 */

import { WhittleError } from '../../errors.ts';
import type { Segment } from '../layout.ts';
import { type Payload, payloadLength } from './messages.ts';
import { type Field, type HasUnknown, type MessageSchema, packedLists } from './schema.ts';
import { int64Size, varintSize, WIRE, writeInt64, writeVarint } from './varints.ts';

/** Inline payloads from this size on become a segment of their own instead of being copied. */
const OWN_SEGMENT_BYTES = 16 * 1024;

/** What a file will hold. */
export interface Encoded {
  readonly size: number;
  readonly segments: Segment[];
}

/** Sizes of messages, bytes; a message that occurs twice has one size. */
type Sizes = Map<object, number>;

/** Encodes a whole message (without tag and length, as a file holds it). */
export function encodeMessage<M extends HasUnknown>(schema: MessageSchema<M>, message: M): Encoded {
  const sizes: Sizes = new Map();
  const size = measure(sizes, schema, message);
  const output = createOutput();
  emit(output, sizes, schema, message);
  return { size, segments: output.finish() };
}

/** Bytes that a message takes in a file. */
export function encodedSize<M extends HasUnknown>(schema: MessageSchema<M>, message: M): number {
  return measure(new Map(), schema, message);
}

function measure<M extends HasUnknown>(sizes: Sizes, schema: MessageSchema<M>, message: M): number {
  let size = 0;
  for (const field of schema.fields) size += measureField(sizes, field, message);
  for (const bytes of message.unknown) size += bytes.length;
  sizes.set(message, size);
  return size;
}

function measureField<M extends HasUnknown>(sizes: Sizes, field: Field<M>, message: M): number {
  const tag = varintSize(field.number * 8);
  const delimited = (length: number): number => tag + varintSize(length) + length;
  switch (field.kind) {
    case 'message': {
      let size = 0;
      field.each(message, (schema, child) => {
        size += delimited(measure(sizes, schema, child));
      });
      return size;
    }
    case 'string': {
      const text = field.get(message);
      return text === undefined ? 0 : delimited(utf8Length(text));
    }
    case 'bytes': {
      const bytes = field.get(message);
      return bytes === undefined ? 0 : delimited(bytes.length);
    }
    case 'payload':
    case 'packed': {
      const payload = field.get(message);
      return payload === undefined ? 0 : delimited(payloadLength(payload));
    }
    case 'int32': {
      const value = field.get(message);
      return value === undefined ? 0 : tag + integerSize(value);
    }
    case 'int64': {
      const value = field.get(message);
      return value === undefined ? 0 : tag + int64Size(value);
    }
    case 'float':
      return field.get(message) === undefined ? 0 : tag + 4;
    case 'strings':
      return sum(field.list(message), (text) => delimited(utf8Length(text)));
    case 'byteStrings':
      return sum(field.list(message), (bytes) => delimited(bytes.length));
    case 'floats':
      return listSize(field.list(message), tag, () => 4);
    case 'int64s':
      return listSize(field.list(message), tag, int64Size);
    case 'dims':
      return listSize(field.list(message), tag, integerSize);
    default:
      return field satisfies never;
  }
}

function emit<M extends HasUnknown>(
  output: Output,
  sizes: Sizes,
  schema: MessageSchema<M>,
  message: M,
): void {
  const { unknown } = message;
  let next = 0;
  for (const field of schema.fields) {
    for (; next < unknown.length && fieldNumber(unknown[next]!) < field.number; next++)
      output.bytes(unknown[next]!);
    emitField(output, sizes, field, message);
  }
  for (; next < unknown.length; next++) output.bytes(unknown[next]!);
}

function emitField<M extends HasUnknown>(output: Output, sizes: Sizes, field: Field<M>, message: M): void {
  const { number } = field;
  switch (field.kind) {
    case 'message':
      field.each(message, (schema, child) => {
        output.header(number, sizes.get(child) ?? 0);
        emit(output, sizes, schema, child);
      });
      return;
    case 'string': {
      const text = field.get(message);
      if (text !== undefined) output.text(number, text);
      return;
    }
    case 'bytes': {
      const bytes = field.get(message);
      if (bytes !== undefined) emitBytes(output, number, bytes);
      return;
    }
    case 'payload':
    case 'packed': {
      const payload = field.get(message);
      if (payload === undefined) return;
      output.header(number, payloadLength(payload));
      output.payload(payload);
      return;
    }
    case 'int32': {
      const value = field.get(message);
      if (value === undefined) return;
      output.tag(number, WIRE.varint);
      output.integer(value);
      return;
    }
    case 'int64': {
      const value = field.get(message);
      if (value === undefined) return;
      output.tag(number, WIRE.varint);
      output.int64(value);
      return;
    }
    case 'float': {
      const value = field.get(message);
      if (value === undefined) return;
      output.tag(number, WIRE.fixed32);
      output.float(value);
      return;
    }
    case 'strings':
      for (const text of field.list(message)) output.text(number, text);
      return;
    case 'byteStrings':
      for (const bytes of field.list(message)) emitBytes(output, number, bytes);
      return;
    case 'floats':
      emitList(output, number, field.list(message), WIRE.fixed32, () => 4, output.float);
      return;
    case 'int64s':
      emitList(output, number, field.list(message), WIRE.varint, int64Size, output.int64);
      return;
    case 'dims':
      emitList(output, number, field.list(message), WIRE.varint, integerSize, output.integer);
      return;
    default:
      field satisfies never;
  }
}

function emitBytes(output: Output, number: number, bytes: Uint8Array): void {
  output.header(number, bytes.length);
  output.bytes(bytes);
}

function emitList<V>(
  output: Output,
  number: number,
  values: readonly V[],
  wire: number,
  sizeOf: (value: V) => number,
  write: (value: V) => void,
): void {
  const isPacked = values.length > 0 && packedLists.has(values);
  if (isPacked) output.header(number, sum(values, sizeOf));
  for (const value of values) {
    if (!isPacked) output.tag(number, wire);
    write(value);
  }
}

function listSize<V>(values: readonly V[], tag: number, sizeOf: (value: V) => number): number {
  if (values.length === 0) return 0;
  const size = sum(values, sizeOf);
  return packedLists.has(values) ? tag + varintSize(size) + size : size + tag * values.length;
}

function sum<V>(values: readonly V[], sizeOf: (value: V) => number): number {
  let total = 0;
  for (const value of values) total += sizeOf(value);
  return total;
}

/** Negative numbers take the ten bytes of their 64-bit form. */
function integerSize(value: number): number {
  return value < 0 ? int64Size(BigInt(value)) : varintSize(value);
}

/** Number of an undecoded field, from its tag. */
function fieldNumber(bytes: Uint8Array): number {
  let tag = 0;
  for (let i = 0; i < bytes.length; i++) {
    tag += (bytes[i]! & 0x7f) * 2 ** (7 * i);
    if (bytes[i]! < 0x80) break;
  }
  return Math.floor(tag / 8);
}

/** Bytes of a text in UTF-8; a lone surrogate counts as the replacement character that the encoder writes. */
function utf8Length(text: string): number {
  let length = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) continue;
    if (unit < 0x800) length += 1;
    else {
      length += 2;
      const isPair = unit >= 0xd800 && unit < 0xdc00 && (text.charCodeAt(i + 1) & 0xfc00) === 0xdc00;
      // Two units, four bytes.
      if (isPair) i++;
    }
  }
  return length;
}

interface Output {
  tag(number: number, wire: number): void;
  /** Tag and length of a length-delimited field. */
  header(number: number, length: number): void;
  text(number: number, text: string): void;
  bytes(bytes: Uint8Array): void;
  payload(payload: Payload): void;
  integer(value: number): void;
  int64(value: bigint): void;
  float(value: number): void;
  finish(): Segment[];
}

const UTF8 = new TextEncoder();

function createOutput(): Output {
  const segments: Segment[] = [];
  let chunk = new Uint8Array(4096);
  let used = 0;
  /** File offset of `chunk[0]`. */
  let base = 0;
  const reserve = (size: number): void => {
    if (used + size <= chunk.length) return;
    const larger = new Uint8Array(Math.max(chunk.length * 2, used + size));
    larger.set(chunk.subarray(0, used));
    chunk = larger;
  };
  const flush = (): void => {
    if (used === 0) return;
    segments.push({ kind: 'bytes', offset: base, bytes: chunk.slice(0, used) });
    base += used;
    used = 0;
  };
  const output: Output = {
    tag(number, wire) {
      reserve(10);
      used = writeVarint(chunk, used, number * 8 + wire);
    },
    header(number, length) {
      output.tag(number, WIRE.length);
      reserve(10);
      used = writeVarint(chunk, used, length);
    },
    text(number, text) {
      const length = utf8Length(text);
      output.header(number, length);
      reserve(length);
      UTF8.encodeInto(text, chunk.subarray(used, used + length));
      used += length;
    },
    bytes(bytes) {
      if (bytes.length >= OWN_SEGMENT_BYTES) {
        flush();
        segments.push({ kind: 'bytes', offset: base, bytes });
        base += bytes.length;
        return;
      }
      reserve(bytes.length);
      chunk.set(bytes, used);
      used += bytes.length;
    },
    payload(payload) {
      if (payload.kind === 'inline') {
        output.bytes(payload.bytes);
        return;
      }
      if (payload.length === 0) return;
      flush();
      segments.push(payloadSegment(payload, base));
      base += payload.length;
    },
    integer(value) {
      if (value < 0) {
        output.int64(BigInt(value));
        return;
      }
      reserve(10);
      used = writeVarint(chunk, used, value);
    },
    int64(value) {
      reserve(10);
      used = writeInt64(chunk, used, value);
    },
    float(value) {
      reserve(4);
      new DataView(chunk.buffer).setFloat32(used, value, true);
      used += 4;
    },
    finish() {
      flush();
      return segments;
    },
  };
  return output;
}

/** The segment that puts a payload at `offset` of a file. */
export function payloadSegment(payload: Payload, offset: number): Segment {
  switch (payload.kind) {
    case 'inline':
      return { kind: 'bytes', offset, bytes: payload.bytes };
    case 'range':
      return {
        kind: 'copy',
        offset,
        length: payload.length,
        source: payload.source,
        sourceOffset: payload.offset,
      };
    case 'pending':
      return { kind: 'part', offset, length: payload.length, task: payload.task, role: payload.role };
    default:
      return payload satisfies never;
  }
}

/**
 * Fills `target` (a file's size) with what the segments say.
 * @param part Bytes of a computed part; without it such segments are refused.
 * @throws WhittleError E_UNSUPPORTED for a part that is not given, and what reading a source throws
 */
export async function fillSegments(
  target: Uint8Array,
  segments: readonly Segment[],
  part?: (segment: Extract<Segment, { kind: 'part' }>) => Uint8Array,
): Promise<void> {
  for (const segment of segments) {
    if (segment.kind === 'bytes') target.set(segment.bytes, segment.offset);
    else if (segment.kind === 'copy') {
      const piece = target.subarray(segment.offset, segment.offset + segment.length);
      await segment.source.readInto(segment.sourceOffset, piece);
    } else if (part !== undefined) target.set(part(segment), segment.offset);
    else throw new WhittleError('E_UNSUPPORTED', 'a part of the model is not computed yet');
  }
}
