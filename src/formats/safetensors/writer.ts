/**
 * Writes a safetensors file (source: the format's specification): 8 bytes with the length of a JSON header, the header, then the elements
 * of the tensors one after the other. The header is known before any element is computed, so tensors are asked for one by one
 * and memory holds one at a time. The file appears when it is complete.
 */

import { byteLength, type DType } from '../../core/dtype.ts';
import { elementCount, formatShape, type Shape } from '../../core/shape.ts';
import { WhittleError } from '../../errors.ts';
import { createAtomicFile } from '../../io/atomic-file.ts';

const TYPES = { F64: 'f64', F32: 'f32', F16: 'f16', I32: 'int32', U8: 'uint8' } as const satisfies Record<
  string,
  DType
>;

export interface WrittenTensor {
  readonly name: string;
  readonly dtype: keyof typeof TYPES;
  readonly shape: Shape;
  /** Little-endian elements; called once, when their turn comes. */
  bytes(): Uint8Array;
}

export interface WriteOptions {
  /** Replace a file that exists. */
  readonly force?: boolean | undefined;
  /** Texts for `__metadata__`. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
}

/**
 * Tensors are laid out by the size of their elements, largest first, so that all are aligned.
 * @throws WhittleError E_DUPLICATE, E_TENSOR_SIZE, E_OUTPUT_EXISTS, E_NOT_FOUND, E_ACCESS, E_NO_SPACE, E_IO
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly WrittenTensor[],
  { force, metadata }: WriteOptions = {},
): Promise<void> {
  const ordered = [...tensors].sort((a, b) => elementBytes(b) - elementBytes(a));
  const header = new Map<string, unknown>();
  if (metadata !== undefined) header.set('__metadata__', metadata);
  let size = 0;
  for (const { name, dtype, shape } of ordered) {
    if (header.has(name))
      throw new WhittleError('E_DUPLICATE', 'two tensors have one name', { file: path, tensor: name });
    const length = byteLength(TYPES[dtype], elementCount(shape) ?? 0);
    header.set(name, { dtype, shape, data_offsets: [size, size + length] });
    size += length;
  }
  const text = new TextEncoder().encode(`{${[...header].map(member).join(',')}}`);
  const head = new Uint8Array(8 + Math.ceil(text.length / 8) * 8).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(head.length - 8), true);
  head.set(text, 8);
  const file = await createAtomicFile(path, { force, size: head.length + size });
  try {
    await file.write(0, head);
    let offset = head.length;
    for (const tensor of ordered) {
      const bytes = elementsOf(tensor, path);
      await file.write(offset, bytes);
      offset += bytes.length;
    }
    await file.commit();
  } catch (error) {
    await file.abort();
    throw error;
  }
}

/** Written member by member: an object would make a member of `__proto__` something else. */
function member([name, value]: readonly [string, unknown]): string {
  return `${JSON.stringify(name)}:${JSON.stringify(value)}`;
}

function elementBytes({ dtype }: WrittenTensor): number {
  return byteLength(TYPES[dtype], 1);
}

function elementsOf(tensor: WrittenTensor, file: string): Uint8Array {
  const { name, dtype, shape } = tensor;
  const bytes = tensor.bytes();
  const expected = byteLength(TYPES[dtype], elementCount(shape) ?? 0);
  if (bytes.length === expected) return bytes;
  throw new WhittleError('E_TENSOR_SIZE', 'the tensor does not fill its shape', {
    file,
    tensor: name,
    expected: `${dtype} ${formatShape(shape)}`,
    found: `${bytes.length} bytes`,
  });
}
