/**
 * Finds the reference data that may stand beside the project (../shared). It is absent on a user's machine: a test that needs
 * it skips itself and says so: `test.skipIf(!sharedPath('golden'))` with `SHARED_ABSENT` in its title or note.
 */

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../shared/', import.meta.url));

export const SHARED_ABSENT = 'reference data (../shared) is not on this machine';

/** Absolute path of a file or folder of the reference data, or undefined where it is absent. */
export function sharedPath(relative: string): string | undefined {
  const path = root + relative;
  return existsSync(path) ? path : undefined;
}
