/**
 * Judges one result after the other against one original: the original is loaded once, and its answers are kept as far as there
 * is room, since every try of a search asks for the same ones.
 */

import type { Dataset } from '../../calibration/data/dataset.ts';
import type { RunOptions } from '../../core/progress.ts';
import type { Runtime, RuntimeSession, RuntimeTensor } from '../../runtime/runtime.ts';
import { addUp, type DataQuality, type RunSample } from '../../verify/evaluate/on-data.ts';
import { assertComparable, feedsOf } from '../../verify/evaluate/same-interface.ts';
import { findScores } from '../../verify/evaluate/score-rows.ts';

export interface Judge extends AsyncDisposable {
  /** @throws WhittleError as `evaluateOnData` */
  judge(file: string, options: RunOptions): Promise<DataQuality>;
}

/** Answers of the original that are kept rather than computed again, bytes. */
const KEEP_BYTES = 512 * 1024 * 1024;

/** @throws WhittleError E_RUNTIME where the engine refuses the original, E_MISSING_PEER */
export async function createJudge(
  original: string,
  dataset: Dataset,
  { runtime, threads }: { readonly runtime: Runtime; readonly threads?: number | undefined },
): Promise<Judge> {
  const reference = await runtime.load(original, { threads });
  const answers = new Map<number, ReadonlyMap<string, RuntimeTensor>>();
  let room = KEEP_BYTES;
  /** Samples come in the same order in every walk. */
  const answering = (wanted: readonly string[]): RunSample => {
    let next = 0;
    return async (sample) => {
      const index = next++;
      const known = answers.get(index);
      if (known !== undefined && wanted.every((name) => known.has(name))) return known;
      const all = await reference.run(feedsOf(reference.inputs, sample, original));
      const outputs = new Map([...all].filter(([name]) => wanted.includes(name)));
      const bytes = [...outputs.values()].reduce((sum, { data }) => sum + data.length, 0);
      if (bytes <= room) {
        room -= bytes;
        answers.set(index, outputs);
      }
      return outputs;
    };
  };
  return {
    async judge(file, options) {
      const session = await runtime.load(file, { threads });
      try {
        const { outputs } = assertComparable(
          { file, ...interfaceOf(session) },
          { file: original, ...interfaceOf(reference) },
        );
        const scores = findScores(session.outputs);
        return await addUp(dataset, {
          file,
          run: (sample) => session.run(feedsOf(session.inputs, sample, file)),
          original: { file: original, run: answering(outputs) },
          compared: outputs,
          scores,
          options,
        });
      } finally {
        await session.close();
      }
    },
    [Symbol.asyncDispose]: () => reference.close(),
  };
}

function interfaceOf({ inputs, outputs }: RuntimeSession): Pick<RuntimeSession, 'inputs' | 'outputs'> {
  return { inputs, outputs };
}
