/**
 * Writes a changed config.json so that a reader sees the old text or the new one, never a part: a temporary file beside it, flushed,
 * then renamed over it. The rename also replaces a symbolic link by a file, as it should where the link leads into a
 * download cache that several folders share.
 */

import { open, readFile, rename, rm, stat } from 'node:fs/promises';
import { WhittleError } from '../errors.ts';
import { updateConfig, type WrittenModel } from './config.ts';
import type { ModelFolder } from './folder.ts';

/** Throws now what `updateConfigFile` would throw after the work: a configuration that cannot be read or edited. */
export async function checkConfigFile({ config }: Pick<ModelFolder, 'config'>): Promise<void> {
  if (config === undefined) return;
  const text = await readFile(config, 'utf8').catch((cause: unknown) => {
    throw fileError(cause, 'The configuration cannot be read.', config);
  });
  updateConfig(text, { written: [{ name: 'model_check.onnx', dataFiles: 1 }], sessions: ['model'] }, config);
}

/**
 * Makes `transformers.js_config.use_external_data_format` true for the model files that were written. Answers whether the file
 * changed. A folder without config.json is left alone. E_NOT_A_MODEL (not JSON), E_ACCESS, E_NO_SPACE, E_IO.
 */
export async function updateConfigFile(
  folder: Pick<ModelFolder, 'config'> & { readonly sessions: readonly { readonly session: string }[] },
  written: readonly WrittenModel[],
): Promise<boolean> {
  const { config } = folder;
  if (config === undefined) return false;
  const before = await readFile(config, 'utf8').catch((cause: unknown) => {
    throw fileError(cause, 'The configuration cannot be read.', config);
  });
  const sessions = folder.sessions.map(({ session }) => session);
  const after = updateConfig(before, { written, sessions }, config);
  if (after === before) return false;
  await replaceText(config, after);
  return true;
}

async function replaceText(path: string, text: string): Promise<void> {
  const temporary = `${path}.${process.pid}.partial`;
  try {
    const mode = (await stat(path)).mode & 0o777;
    const handle = await open(temporary, 'wx', mode);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (cause) {
    await rm(temporary, { force: true });
    throw fileError(cause, 'The configuration cannot be written.', path);
  }
}

function fileError(cause: unknown, message: string, file: string): WhittleError {
  const found = cause instanceof Error ? cause.message : String(cause);
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
    return new WhittleError('E_ACCESS', message, {
      file,
      found,
      hint: 'Check the rights of the folder.',
      cause,
    });
  }
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new WhittleError('E_NO_SPACE', message, { file, found, hint: 'Free some space.', cause });
  }
  return new WhittleError('E_IO', message, { file, found, cause });
}
