/**
 * Lays out GGUF files, version 3: keys, tensor descriptions, and every payload at a place that is known before anything is
 * computed. Keys that come from a file are copied as the bytes they are; only new ones are encoded. The rules are those of
 * the reader, so that no file is laid out that the reader would refuse.
 *
 * Source: ggml's gguf specification, and the layout that ggml's writer gives (docs/gguf.md): every payload is padded with zeros
 * to the alignment, the last one too, and the head even where there is no tensor.
 */

import { GGML_TYPES, ggmlBytes } from '../../core/ggml-types.ts';
import { WhittleError } from '../../errors.ts';
import type { OutputFile, Segment } from '../layout.ts';
import type { GgufItem, GgufOutput, GgufOutputTensor } from './gguf.ts';
import { ALIGNMENT_KEY, DEFAULT_ALIGNMENT, isAlignment } from './reader.ts';
import { MAX_DIMENSIONS, MAX_NAME_BYTES, padded } from './reader-tensors.ts';
import { encodeText, encodeValue, VALUE_BYTES, valueTypeNumber } from './value-types.ts';

/** A laid-out file and where the payloads are. */
export interface GgufPlaces {
  readonly file: OutputFile;
  /** Where the data begins. */
  readonly dataOffset: number;
  /** Absolute offset of each tensor's payload. */
  readonly offsets: readonly number[];
  /** Bytes of each tensor's payload, without padding. */
  readonly lengths: readonly number[];
}

/**
 * The layout of a file.
 * @throws WhittleError as `placeGguf`
 */
export function layoutGguf(output: GgufOutput): OutputFile {
  return placeGguf(output).file;
}

/**
 * The layout of a file, with the places of its payloads.
 * @throws WhittleError E_DUPLICATE (keys, names), E_GGUF (empty or long names), E_ALIGN, E_SHAPE, E_TENSOR_SIZE (a payload is
 *   not as long as type and shape say), E_USAGE (a value does not fit its type)
 */
export function placeGguf(output: GgufOutput): GgufPlaces {
  const { alignment, tensors } = output;
  assertAlignment(output);
  const head = createHead();
  head.add(encodeHeader(output));
  for (const item of uniqueItems(output)) {
    if (item.kind === 'copied') head.copy(item.entry.record);
    else head.add(encodeItem(item));
  }
  const lengths = tensors.map((tensor) => payloadBytes(tensor, output.name));
  assertNames(output);
  let end = 0;
  const places = lengths.map((length) => {
    const place = end;
    end += padded(length, alignment);
    return place;
  });
  head.add(encodeTensors(tensors, places));
  const dataOffset = padded(head.length, alignment);
  const offsets = places.map((place) => dataOffset + place);
  const segments = [...head.segments()];
  for (const [index, tensor] of tensors.entries()) {
    const segment = payloadSegment(tensor, offsets[index] ?? 0, lengths[index] ?? 0);
    if (segment !== undefined) segments.push(segment);
  }
  return { file: { name: output.name, size: dataOffset + end, segments }, dataOffset, offsets, lengths };
}

interface Head {
  readonly length: number;
  add(bytes: Uint8Array): void;
  copy(range: { source: Extract<Segment, { kind: 'copy' }>['source']; offset: number; length: number }): void;
  segments(): Segment[];
}

/** Joins what is adjacent: a head that is copied whole is one segment, not one for each key. */
function createHead(): Head {
  const done: Segment[] = [];
  let pieces: Uint8Array[] = [];
  let length = 0;
  const flush = (): void => {
    if (pieces.length === 0) return;
    const bytes = joined(pieces);
    done.push({ kind: 'bytes', offset: length - bytes.length, bytes });
    pieces = [];
  };
  return {
    get length() {
      return length;
    },
    add(bytes) {
      if (bytes.length === 0) return;
      pieces.push(bytes);
      length += bytes.length;
    },
    copy({ source, offset, length: size }) {
      flush();
      const last = done.at(-1);
      const follows =
        last?.kind === 'copy' && last.source === source && last.sourceOffset + last.length === offset;
      if (follows) done[done.length - 1] = { ...last, length: last.length + size };
      else done.push({ kind: 'copy', offset: length, length: size, source, sourceOffset: offset });
      length += size;
    },
    segments() {
      flush();
      return done;
    },
  };
}

function encodeHeader({ metadata, tensors }: GgufOutput): Uint8Array {
  const bytes = new Uint8Array(24);
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode('GGUF'));
  view.setUint32(4, 3, true);
  view.setBigUint64(8, BigInt(tensors.length), true);
  view.setBigUint64(16, BigInt(metadata.length), true);
  return bytes;
}

/** The record of a new key: key, type, value. */
export function encodeItem(item: Exclude<GgufItem, { kind: 'copied' }>): Uint8Array {
  const { key } = item;
  if (item.kind === 'scalar') {
    return joined([encodeText(key), typeNumber(item.type), encodeValue(item.type, item.value, key)]);
  }
  const { elementType, values } = item;
  const head = joined([encodeText(key), typeNumber('array'), typeNumber(elementType), u64(values.length)]);
  if (elementType === 'string') {
    return joined([head, ...values.map((value) => encodeValue('string', value, key))]);
  }
  const size = VALUE_BYTES[elementType];
  const bytes = new Uint8Array(head.length + size * values.length);
  bytes.set(head);
  for (const [index, value] of values.entries()) {
    bytes.set(encodeValue(elementType, value, key), head.length + index * size);
  }
  return bytes;
}

function encodeTensors(tensors: readonly GgufOutputTensor[], places: readonly number[]): Uint8Array {
  return joined(
    tensors.flatMap(({ name, shape, type }, index) => [
      encodeText(name),
      u32(shape.length),
      ...shape.map((dimension) => u64(dimension)),
      u32(GGML_TYPES[type].id),
      u64(places[index] ?? 0),
    ]),
  );
}

function payloadSegment({ content }: GgufOutputTensor, offset: number, length: number): Segment | undefined {
  if (length === 0) return undefined;
  switch (content.kind) {
    case 'task':
      return { kind: 'part', offset, length, task: content.task, role: 'data' };
    case 'copy':
      return { kind: 'copy', offset, length, source: content.source, sourceOffset: content.offset };
    case 'bytes':
      return { kind: 'bytes', offset, bytes: content.bytes };
    default:
      return content satisfies never;
  }
}

function payloadBytes({ name, shape, type, content }: GgufOutputTensor, file: string): number {
  const { size } = GGML_TYPES[type];
  const first = shape[0];
  if (
    first === undefined ||
    shape.length > MAX_DIMENSIONS ||
    first % size !== 0 ||
    !shape.every(isDimension)
  ) {
    throw new WhittleError('E_SHAPE', 'no GGUF file can hold a tensor of this shape', {
      file,
      tensor: name,
      expected: `1 to ${MAX_DIMENSIONS} dimensions, the first a multiple of ${size} (${type})`,
      found: shape.join(' × '),
    });
  }
  const bytes = ggmlBytes(
    type,
    shape.reduce((product, dimension) => product * dimension, 1),
  );
  const given =
    content.kind === 'task' ? bytes : content.kind === 'copy' ? content.length : content.bytes.length;
  if (given === bytes && Number.isSafeInteger(bytes)) return bytes;
  throw new WhittleError('E_TENSOR_SIZE', 'the payload is not as long as type and shape say', {
    file,
    tensor: name,
    expected: `${bytes} bytes for ${shape.join(' × ')} of ${type}`,
    found: `${given} bytes`,
  });
}

function isDimension(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function keyOf(item: GgufItem): string {
  return item.kind === 'copied' ? item.entry.key : item.key;
}

function uniqueItems({ name, metadata }: GgufOutput): readonly GgufItem[] {
  const keys = new Set<string>();
  for (const item of metadata) {
    const key = keyOf(item);
    if (key === '') {
      throw new WhittleError('E_GGUF', 'a key is empty', { file: name, expected: 'a name' });
    }
    if (keys.has(key)) {
      throw new WhittleError('E_DUPLICATE', `two values have the key ${JSON.stringify(key)}`, { file: name });
    }
    keys.add(key);
  }
  return metadata;
}

function assertNames({ name: file, tensors }: GgufOutput): void {
  const names = new Set<string>();
  for (const { name } of tensors) {
    const { length } = new TextEncoder().encode(name);
    if (length === 0 || length > MAX_NAME_BYTES || name.includes('\0')) {
      throw new WhittleError('E_GGUF', 'llama.cpp would not take the name of a tensor', {
        file,
        tensor: name,
        expected: `1 to ${MAX_NAME_BYTES} bytes of text`,
        found: `${length} bytes`,
      });
    }
    if (names.has(name)) {
      throw new WhittleError('E_DUPLICATE', 'two tensors have the same name', { file, tensor: name });
    }
    names.add(name);
  }
}

/** The key and the layout must agree: where they do not, no reader finds the payloads. */
function assertAlignment({ name, alignment, metadata }: GgufOutput): void {
  const item = metadata.find((candidate) => keyOf(candidate) === ALIGNMENT_KEY);
  const said = item === undefined ? DEFAULT_ALIGNMENT : scalarOf(item);
  if (isAlignment(alignment) && said === alignment) return;
  throw new WhittleError('E_ALIGN', `"${ALIGNMENT_KEY}" and the layout of the file do not agree`, {
    file: name,
    expected: `${String(said)}, as the metadata says`,
    found: String(alignment),
  });
}

function scalarOf(item: GgufItem): unknown {
  if (item.kind === 'copied') return item.entry.type === 'u32' ? item.entry.value : undefined;
  return item.kind === 'scalar' && item.type === 'u32' ? item.value : undefined;
}

function typeNumber(type: Parameters<typeof valueTypeNumber>[0]): Uint8Array {
  return u32(valueTypeNumber(type));
}

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

function u64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
  return bytes;
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  if (pieces.length === 1 && pieces[0] !== undefined) return pieces[0];
  const bytes = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let offset = 0;
  for (const piece of pieces) {
    bytes.set(piece, offset);
    offset += piece.length;
  }
  return bytes;
}
