/**
 * Names of data files that a model may use: the rules that need no file system, and an opener for files that are
 * in memory or were chosen by the user (so nothing here imports Node). siblings.ts adds what the disk must answer.
 */

import { WhittleError } from '../errors.ts';
import { memorySource } from './memory-source.ts';
import type { ByteSource, SiblingOpener } from './source.ts';

/** An opener for data files that are in memory or were chosen by the user: by exact name, nothing else. */
export function siblingsFrom(
  files: ReadonlyMap<string, ByteSource | Uint8Array>,
  modelName = '<memory>',
): SiblingOpener {
  return {
    async open(location) {
      assertLocation(location, modelName);
      const found = files.get(location);
      if (found === undefined) throw missing(modelName, location);
      return found instanceof Uint8Array ? memorySource(found, location) : found;
    },
  };
}

/**
 * The rules that need no file system: they hold for every opener.
 * @throws WhittleError E_EXTERNAL_PATH
 */
export function assertLocation(location: string, file: string): void {
  const reason = locationFault(location);
  if (reason !== undefined) throw refused(file, location, reason);
}

function locationFault(location: string): string | undefined {
  if (location === '') return 'the path is empty';
  if ([...location].some((character) => character < ' ')) return 'the path holds control characters';
  if (location.includes('\\')) return 'the path holds a backslash';
  if (location.startsWith('/')) return 'the path is absolute';
  // A drive letter, a URL scheme, or a Windows data stream ("file:stream").
  if (location.includes(':')) return 'the path holds a colon (drive letter or URL)';
  const parts = location.split('/');
  if (parts.includes('..')) return 'the path leads out of the folder';
  if (parts.some((part) => part === '' || part === '.')) return 'the path has an empty or "." component';
  return undefined;
}

/** The error for a data file that may not be opened. */
export function refused(file: string, location: string, reason: string, hint?: string): WhittleError {
  return new WhittleError('E_EXTERNAL_PATH', `external data is refused: ${reason}`, {
    file,
    expected: "a plain file inside the model's folder, named by a relative path",
    found: JSON.stringify(location),
    hint: hint ?? 'Put the data file beside the model and name it by its bare name.',
  });
}

/** The error for a data file that is not there. */
export function missing(file: string, location: string, cause?: unknown): WhittleError {
  return new WhittleError('E_EXTERNAL_MISSING', 'a data file of the model is missing', {
    file,
    expected: JSON.stringify(location),
    found: 'no such file',
    hint: `Put ${JSON.stringify(location)} beside the model: its weights are in it.`,
    cause,
  });
}
