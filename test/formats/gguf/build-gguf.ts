/**
 * Makes small GGUF files for tests, straight from the specification and apart from the writer under test.
 *
 *   buildGguf({
 *     metadata: [['general.architecture', 'string', 'llama'], ['tokens', 'string[]', ['a', 'b']]],
 *     tensors: [{ name: 'output.weight', shape: [32, 2], type: 'f32', bytes }],
 *   })
 *
 * Nothing is checked: broken files are built by giving broken numbers. `alignment` other than 32 adds the key
 * `general.alignment` at the end, unless `metadata` has it already. Tensors without `bytes` get zeros of their size.
 */

import { GGML_TYPES, type GgmlType, ggmlBytes } from '../../../src/core/ggml-types.ts';
import { GGUF_VALUE_TYPES, type GgufScalarType, type GgufValue } from '../../../src/formats/gguf/gguf.ts';

export type BuildType = GgufScalarType | `${GgufScalarType}[]`;

export type BuildEntry = readonly [key: string, type: BuildType, value: GgufValue | readonly GgufValue[]];

export interface BuildTensor {
  readonly name: string;
  /** Fastest dimension first. */
  readonly shape: readonly number[];
  readonly type: GgmlType;
  readonly bytes?: Uint8Array | undefined;
}

export interface BuildOptions {
  /** Default 3. */
  readonly version?: number | undefined;
  readonly metadata?: readonly BuildEntry[] | undefined;
  readonly tensors?: readonly BuildTensor[] | undefined;
  /** Default 32. */
  readonly alignment?: number | undefined;
}

/** The bytes of a whole file. */
export function buildGguf(options: BuildOptions = {}): Uint8Array<ArrayBuffer> {
  const { version = 3, tensors = [], alignment = 32 } = options;
  const metadata = [...(options.metadata ?? [])];
  if (alignment !== 32 && !metadata.some(([key]) => key === 'general.alignment')) {
    metadata.push(['general.alignment', 'u32', alignment]);
  }
  const head: Uint8Array[] = [text('GGUF'), u32(version), u64(tensors.length), u64(metadata.length)];
  for (const [key, type, value] of metadata) head.push(ggufString(key), ggufValue(type, value));
  const payloads: Uint8Array[] = [];
  let offset = 0;
  for (const tensor of tensors) {
    head.push(tensorInfo(tensor, offset));
    const bytes = tensor.bytes ?? new Uint8Array(tensorSize(tensor));
    const padded = pad(bytes, alignment);
    payloads.push(padded);
    offset += padded.length;
  }
  return concatenated([pad(concatenated(head), alignment), ...payloads]);
}

/** Bytes of a tensor's payload. */
export function tensorSize({ shape, type }: BuildTensor): number {
  return ggmlBytes(
    type,
    shape.reduce((product, dimension) => product * dimension, 1),
  );
}

export function tensorInfo({ name, shape, type }: BuildTensor, offset: number | bigint): Uint8Array {
  return joined(
    ggufString(name),
    u32(shape.length),
    ...shape.map((dimension) => u64(dimension)),
    u32(GGML_TYPES[type].id),
    u64(offset),
  );
}

/** Type number and value, as they follow a key. */
export function ggufValue(type: BuildType, value: GgufValue | readonly GgufValue[]): Uint8Array {
  const element = scalarOf(type);
  if (!type.endsWith('[]'))
    return joined(u32(GGUF_VALUE_TYPES.indexOf(element)), scalar(element, single(value)));
  const values = typeof value === 'object' ? value : [value];
  return concatenated([
    u32(GGUF_VALUE_TYPES.indexOf('array')),
    u32(GGUF_VALUE_TYPES.indexOf(element)),
    u64(values.length),
    ...values.map((item) => scalar(element, item)),
  ]);
}

function single(value: GgufValue | readonly GgufValue[]): GgufValue {
  if (typeof value === 'object') throw new Error('a scalar is wanted, not a list');
  return value;
}

function scalarOf(type: BuildType): GgufScalarType {
  const name = type.replace('[]', '');
  const found = GGUF_VALUE_TYPES.find((candidate) => candidate === name);
  if (found === undefined || found === 'array') throw new Error(`no type "${type}"`);
  return found;
}

function scalar(type: GgufScalarType, value: GgufValue): Uint8Array {
  if (type === 'string') return ggufString(String(value));
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  const number = Number(value);
  switch (type) {
    case 'u8':
    case 'i8':
    case 'bool':
      view.setUint8(0, number);
      return bytes.subarray(0, 1);
    case 'u16':
    case 'i16':
      view.setUint16(0, number, true);
      return bytes.subarray(0, 2);
    case 'u32':
    case 'i32':
      view.setUint32(0, number, true);
      return bytes.subarray(0, 4);
    case 'f32':
      view.setFloat32(0, number, true);
      return bytes.subarray(0, 4);
    case 'u64':
    case 'i64':
      view.setBigUint64(0, BigInt.asUintN(64, BigInt(value)), true);
      return bytes;
    case 'f64':
      view.setFloat64(0, number, true);
      return bytes;
    default:
      return type satisfies never;
  }
}

/** Length in bytes, then the UTF-8 text. */
export function ggufString(value: string): Uint8Array {
  const bytes = text(value);
  return joined(u64(bytes.length), bytes);
}

export function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

export function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

export function u64(value: number | bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, BigInt(value)), true);
  return bytes;
}

/** `bytes` with zeros after them up to a multiple of `alignment`. */
export function pad(bytes: Uint8Array, alignment: number): Uint8Array<ArrayBuffer> {
  const padded = new Uint8Array(Math.ceil(bytes.length / alignment) * alignment);
  padded.set(bytes);
  return padded;
}

export function joined(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return concatenated(parts);
}

/** As `joined`, for lists of any length. */
export function concatenated(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}
