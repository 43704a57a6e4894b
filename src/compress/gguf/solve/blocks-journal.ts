/**
 * What a run has solved of a GGUF file so far (compress/solve/solved-journal.ts): the blocks of each tensor in a file of their own, and
 * what must be the same for a run that goes on with them: files, data, algorithm, and the type of each tensor.
 */

import { createHash } from 'node:crypto';
import { ownVersion } from '../../../execution/fingerprint.ts';
import type { GgufModel } from '../../../formats/gguf/gguf.ts';
import type { PlannedGguf, PlannedGgufTensor } from '../../../planning/gguf/options.ts';
import { openSolvedFolder, stampOf } from '../../solve/solved-journal.ts';
import type { QuantizeGgufOptions } from '../options.ts';
import { type KeptBlocks, openBlocks, type SolvedBlocks, saveBlocks } from './kept-blocks.ts';

export type BlocksJournal = Awaited<ReturnType<typeof openSolvedFolder<SolvedBlocks, KeptBlocks>>>;

interface BlocksJournalOptions
  extends Pick<QuantizeGgufOptions, 'journal' | 'resume' | 'data' | 'onnx' | 'statistics'> {
  readonly algorithm: string;
  /** What the layers were calibrated on, in words. */
  readonly seen: string;
}

/** Weights below which solving again is no great loss, in bytes of f16; as for the files themselves (execution/execute.ts). */
const WORTH_A_JOURNAL = 64 << 20;

/**
 * What a stopped run of this kind left beside `output`, and where this one keeps what it solves; undefined where that is not worth it.
 * @throws WhittleError E_RESUME where it was another run, E_DATA where what it left is damaged
 */
export async function openBlocksJournal(
  model: GgufModel,
  output: string,
  plan: PlannedGguf,
  wanted: readonly PlannedGgufTensor[],
  options: BlocksJournalOptions,
): Promise<BlocksJournal | undefined> {
  const { journal = 'auto', resume = false, algorithm, seen, data, onnx, statistics } = options;
  const bytes = wanted.reduce((sum, { fromBytes }) => sum + fromBytes, 0);
  if (!resume && journal !== true && (journal === false || bytes < WORTH_A_JOURNAL)) return undefined;
  const given = data !== undefined && 'source' in data ? data : undefined;
  const files = { onnx, statistics, data: typeof given?.source === 'string' ? given.source : undefined };
  const stamps = Object.entries(files).map(
    async ([name, path]) => [`${name} file`, path === undefined ? undefined : await stampOf(path)] as const,
  );
  const types = wanted.map(({ name, to }) => `${name} ${to}`).join('\n');
  const run = {
    version: ownVersion(),
    model: await Promise.all(model.sources.map(({ name }) => stampOf(name))),
    type: plan.name,
    tensors: createHash('sha256').update(types).digest('hex'),
    algorithm,
    data: seen,
    ...(given !== undefined && { settings: { ...given, source: undefined } }),
    ...Object.fromEntries(await Promise.all(stamps)),
  };
  return openSolvedFolder(output, run, resume, { save: saveBlocks, open: openBlocks });
}
