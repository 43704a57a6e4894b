/**
 * Opens the files that stand beside a model (external data), and nothing else.
 *
 * A model names its data files itself, so the name is hostile input: four published holes of ONNX were ways out of
 * the model's folder (CVE-2022-25882, -2024-27318, -2026-27489, -2026-34446/7: "..", symbolic links, linked
 * parents, hard links). The rules, as in ONNX's docs/ExternalDataSecurity.md: a relative path with forward slashes
 * and no "..", every component below the folder a real folder, the last a regular file with one name only, opened
 * without following links and compared afterwards with what was checked.
 */

import { lstat, realpath } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { WhittleError } from '../errors.ts';
import { type FileSource, ioError, openFile } from './file-source.ts';
import { assertLocation, missing, refused } from './siblings-location.ts';
import type { SiblingOpener } from './source.ts';

export interface SiblingOptions {
  /**
   * Accept symbolic and hard links. Needed for model caches that link into a store of blobs (Hugging Face's); only
   * for folders whose contents you trust. Default: the environment variable WHITTLE_FOLLOW_SYMLINKS is "1".
   */
  readonly followLinks?: boolean | undefined;
}

/** An opener for the data files beside the model at `modelPath`. */
export function siblingsOf(modelPath: string, options: SiblingOptions = {}): SiblingOpener {
  const followLinks = options.followLinks ?? process.env.WHITTLE_FOLLOW_SYMLINKS === '1';
  const folder = dirname(modelPath);
  return {
    async open(location) {
      assertLocation(location, modelPath);
      const path = join(folder, location);
      const checked = followLinks ? undefined : await assertNoLinks(folder, location, modelPath);
      const source = await openData(path, location, modelPath, followLinks);
      try {
        await assertSame(source, checked, modelPath, location);
        return source;
      } catch (error) {
        await source.close();
        throw error;
      }
    },
  };
}

interface CheckedFile {
  readonly dev: number;
  readonly ino: number;
}

async function assertNoLinks(folder: string, location: string, model: string): Promise<CheckedFile> {
  let path = folder;
  const parts = location.split('/');
  for (const [index, part] of parts.entries()) {
    path = join(path, part);
    const found = await lstat(path).catch((cause: unknown) => {
      throw missingOr(ioError(path, cause), model, location);
    });
    if (found.isSymbolicLink()) throw refused(model, location, `"${part}" is a symbolic link`, LINK_HINT);
    if (index < parts.length - 1) continue;
    if (!found.isFile()) throw refused(model, location, 'it is not a regular file');
    if (found.nlink > 1) throw refused(model, location, 'the file has other names (hard links)', LINK_HINT);
    return found;
  }
  throw refused(model, location, 'the path is empty');
}

async function openData(
  path: string,
  location: string,
  model: string,
  followLinks: boolean,
): Promise<FileSource> {
  try {
    return await openFile(path, { noFollow: !followLinks });
  } catch (error) {
    const coded = ioError(path, error);
    if (coded.code === 'E_NOT_A_MODEL') throw refused(model, location, 'it is not a regular file');
    throw missingOr(coded, model, location);
  }
}

async function assertSame(
  source: FileSource,
  checked: CheckedFile | undefined,
  model: string,
  location: string,
): Promise<void> {
  const { dev, ino } = source.identity;
  if (checked !== undefined && (checked.dev !== dev || checked.ino !== ino)) {
    throw refused(model, location, 'the file was replaced while it was opened');
  }
  const self = await lstat(await realpath(model).catch(() => model)).catch(() => undefined);
  if (self !== undefined && self.dev === dev && self.ino === ino) {
    throw refused(model, location, `it is the model file itself (${basename(model)})`);
  }
}

const LINK_HINT =
  'Put the real file in its place. If you trust this folder (a download cache that uses links), set WHITTLE_FOLLOW_SYMLINKS=1.';

function missingOr(error: WhittleError, file: string, location: string): WhittleError {
  return error.code === 'E_NOT_FOUND' ? missing(file, location, error) : error;
}
