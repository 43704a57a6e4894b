/**
 * Keeps the parts of solved weights until the files are written: in memory up to a limit, then in temporary files, one for each
 * weight. The files' time of change is fixed, so that a run that is resumed, and solves to the same bytes, finds the same inputs.
 */

import { mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Segment } from '../../formats/layout.ts';
import { type FileSource, ioError, openFile } from '../../io/file-source.ts';
import type { PartRole } from '../../numerics/operation.ts';

export interface Spool extends AsyncDisposable {
  /** Segments with the bytes of each part; where they go is not said yet (offset 0). */
  keep(parts: ReadonlyMap<PartRole, Uint8Array>): Promise<Map<PartRole, Segment>>;
}

/** Parts that are held in memory; more go to files. Bytes. */
const HELD_BYTES = 256 << 20;

/** Dispose of it when the files are written. */
export function createSpool(heldBytes = HELD_BYTES): Spool {
  const sources: FileSource[] = [];
  let held = 0;
  let folder: string | undefined;
  return {
    async keep(parts) {
      const size = [...parts.values()].reduce((sum, { length }) => sum + length, 0);
      if (held + size <= heldBytes) {
        held += size;
        return new Map([...parts].map(([role, bytes]) => [role, { kind: 'bytes', offset: 0, bytes }]));
      }
      folder ??= await mkdtemp(join(tmpdir(), 'whittle-solved-'));
      const path = join(folder, `${sources.length}.parts`);
      try {
        await writeFile(path, parts.values());
        await utimes(path, 0, 0);
      } catch (cause) {
        throw ioError(path, cause);
      }
      const source = await openFile(path);
      sources.push(source);
      const segments = new Map<PartRole, Segment>();
      let sourceOffset = 0;
      for (const [role, { length }] of parts) {
        segments.set(role, { kind: 'copy', offset: 0, length, source, sourceOffset });
        sourceOffset += length;
      }
      return segments;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(sources.map((source) => source.close()));
      if (folder !== undefined) await rm(folder, { recursive: true, force: true });
    },
  };
}
