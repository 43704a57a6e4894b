/**
 * Makes folders. Node's own `mkdir(path, { recursive: true })` never returns where the system answers ENOENT below a folder
 * that exists (/proc, and drives that went away), so the missing folders are made one by one, from the first that is missing.
 */

import { mkdir, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { diskError } from './disk.ts';

/** Makes `path` and what is missing above it; does nothing where it is there. @throws WhittleError E_IO, E_… as `diskError` */
export async function makeFolder(path: string): Promise<void> {
  const missing: string[] = [];
  for (let at = resolve(path); !(await isFolder(at)); at = dirname(at)) {
    missing.push(at);
    if (dirname(at) === at) break;
  }
  for (const folder of missing.reverse()) {
    try {
      await mkdir(folder);
    } catch (error) {
      // Another process may have made it meanwhile.
      if (!(await isFolder(folder))) throw diskError(error, 'make the output folder', { file: path });
    }
  }
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}
