/**
 * External data: what a tensor says about where its bytes stand, checked, and the range in the opened file.
 *
 * Rules (onnx.proto, ONNX's docs/ExternalDataSecurity.md, CVE-2026-34445): the keys are location, offset, length and
 * checksum, each at most once; offset and length are decimal non-negative integers; the range lies in the file. An
 * absent length means what shape and type need. Who opens the file (io/siblings.ts) keeps it inside the folder.
 */

import { WhittleError } from '../../errors.ts';
import { assertLocation } from '../../io/siblings-location.ts';
import type { ByteSource } from '../../io/source.ts';
import { DATA_LOCATION, type StringStringEntry, type TensorProto } from './messages.ts';

export interface ExternalReference {
  readonly location: string;
  readonly offset: number;
  /** Bytes; absent where the file does not say. */
  readonly length?: number | undefined;
  /** SHA-1 of the whole data file as hexadecimal text. */
  readonly checksum?: string | undefined;
}

export function isExternal(tensor: TensorProto): boolean {
  return tensor.dataLocation === DATA_LOCATION.external;
}

/**
 * Reads the entries of `tensor.externalData`.
 * @throws WhittleError E_EXTERNAL_FIELD, E_EXTERNAL_PATH
 */
export function externalReference(tensor: TensorProto, file: string): ExternalReference {
  const fault = (message: string, found: string): WhittleError =>
    new WhittleError('E_EXTERNAL_FIELD', message, {
      file,
      tensor: tensor.name,
      expected: 'location, and optionally offset, length (decimal numbers) and checksum, each once',
      found,
      hint: 'Save the model again with the onnx package.',
    });
  const entries = new Map<string, string>();
  for (const { key = '', value = '' } of tensor.externalData) {
    if (!ALLOWED_KEYS.has(key))
      throw fault('external data has a key that is not allowed', JSON.stringify(key));
    if (entries.has(key)) throw fault('external data has a key twice', JSON.stringify(key));
    entries.set(key, value);
  }
  const location = entries.get('location');
  if (location === undefined) throw fault('external data has no location', 'no key "location"');
  try {
    assertLocation(location, file);
  } catch (error) {
    throw error instanceof WhittleError ? error.with({ tensor: tensor.name }) : error;
  }
  const integer = (key: string): number | undefined => {
    const text = entries.get(key);
    if (text === undefined) return undefined;
    const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
    if (!Number.isSafeInteger(value)) {
      throw fault(`external data has a bad ${key}`, `${key} = ${JSON.stringify(text)}`);
    }
    return value;
  };
  return {
    location,
    offset: integer('offset') ?? 0,
    length: integer('length'),
    checksum: entries.get('checksum'),
  };
}

const ALLOWED_KEYS: ReadonlySet<string> = new Set(['location', 'offset', 'length', 'checksum']);

/**
 * The range of a tensor in its opened data file.
 * @param needed Bytes that shape and type need.
 * @throws WhittleError E_TENSOR_SIZE, E_EXTERNAL_RANGE
 */
export function externalRange(
  tensor: TensorProto,
  reference: ExternalReference,
  source: ByteSource,
  needed: number,
  file: string,
): { readonly kind: 'range'; source: ByteSource; offset: number; length: number } {
  const { offset, length = needed } = reference;
  if (length !== needed) {
    throw new WhittleError('E_TENSOR_SIZE', 'the external data is not as long as shape and type say', {
      file,
      tensor: tensor.name,
      expected: `${needed} bytes`,
      found: `${length} bytes`,
      hint: 'The model is damaged. Export it again.',
    });
  }
  if (offset + length > source.size) {
    throw new WhittleError('E_EXTERNAL_RANGE', 'the external data goes past the end of its file', {
      file,
      tensor: tensor.name,
      offset,
      expected: `${length} bytes from byte ${offset} of ${JSON.stringify(reference.location)}`,
      found: `a file of ${source.size} bytes`,
      hint: 'The data file is incomplete or belongs to another model. Download it again.',
    });
  }
  return { kind: 'range', source, offset, length };
}

/** The entries for a range in a data file that is written. */
export function externalEntries(location: string, offset: number, length: number): StringStringEntry[] {
  return [
    { key: 'location', value: location, unknown: [] },
    { key: 'offset', value: String(offset), unknown: [] },
    { key: 'length', value: String(length), unknown: [] },
  ];
}
