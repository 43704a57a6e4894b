/**
 * The contract of the GGUF format: what the reader hands over, what the writer takes. Payloads and metadata values stay in
 * the file as byte ranges until somebody asks for them, so that a model of any size opens at once and whatever is
 * not changed is copied untouched.
 *
 * Source: ggml's gguf specification (versions 2 and 3; both have this layout) and docs/gguf.md.
 */

import type { GgmlType } from '../../core/ggml-types.ts';
import type { ByteSource } from '../../io/source.ts';

/** Value types of metadata, by their number in the file. */
export const GGUF_VALUE_TYPES = [
  'u8',
  'i8',
  'u16',
  'i16',
  'u32',
  'i32',
  'f32',
  'bool',
  'string',
  'array',
  'u64',
  'i64',
  'f64',
] as const;

export type GgufValueType = (typeof GGUF_VALUE_TYPES)[number];
export type GgufScalarType = Exclude<GgufValueType, 'array'>;

/** u64 and i64 are bigints, bool a boolean, string a string, everything else a number. */
export type GgufValue = number | bigint | boolean | string;

/** A range of a source. */
export interface GgufRange {
  readonly source: ByteSource;
  readonly offset: number;
  readonly length: number;
}

/** One key with its value, as the file holds it. */
export type GgufEntry = GgufScalarEntry | GgufArrayEntry;

interface GgufEntryBase {
  readonly key: string;
  /** The whole record: key, type and value. */
  readonly record: GgufRange;
}

export interface GgufScalarEntry extends GgufEntryBase {
  readonly type: GgufScalarType;
  readonly value: GgufValue;
}

/** Elements stay in the file: see `GgufModel.readArray`. */
export interface GgufArrayEntry extends GgufEntryBase {
  readonly type: 'array';
  readonly elementType: GgufScalarType;
  readonly count: number;
  /** The elements' bytes. */
  readonly elements: GgufRange;
}

export interface GgufTensor {
  readonly name: string;
  /** Fastest dimension first, as the file has it (`ne`); 1 to 4 dimensions as declared (none is read as `[1]`). */
  readonly shape: readonly number[];
  readonly type: GgmlType;
  /** Payload: absolute offset in its shard. */
  readonly data: GgufRange;
  /** Index of the shard it came from, 0 for a file that is whole. */
  readonly shard: number;
}

export interface GgufModel extends AsyncDisposable {
  /** As the user named it: the file, or the first shard. */
  readonly file: string;
  readonly version: 2 | 3;
  /** `general.alignment`, or 32. */
  readonly alignment: number;
  /** Keys of the first shard in file order, `split.*` among them. */
  readonly metadata: readonly GgufEntry[];
  /** Tensors of all shards: shard by shard, in file order. */
  readonly tensors: readonly GgufTensor[];
  /** One for each shard. */
  readonly sources: readonly ByteSource[];
  /** Bytes of all shards. */
  readonly bytes: number;
  /** `general.architecture`, or undefined. */
  readonly architecture: string | undefined;
  /** What is odd about the file without harm: bytes behind the last tensor, padding that is missing there. */
  readonly notes: readonly string[];
  entry(key: string): GgufEntry | undefined;
  /** A scalar's value; undefined where the key is absent or an array. */
  value(key: string): GgufValue | undefined;
  /** Elements `first` … `first + count` of an array (all by default), decoded. E_LIMIT where that is too much to hold. */
  readArray(entry: GgufArrayEntry, first?: number, count?: number): Promise<GgufValue[]>;
  close(): Promise<void>;
}

/** A key of an output: taken from a file byte by byte, or new. */
export type GgufItem =
  | { readonly kind: 'copied'; readonly entry: GgufEntry }
  | {
      readonly kind: 'scalar';
      readonly key: string;
      readonly type: GgufScalarType;
      readonly value: GgufValue;
    }
  | {
      readonly kind: 'array';
      readonly key: string;
      readonly elementType: GgufScalarType;
      readonly values: readonly GgufValue[];
    };

/** A tensor of an output: filled by a task's part `data`, copied from a file, or given. */
export interface GgufOutputTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: GgmlType;
  readonly content:
    | { readonly kind: 'task'; readonly task: number }
    | ({ readonly kind: 'copy' } & GgufRange)
    | { readonly kind: 'bytes'; readonly bytes: Uint8Array };
}

/** One file to lay out (`layoutGguf` in writer.ts makes an `OutputFile` of it). */
export interface GgufOutput {
  /** Bare file name. */
  readonly name: string;
  readonly metadata: readonly GgufItem[];
  /** In file order. */
  readonly tensors: readonly GgufOutputTensor[];
  /** Payloads and the data section start at multiples of it. */
  readonly alignment: number;
}
