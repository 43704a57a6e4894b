/**
 * Finished temporary files under their final bare names, in a folder that exists only while somebody looks at them: a
 * model finds its data files by bare name, so a runtime can load it before it appears. The links are hard links, which
 * cost nothing; on a file system without them the files are copied.
 */

import { copyFile, link, mkdir, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { AtomicFile } from './atomic-file.ts';
import { diskError } from './disk.ts';

let counter = 0;

/** `outputs`: the files of each output, model first; `look` gets the paths in the same order. */
export async function withLinkedFiles(
  outputs: readonly (readonly AtomicFile[])[],
  look: (paths: readonly (readonly string[])[]) => Promise<void>,
): Promise<void> {
  const folders: string[] = [];
  try {
    const paths: string[][] = [];
    for (const files of outputs) {
      const [model] = files;
      if (model === undefined) {
        paths.push([]);
        continue;
      }
      const name = `.${basename(model.finalPath)}.${process.pid}-${counter++}.proof`;
      const folder = join(dirname(model.finalPath), name);
      folders.push(folder);
      paths.push(await linkAll(files, folder));
    }
    await look(paths);
  } finally {
    for (const folder of folders) await rm(folder, { recursive: true, force: true });
  }
}

async function linkAll(files: readonly AtomicFile[], folder: string): Promise<string[]> {
  const linked: string[] = [];
  try {
    await mkdir(folder);
    for (const file of files) {
      const path = join(folder, basename(file.finalPath));
      await link(file.temporary, path).catch(() => copyFile(file.temporary, path));
      linked.push(path);
    }
  } catch (error) {
    throw diskError(error, 'make the files ready for the proof', { file: folder });
  }
  return linked;
}
