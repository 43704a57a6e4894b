/**
 * The blocks that were chosen for one tensor, as a safetensors file: `blocks` uint8, and `whittle.blocks`, UTF-8 JSON that says whose they
 * are and how they were made. A run that is stopped keeps one for each tensor (compress/solve/solved-journal.ts).
 */

import { decodeText, isRecord, parseJsonText } from '../../../calibration/data/read-text.ts';
import { readSafetensors } from '../../../calibration/data/safetensors.ts';
import { elementCount } from '../../../core/shape.ts';
import { WhittleError } from '../../../errors.ts';
import { writeSafetensors } from '../../../formats/safetensors/writer.ts';
import { openFile } from '../../../io/file-source.ts';
import type { LayerReport } from '../../solve/solve.ts';

interface AboutBlocks {
  /** Name in the GGUF file. */
  readonly tensor: string;
  readonly type: string;
  readonly report: LayerReport;
}

export interface SolvedBlocks extends AboutBlocks {
  readonly blocks: Uint8Array;
}

export interface KeptBlocks extends AboutBlocks {
  readonly file: string;
  /** @throws WhittleError E_DATA where there is another number of bytes */
  read(length: number): Promise<Uint8Array>;
}

const HEAD = 'whittle.blocks';
const BLOCKS = 'blocks';

/** @throws WhittleError E_NOT_FOUND, E_ACCESS, E_NO_SPACE, E_IO */
export async function saveBlocks(
  path: string,
  { blocks, tensor, type, report }: SolvedBlocks,
): Promise<void> {
  const head = new TextEncoder().encode(JSON.stringify({ tensor, type, report }));
  await writeSafetensors(
    path,
    [
      { name: HEAD, dtype: 'U8', shape: [head.length], bytes: () => head },
      { name: BLOCKS, dtype: 'U8', shape: [blocks.length], bytes: () => blocks },
    ],
    { force: true },
  );
}

/** @throws WhittleError E_DATA where it is no such file, and as `readSafetensors` */
export async function openBlocks(file: string): Promise<KeptBlocks> {
  const arrays = await readSafetensors(file);
  const read = async (name: string): Promise<Uint8Array> => {
    const stored = arrays.get(name);
    if (stored?.dtype !== 'uint8') throw damaged(file, name);
    const source = await openFile(file);
    try {
      const bytes = new Uint8Array(elementCount(stored.shape) ?? 0);
      await source.readInto(stored.offset, bytes);
      return bytes;
    } finally {
      await source.close();
    }
  };
  const head = parseJsonText(decodeText(await read(HEAD), file), file, HEAD);
  if (!isRecord(head)) throw damaged(file, HEAD);
  const { tensor, type } = head;
  const report = reportOf(head.report);
  if (typeof tensor !== 'string' || typeof type !== 'string' || report === undefined)
    throw damaged(file, HEAD);
  return {
    ...{ file, tensor, type, report },
    async read(length) {
      const blocks = await read(BLOCKS);
      if (blocks.length !== length) throw damaged(file, BLOCKS);
      return blocks;
    },
  };
}

function reportOf(told: unknown): LayerReport | undefined {
  if (!isRecord(told)) return undefined;
  const { layer, algorithm, bits, groupSize } = told;
  if (typeof layer !== 'string' || typeof algorithm !== 'string') return undefined;
  if (typeof bits !== 'number' || typeof groupSize !== 'number') return undefined;
  const number = (value: unknown): number | undefined => (typeof value === 'number' ? value : undefined);
  return {
    ...{ layer, algorithm, bits, groupSize },
    // JSON has no Infinity: what cannot be a share is told as null.
    errorBefore: number(told.errorBefore) ?? Number.POSITIVE_INFINITY,
    errorAfter: number(told.errorAfter) ?? Number.POSITIVE_INFINITY,
    damping: number(told.damping),
    deadInputs: number(told.deadInputs),
    rows: number(told.rows),
  };
}

function damaged(file: string, tensor: string): WhittleError {
  return new WhittleError('E_DATA', 'the blocks that a stopped run kept cannot be read', {
    file,
    tensor,
    hint: 'Start anew without --resume.',
  });
}
