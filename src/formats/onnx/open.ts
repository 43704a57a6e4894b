/** Opens ONNX models by path: external data comes from the folder of the model, and nothing outside it. */

import { createHash } from 'node:crypto';
import { openFile } from '../../io/file-source.ts';
import { siblingsOf } from '../../io/siblings.ts';
import type { ByteSource } from '../../io/source.ts';
import { type OnnxModel, type OpenOptions, openOnnxSource } from './model.ts';

/**
 * Opens a model by path or from a source. The model owns the source from then on, also where opening fails.
 * @throws WhittleError for everything that is wrong with the file
 */
export async function openOnnx(input: string | ByteSource, options: OpenOptions = {}): Promise<OnnxModel> {
  const { followLinks, ...rest } = options;
  if (typeof input !== 'string') return openOnnxSource(input, rest, sha1);
  const source = await openFile(input);
  const siblings = rest.siblings ?? siblingsOf(input, { followLinks });
  return openOnnxSource(source, { ...rest, siblings }, sha1);
}

/** SHA-1 of a source as hexadecimal text (the specification's checksum; no protection against an attacker). */
async function sha1(source: ByteSource): Promise<string> {
  const hash = createHash('sha1');
  const buffer = new Uint8Array(Math.min(source.size, 4 * 1024 * 1024));
  for (let offset = 0; offset < source.size; offset += buffer.length) {
    const piece = buffer.subarray(0, Math.min(buffer.length, source.size - offset));
    await source.readInto(offset, piece);
    hash.update(piece);
  }
  return hash.digest('hex');
}
