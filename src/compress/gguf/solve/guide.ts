/** Sums of squares that are in memory, as an importance matrix for the planner and the encoders. */

import type { Imatrix, ImatrixEntry } from '../../../formats/gguf/imatrix-types.ts';
import type { ImatrixContent } from '../../../formats/gguf/imatrix-writer.ts';
import type { TensorBytes } from '../../../formats/layout.ts';

/** @param name - what the output's metadata call its source */
export function statisticsImatrix(
  { entries, datasets, chunks, chunkSize }: ImatrixContent,
  name: string,
): Imatrix {
  return {
    file: name,
    form: 'gguf',
    entries: new Map(
      entries.map((entry): [string, ImatrixEntry] => [
        entry.name,
        {
          name: entry.name,
          columns: entry.columns,
          matrices: entry.matrices,
          values: inline(entry.sums),
          counts: inline(entry.counts),
        },
      ]),
    ),
    datasets,
    chunks,
    chunkSize,
    close: async () => {},
  };
}

function inline(values: Float32Array | TensorBytes): TensorBytes {
  if (!(values instanceof Float32Array)) return values;
  return { kind: 'inline', bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) };
}
