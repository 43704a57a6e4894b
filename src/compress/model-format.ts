/** Which format a model is in: what it says itself, then its name. Folders hold ONNX models in the layout of transformers.js. */

import { open } from 'node:fs/promises';
import { extname } from 'node:path';

export type ModelFormat = 'onnx' | 'gguf';

/** Never throws: a file that cannot be read is what its name says, and opening it tells what is wrong. */
export async function modelFormat(path: string): Promise<ModelFormat> {
  if (extname(path).toLowerCase() === '.gguf') return 'gguf';
  return (await magic(path)) === 'GGUF' ? 'gguf' : 'onnx';
}

async function magic(path: string): Promise<string | undefined> {
  try {
    await using file = await open(path, 'r');
    const { bytesRead, buffer } = await file.read(new Uint8Array(4), 0, 4, 0);
    return bytesRead === 4 ? String.fromCharCode(...buffer) : undefined;
  } catch {
    return undefined;
  }
}
