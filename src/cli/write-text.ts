/** Writes a report or a plan: under its final name only when complete, and never over a file that was read. */

import { rename, rm, stat, writeFile } from 'node:fs/promises';
import { WhittleError } from '../errors.ts';

/** E_OUTPUT_IS_INPUT where `path` is one of `inputs`; E_NOT_FOUND, E_ACCESS, E_NO_SPACE by the machine. */
export async function writeText(path: string, text: string, inputs: readonly string[]): Promise<void> {
  const target = await stat(path).catch(() => undefined);
  if (target?.isDirectory()) {
    throw new WhittleError('E_USAGE', 'the output is a folder', { file: path, hint: 'Name a file in it.' });
  }
  for (const input of inputs) {
    const source = await stat(input).catch(() => undefined);
    if (
      source !== undefined &&
      target !== undefined &&
      source.dev === target.dev &&
      source.ino === target.ino
    ) {
      throw new WhittleError('E_OUTPUT_IS_INPUT', 'the output would replace the input', { file: path });
    }
  }
  const partial = `${path}.${process.pid}.partial`;
  try {
    await writeFile(partial, text, { flag: 'wx' });
    await rename(partial, path);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}
