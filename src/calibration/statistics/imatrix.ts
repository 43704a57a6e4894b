/**
 * Statistics as a llama.cpp importance matrix and back: the sums of squares of each weight's inputs, and the rows that were
 * summed. Weights are matched by name (gguf-names.ts); what has no counterpart is left out and named.
 */

import { WhittleError } from '../../errors.ts';
import type { Imatrix, ImatrixEntry } from '../../formats/gguf/imatrix-types.ts';
import {
  DEFAULT_CHUNK_SIZE,
  type ImatrixContent,
  imatrixContent,
  readImportance,
} from '../../formats/gguf/imatrix-writer.ts';
import type { InputStatistics } from './input-statistics.ts';
import type { StatisticsSet } from './statistics-set.ts';

/**
 * @param names Key of a weight → its name in GGUF.
 * @param chunkSize Tokens of a sample.
 * @throws WhittleError E_UNSUPPORTED where no weight has a name in GGUF
 */
export function toImatrix(
  set: StatisticsSet,
  names: ReadonlyMap<string, string>,
  chunkSize = DEFAULT_CHUNK_SIZE,
): ImatrixContent {
  const entries = [];
  for (const [key, { inputs, groups = 1, squares, rows }] of set.entries) {
    const name = names.get(key);
    if (name === undefined || groups > 1) continue;
    entries.push({
      name,
      columns: inputs,
      matrices: 1,
      sums: Float32Array.from(squares),
      counts: Float32Array.of(rows),
    });
  }
  if (entries.length === 0) {
    throw new WhittleError('E_UNSUPPORTED', 'no weight of the model has a known name in GGUF', {
      expected: 'a decoder like LLaMA: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj',
      found: [...set.entries.keys()].slice(0, 5).join(', '),
    });
  }
  return { entries, datasets: set.datasets, chunks: set.samples, chunkSize };
}

/**
 * The entries that `names` has. The old form tells means only: their sums are then of as many rows as it says chunks and
 * tokens.
 * @throws WhittleError as `readImportance`; E_UNSUPPORTED where nothing matches
 */
export async function fromImatrix(
  imatrix: Imatrix,
  names: ReadonlyMap<string, string>,
): Promise<StatisticsSet> {
  const { chunks, datasets } = await imatrixContent(imatrix);
  const entries = new Map<string, InputStatistics>();
  for (const [key, name] of names) {
    const entry = imatrix.entries.get(name);
    if (entry === undefined || entry.matrices !== 1) continue;
    const means = await readImportance(entry);
    const rows = await rowsOf(entry.counts);
    entries.set(key, {
      inputs: entry.columns,
      rows,
      squares: Float64Array.from(means, (mean) => mean * rows),
    });
  }
  if (entries.size === 0) {
    throw new WhittleError('E_UNSUPPORTED', 'the importance matrix has none of the weights of the model', {
      file: imatrix.file,
      expected: [...names.values()].slice(0, 3).join(', ') || 'names of a decoder like LLaMA',
      found: [...imatrix.entries.keys()].slice(0, 3).join(', '),
    });
  }
  return { entries, datasets, samples: chunks };
}

async function rowsOf(counts: ImatrixEntry['counts']): Promise<number> {
  if (typeof counts === 'number') return Math.max(1, counts);
  const bytes = new Uint8Array(4);
  if (counts.kind === 'inline') bytes.set(counts.bytes.subarray(0, 4));
  else await counts.source.readInto(counts.offset, bytes);
  return Math.max(1, Math.round(new DataView(bytes.buffer).getFloat32(0, true)));
}
