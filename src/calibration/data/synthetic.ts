/**
 * No data: inputs made up from their names, types and shapes, seeded. Every sample has other values. They keep a calibration from
 * failing, not from being poor: ranges and importance follow what the inputs look like, and random tokens or pictures look like
 * nothing that the model will see. The data set is marked, and says so.
 */

import { WhittleError } from '../../errors.ts';
import type { RuntimeValueInfo } from '../../runtime/runtime.ts';
import type { DatasetOptions } from './data-spec.ts';
import type { Dataset } from './dataset.ts';
import { NO_HINTS } from './graph-hints.ts';
import { inputScenarios } from './input-shapes.ts';
import { synthesizeValues } from './input-values.ts';
import { sampleLimit } from './rows.ts';

const SYNTHETIC_COST =
  'No data was given: the inputs are made up from their shapes. Activation ranges and importance measured on them are not those of ' +
  'real use; expect a loss that data would avoid, and figures that do not tell the quality on your task. Give data (--data).';

/** @throws WhittleError E_USAGE where `shapes` contradict the model, E_LIMIT; E_ABORTED while it is walked */
export function syntheticDataset(inputs: readonly RuntimeValueInfo[], options: DatasetOptions): Dataset {
  const { hints = NO_HINTS, seed = 1, signal } = options;
  const limit = sampleLimit(options);
  const count = Number.isFinite(limit) ? limit : sampleLimit({});
  const [scenario] = inputScenarios(inputs, hints, options.shapes);
  if (scenario === undefined) throw new WhittleError('E_USAGE', 'no inputs can be made up for this model');
  return {
    count,
    description: `${count} made-up ${count === 1 ? 'input' : 'inputs'} (synthetic)`,
    synthetic: true,
    notes: [SYNTHETIC_COST],
    async *samples() {
      for (let i = 0; i < count; i++) {
        if (signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped');
        yield { inputs: synthesizeValues(inputs, scenario, hints, seed + i) };
      }
    },
  };
}
