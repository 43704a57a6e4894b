/**
 * Decodes a message that is in memory, by its schema.
 *
 * Strict: a known field with a foreign wire type, a length past its message, text that is not UTF-8 are errors with
 * the byte where they stand. Everything held is charged to a `Budget` first, so that a small file cannot become a
 * large heap. Large tensor payloads are not copied: they stay ranges of the source. Messages that are themselves
 * large are walked by scan.ts, which calls `decodeField` for what fits in its window.
 */

import { WhittleError } from '../../errors.ts';
import type { ByteSource } from '../../io/source.ts';
import { INLINE_BYTES, type Limits } from '../limits.ts';
import type { Payload } from './messages.ts';
import {
  type Field,
  type HasUnknown,
  type ListField,
  type MessageSchema,
  type PackedField,
  packedLists,
} from './schema.ts';
import {
  type Cursor,
  readInt32,
  readInt64,
  readInt64AsNumber,
  readLength,
  readTag,
  skipValue,
  tagNumber,
  tagWire,
  takeFixed,
  WIRE,
  wireError,
} from './varints.ts';

/** What decoding one file may still hold. */
export interface Budget {
  readonly source: ByteSource;
  readonly limits: Limits;
  /** Bytes of the file that are held. */
  held: number;
  /** Estimated bytes of heap. */
  heap: number;
  /** Unpacked elements of the packed field that is being read. */
  run: Run | undefined;
  /** Short texts that were read lately, by hash: operators, attributes and values are named again and again. */
  readonly texts: string[];
}

const TEXT_SLOTS = 4096;
const SHORT_TEXT = 64;

interface Run {
  readonly message: object;
  readonly field: number;
  bytes: Uint8Array;
  length: number;
  readonly finish: (bytes: Uint8Array) => void;
}

export function createBudget(source: ByteSource, limits: Limits): Budget {
  return { source, limits, held: 0, heap: 0, run: undefined, texts: [] };
}

/** Charges `bytes` that are going to be held. @throws WhittleError E_LIMIT */
export function hold(budget: Budget, bytes: number, offset: number): void {
  budget.held += bytes;
  if (budget.held > budget.limits.skeletonBytes) {
    throw limitError(budget, offset, 'skeletonBytes', 'the graph without its weights is too large');
  }
}

/** Charges a message at `depth`. @throws WhittleError E_LIMIT */
export function enterMessage(budget: Budget, depth: number, offset: number): void {
  if (depth > budget.limits.nesting) {
    throw limitError(budget, offset, 'nesting', 'messages are nested too deeply');
  }
  spend(budget, COST.message, offset);
}

/** Heap of one decoded thing beside its own bytes, in bytes: measured with V8, rounded up. */
const COST = { message: 200, bytes: 160, text: 32, number: 32 } as const;

function spend(budget: Budget, cost: number, offset: number): void {
  budget.heap += cost;
  if (budget.heap > budget.limits.heapBytes) {
    throw limitError(budget, offset, 'heapBytes', 'the graph has too many parts to be held in memory');
  }
}

function limitError(budget: Budget, offset: number, limit: keyof Limits, message: string): WhittleError {
  return new WhittleError('E_LIMIT', message, {
    file: budget.source.name,
    offset,
    expected: `at most ${budget.limits[limit]} (limit "${limit}")`,
    hint: 'If the model is real and you trust it, raise that limit.',
  });
}

/** Decodes the fields of `cursor` into `target`. `depth` counts from 1 (the model). */
export function decodeMessage<M extends HasUnknown>(
  budget: Budget,
  schema: MessageSchema<M>,
  target: M,
  cursor: Cursor,
  depth: number,
): void {
  enterMessage(budget, depth, cursor.base + cursor.position);
  while (cursor.position < cursor.end) decodeField(budget, schema, target, cursor, depth);
  finishRun(budget);
}

/** Decodes one field, tag included; all of it lies in the cursor. */
export function decodeField<M extends HasUnknown>(
  budget: Budget,
  schema: MessageSchema<M>,
  target: M,
  cursor: Cursor,
  depth: number,
): void {
  const start = cursor.position;
  const tag = readTag(cursor);
  const run = budget.run;
  if (run !== undefined && (run.message !== target || run.field !== tagNumber(tag))) finishRun(budget);
  const field = schema.byNumber.get(tagNumber(tag));
  if (field === undefined) {
    skipValue(cursor, tagWire(tag));
    hold(budget, cursor.position - start, cursor.base + start);
    // Many tiny unknown fields cost far more memory than their bytes.
    spend(budget, COST.bytes, cursor.base + start);
    target.unknown.push(cursor.bytes.slice(start, cursor.position));
    return;
  }
  decodeKnown(budget, schema, field, target, cursor, tag, depth);
}

function decodeKnown<M extends HasUnknown>(
  budget: Budget,
  schema: MessageSchema<M>,
  field: Field<M>,
  target: M,
  cursor: Cursor,
  tag: number,
  depth: number,
): void {
  switch (field.kind) {
    case 'message': {
      expectWire(schema, cursor, tag, WIRE.length);
      const length = readLength(cursor);
      const outerEnd = cursor.end;
      cursor.end = cursor.position + length;
      field.enter(target, (childSchema, child) => {
        decodeMessage(budget, childSchema, child, cursor, depth + 1);
      });
      cursor.end = outerEnd;
      return;
    }
    case 'string':
      expectWire(schema, cursor, tag, WIRE.length);
      field.set(target, takeText(budget, cursor));
      return;
    case 'strings':
      expectWire(schema, cursor, tag, WIRE.length);
      field.list(target).push(takeText(budget, cursor));
      return;
    case 'bytes':
      expectWire(schema, cursor, tag, WIRE.length);
      field.set(target, takeBytes(budget, cursor));
      return;
    case 'byteStrings':
      expectWire(schema, cursor, tag, WIRE.length);
      field.list(target).push(takeBytes(budget, cursor));
      return;
    case 'int32':
      expectWire(schema, cursor, tag, WIRE.varint);
      field.set(target, readInt32(cursor));
      return;
    case 'int64':
      expectWire(schema, cursor, tag, WIRE.varint);
      field.set(target, readInt64(cursor));
      return;
    case 'float':
      expectWire(schema, cursor, tag, WIRE.fixed32);
      field.set(target, readFloat(cursor));
      return;
    case 'floats':
      decodeList(budget, schema, field, target, cursor, tag, WIRE.fixed32, readFloat);
      return;
    case 'int64s':
      decodeList(budget, schema, field, target, cursor, tag, WIRE.varint, readInt64);
      return;
    case 'dims':
      decodeList(budget, schema, field, target, cursor, tag, WIRE.varint, readInt64AsNumber);
      return;
    case 'payload':
      expectWire(schema, cursor, tag, WIRE.length);
      field.set(target, takePayload(budget, cursor));
      return;
    case 'packed':
      decodePacked(budget, schema, field, target, cursor, tag);
      return;
    default:
      field satisfies never;
  }
}

function decodeList<M extends HasUnknown, V>(
  budget: Budget,
  schema: MessageSchema<M>,
  field: ListField<M, string, V>,
  target: M,
  cursor: Cursor,
  tag: number,
  elementWire: number,
  read: (cursor: Cursor) => V,
): void {
  const list = field.list(target);
  if (tagWire(tag) !== WIRE.length) {
    expectWire(schema, cursor, tag, elementWire);
    spend(budget, COST.number, cursor.base + cursor.position);
    list.push(read(cursor));
    return;
  }
  const length = readLength(cursor);
  const outerEnd = cursor.end;
  cursor.end = cursor.position + length;
  while (cursor.position < cursor.end) {
    spend(budget, COST.number, cursor.base + cursor.position);
    list.push(read(cursor));
  }
  cursor.end = outerEnd;
  packedLists.add(list);
}

/** Tensor data in a typed field: one packed piece as a rule; several pieces and single elements are joined. */
function decodePacked<M extends HasUnknown>(
  budget: Budget,
  schema: MessageSchema<M>,
  field: PackedField<M>,
  target: M,
  cursor: Cursor,
  tag: number,
): void {
  const start = cursor.position;
  if (tagWire(tag) === WIRE.length) {
    finishRun(budget);
    const piece = takePayload(budget, cursor);
    field.set(target, joinPayloads(budget, field.get(target), piece, cursor.base + start));
    return;
  }
  expectWire(schema, cursor, tag, elementWireOf(field));
  skipValue(cursor, tagWire(tag));
  hold(budget, cursor.position - start, cursor.base + start);
  budget.run ??= {
    message: target,
    field: field.number,
    bytes: new Uint8Array(64),
    length: 0,
    finish: (bytes) => {
      const piece: Payload = { kind: 'inline', bytes };
      field.set(target, joinPayloads(budget, field.get(target), piece, cursor.base + start));
    },
  };
  appendToRun(budget.run, cursor.bytes.subarray(start, cursor.position));
}

function elementWireOf(field: { readonly element: 0 | 4 | 8 }): number {
  if (field.element === 0) return WIRE.varint;
  return field.element === 4 ? WIRE.fixed32 : WIRE.fixed64;
}

function appendToRun(run: Run, bytes: Uint8Array): void {
  if (run.length + bytes.length > run.bytes.length) {
    const larger = new Uint8Array(run.bytes.length * 2);
    larger.set(run.bytes);
    run.bytes = larger;
  }
  run.bytes.set(bytes, run.length);
  run.length += bytes.length;
}

/** Ends a run of unpacked elements: they become one payload. */
export function finishRun(budget: Budget): void {
  const run = budget.run;
  if (run === undefined) return;
  budget.run = undefined;
  run.finish(run.bytes.slice(0, run.length));
}

/** Several pieces of one packed field follow each other. The copy is charged, so that many pieces stay cheap. */
export function joinPayloads(
  budget: Budget,
  present: Payload | undefined,
  piece: Payload,
  offset: number,
): Payload {
  if (present === undefined) return piece;
  if (present.kind !== 'inline' || piece.kind !== 'inline') {
    throw new WhittleError('E_UNSUPPORTED', "a tensor's data is split into several large pieces", {
      file: budget.source.name,
      offset,
      expected: 'one packed field',
      hint: 'Save the model again with the onnx package: it writes one piece.',
    });
  }
  hold(budget, present.bytes.length + piece.bytes.length, offset);
  const bytes = new Uint8Array(present.bytes.length + piece.bytes.length);
  bytes.set(present.bytes);
  bytes.set(piece.bytes, present.bytes.length);
  return { kind: 'inline', bytes };
}

function takePayload(budget: Budget, cursor: Cursor): Payload {
  const length = readLength(cursor);
  const start = cursor.position;
  const offset = cursor.base + start;
  cursor.position += length;
  if (length > INLINE_BYTES) return { kind: 'range', source: budget.source, offset, length };
  hold(budget, length, offset);
  spend(budget, COST.bytes, offset);
  return { kind: 'inline', bytes: cursor.bytes.slice(start, start + length) };
}

function takeBytes(budget: Budget, cursor: Cursor): Uint8Array {
  const length = readLength(cursor);
  const start = cursor.position;
  hold(budget, length, cursor.base + start);
  spend(budget, COST.bytes, cursor.base + start);
  cursor.position += length;
  return cursor.bytes.slice(start, start + length);
}

// A byte order mark belongs to the text; what is not UTF-8 must not be replaced silently.
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function takeText(budget: Budget, cursor: Cursor): string {
  const length = readLength(cursor);
  const start = cursor.position;
  hold(budget, length, cursor.base + start);
  spend(budget, COST.text, cursor.base + start);
  cursor.position += length;
  if (length === 0) return '';
  const slot = length <= SHORT_TEXT ? asciiSlot(cursor.bytes, start, length) : -1;
  if (slot < 0) return decodeText(cursor, start, length);
  const known = budget.texts[slot];
  if (known !== undefined && isAscii(known, cursor.bytes, start, length)) return known;
  const text = decodeText(cursor, start, length);
  budget.texts[slot] = text;
  return text;
}

/** Slot of a text in `Budget.texts`; -1 where it is not ASCII. */
function asciiSlot(bytes: Uint8Array, start: number, length: number): number {
  let hash = length;
  for (let i = start; i < start + length; i++) {
    const byte = bytes[i]!;
    if (byte >= 0x80) return -1;
    hash = (Math.imul(hash, 31) + byte) | 0;
  }
  return (hash ^ (hash >>> 15)) & (TEXT_SLOTS - 1);
}

function isAscii(text: string, bytes: Uint8Array, start: number, length: number): boolean {
  if (text.length !== length) return false;
  for (let i = 0; i < length; i++) if (text.charCodeAt(i) !== bytes[start + i]) return false;
  return true;
}

function decodeText(cursor: Cursor, start: number, length: number): string {
  try {
    return UTF8.decode(cursor.bytes.subarray(start, start + length));
  } catch {
    throw wireError(cursor, 'a text is not valid UTF-8', start);
  }
}

function readFloat(cursor: Cursor): number {
  return cursor.view.getFloat32(takeFixed(cursor, 4), true);
}

/** @throws WhittleError E_PROTOBUF where the field has another wire type than its schema says */
export function expectWire(
  schema: { readonly name: string },
  cursor: Cursor,
  tag: number,
  wire: number,
): void {
  if (tagWire(tag) === wire) return;
  throw wireError(cursor, `field ${tagNumber(tag)} of ${schema.name} has the wrong type`, cursor.position, {
    expected: `wire type ${wire}`,
    found: `wire type ${tagWire(tag)}`,
  });
}
