/**
 * Writes a report or a plan: under its final name only when complete, never over a file that was read, and over an existing
 * file only where that is an earlier report or plan. `--html model.onnx_data`, a slip of the TAB key, must not cost a model.
 *
 * Commands look before they start (`checkText`), so that a path that cannot be written ends a run before its work and not after.
 */

import { constants } from 'node:fs';
import { access, open, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { WhittleError } from '../errors.ts';
import { createAtomicFile } from '../io/atomic-file.ts';
import { diskError } from '../io/disk.ts';

export type TextKind = 'page' | 'plan';

/** What the files of each kind begin with. */
const OURS: Readonly<Record<TextKind, RegExp>> = {
  page: /^<!doctype html>\n[\s\S]{0,900}<meta name="generator" content="whittle">/,
  plan: /^\[?\s*\{\s*"version": \d+,\s*"format": "/,
};
const HEAD_BYTES = 1024;

/** E_USAGE, E_OUTPUT_IS_INPUT, E_OUTPUT_EXISTS, E_NOT_FOUND or E_ACCESS where `path` cannot take a text of this kind. */
export async function checkText(path: string, kind: TextKind, inputs: readonly string[]): Promise<void> {
  const target = await stat(path).catch(() => undefined);
  if (target?.isDirectory()) {
    throw new WhittleError('E_USAGE', 'the output is a folder', { file: path, hint: 'Name a file in it.' });
  }
  for (const input of inputs) {
    const source = await stat(input).catch(() => undefined);
    if (source !== undefined && source.dev === target?.dev && source.ino === target.ino) {
      throw new WhittleError('E_OUTPUT_IS_INPUT', `the ${kind} would replace a model file`, {
        file: path,
        hint: 'Choose another name.',
      });
    }
  }
  try {
    await access(dirname(resolve(path)), constants.W_OK | constants.X_OK);
    if (target?.isFile() && !OURS[kind].test(await head(path)) && target.size > 0) {
      throw new WhittleError('E_OUTPUT_EXISTS', `a file that is no ${kind} of whittle has that name`, {
        file: path,
        hint: `Choose another name; only an earlier ${kind} is replaced.`,
      });
    }
  } catch (error) {
    throw diskError(error, `write the ${kind}`, { file: path });
  }
}

/** Checks again, and writes; errors of `checkText`, and E_NO_SPACE or E_IO by the machine. */
export async function writeText(
  path: string,
  text: string,
  kind: TextKind,
  inputs: readonly string[],
): Promise<void> {
  await checkText(path, kind, inputs);
  const bytes = new TextEncoder().encode(text);
  const file = await createAtomicFile(path, { force: true, size: bytes.length });
  try {
    await file.write(0, bytes);
    await file.commit();
  } catch (error) {
    await file.abort();
    throw error;
  }
}

async function head(path: string): Promise<string> {
  const file = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await file.read(new Uint8Array(HEAD_BYTES), 0, HEAD_BYTES, 0);
    return new TextDecoder().decode(buffer.subarray(0, bytesRead));
  } finally {
    await file.close();
  }
}
