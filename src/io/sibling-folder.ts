/**
 * Opens files beside a given one whose names follow from its own (parts of a split model). Links are followed: download
 * caches are made of them, and the names do not come from a file's contents. For names that do, see siblings.ts.
 */

import { basename, dirname, join } from 'node:path';
import { openFile } from './file-source.ts';
import type { SiblingOpener } from './source.ts';

/** An opener for bare names in the folder of `path`. */
export function siblingFolder(path: string): SiblingOpener {
  return { open: (name) => openFile(join(dirname(path), basename(name))) };
}
