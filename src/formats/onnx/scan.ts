/**
 * Walks a model that may be larger than memory.
 *
 * Approach: a message larger than 64 KiB is walked field by field through a small window over the source. Nested
 * large messages are walked the same way, large tensor payloads are noted as ranges and jumped over, and everything
 * that fits goes to the decoder of reader.ts. After a jump the window starts small and grows while reading goes on
 * in sequence: a 10 GB file costs a few hundred reads of 16 KiB.
 */

import type { ByteSource } from '../../io/source.ts';
import { INLINE_BYTES, type Limits } from '../limits.ts';
import type { ModelProto, Payload } from './messages.ts';
import {
  type Budget,
  createBudget,
  decodeField,
  enterMessage,
  expectWire,
  finishRun,
  hold,
  joinPayloads,
} from './reader.ts';
import { type HasUnknown, type MessageSchema, MODEL } from './schema.ts';
import {
  type Cursor,
  cursorOver,
  pastEnd,
  readDeclaredLength,
  readTag,
  tagNumber,
  tagWire,
  WIRE,
} from './varints.ts';

/** Fields up to this many bytes are read whole and decoded in memory. */
const WHOLE_BYTES = 64 * 1024;
/** First read after a jump. */
const JUMP_BYTES = 16 * 1024;
/** Largest window. */
const WINDOW_BYTES = 1024 * 1024;
/** A tag (≤ 5 bytes, or 10 if padded) and a length or varint (≤ 10). */
const HEADER_BYTES = 20;

/**
 * Reads the model in `source`; payloads larger than `INLINE_BYTES` become ranges and are not read.
 * @throws WhittleError E_PROTOBUF, E_TRUNCATED, E_LIMIT
 */
export async function scanModel(source: ByteSource, limits: Limits): Promise<ModelProto> {
  const walk: Walk = { budget: createBudget(source, limits), window: createWindow(source) };
  const model = MODEL.create();
  await scanMessage(walk, MODEL, model, 0, source.size, 1);
  return model;
}

interface Walk {
  readonly budget: Budget;
  readonly window: Window;
}

async function scanMessage<M extends HasUnknown>(
  walk: Walk,
  schema: MessageSchema<M>,
  target: M,
  start: number,
  end: number,
  depth: number,
): Promise<void> {
  const { budget, window } = walk;
  enterMessage(budget, depth, start);
  for (let position = start; position < end; ) {
    const header = Math.min(HEADER_BYTES, end - position);
    if (!window.has(position, header)) await window.fill(position, header, end);
    const cursor = window.cursor(position, end);
    const tag = readTag(cursor);
    if (tagWire(tag) !== WIRE.length) {
      cursor.position = position - cursor.base;
      decodeField(budget, schema, target, cursor, depth);
      position = cursor.base + cursor.position;
      continue;
    }
    const length = readDeclaredLength(cursor);
    const value = cursor.base + cursor.position;
    const next = value + length;
    if (next > end) throw pastEnd(cursor, cursor.position, end - cursor.base, `${length} bytes`);
    const field = schema.byNumber.get(tagNumber(tag));
    const isPayload = field?.kind === 'payload' || field?.kind === 'packed';
    if (field !== undefined && isPayload && length > INLINE_BYTES) {
      finishRun(budget);
      const range: Payload = { kind: 'range', source: budget.source, offset: value, length };
      const present = field.kind === 'packed' ? field.get(target) : undefined;
      field.set(target, joinPayloads(budget, present, range, value));
    } else if (field?.kind === 'message' && length > WHOLE_BYTES) {
      expectWire(schema, cursor, tag, WIRE.length);
      finishRun(budget);
      await field.enter(target, (childSchema, child) =>
        scanMessage(walk, childSchema, child, value, next, depth + 1),
      );
    } else if (length <= WHOLE_BYTES) {
      const isThere = window.has(position, next - position);
      if (!isThere) await window.fill(position, next - position, end);
      const whole = isThere ? cursor : window.cursor(position, next);
      whole.position = position - whole.base;
      whole.end = next - whole.base;
      decodeField(budget, schema, target, whole, depth);
    } else {
      await decodeLarge(budget, schema, target, position, next, depth);
    }
    position = next;
  }
  finishRun(budget);
}

/** A long text, an unknown field or a long list: read into memory of its own, after the budget allows it. */
async function decodeLarge<M extends HasUnknown>(
  budget: Budget,
  schema: MessageSchema<M>,
  target: M,
  position: number,
  next: number,
  depth: number,
): Promise<void> {
  const { source } = budget;
  const size = next - position;
  hold(budget, size, position);
  const bytes = new Uint8Array(size);
  await source.readInto(position, bytes);
  // The decoder charges what it keeps itself.
  budget.held -= size;
  const origin = { base: position, file: source.name, fileSize: source.size };
  decodeField(budget, schema, target, cursorOver(bytes, 0, size, origin), depth);
}

interface Window {
  has(offset: number, length: number): boolean;
  /** Makes `[offset, offset + length)` available and, within `limit`, some of what follows. */
  fill(offset: number, length: number, limit: number): Promise<void>;
  /** A cursor at `offset` that ends at `end`, or where the window does. */
  cursor(offset: number, end: number): Cursor;
}

function createWindow(source: ByteSource): Window {
  let buffer = new Uint8Array(JUMP_BYTES);
  let view = new DataView(buffer.buffer);
  let start = 0;
  let filled = 0;
  let ahead = JUMP_BYTES;
  return {
    has: (offset, length) => offset >= start && offset + length <= start + filled,
    async fill(offset, length, limit) {
      const inSequence = offset >= start && offset <= start + filled;
      ahead = inSequence ? Math.min(ahead * 2, WINDOW_BYTES) : JUMP_BYTES;
      const size = Math.max(length, Math.min(ahead, limit - offset));
      const kept = inSequence ? buffer.subarray(offset - start, filled) : buffer.subarray(0, 0);
      if (size > buffer.length) {
        const larger = new Uint8Array(Math.max(size, ahead));
        larger.set(kept);
        buffer = larger;
        view = new DataView(buffer.buffer);
      } else {
        buffer.copyWithin(0, kept.byteOffset, kept.byteOffset + kept.length);
      }
      start = offset;
      filled = kept.length;
      if (size > filled) {
        await source.readInto(start + filled, buffer.subarray(filled, size));
        filled = size;
      }
    },
    cursor(offset, end) {
      return {
        bytes: buffer,
        view,
        position: offset - start,
        end: Math.min(end - start, filled),
        base: start,
        file: source.name,
        fileSize: source.size,
      };
    },
  };
}
