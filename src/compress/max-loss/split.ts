/**
 * Two data sets out of one: what is calibrated on must not be what is judged on, since an algorithm fits the rows it has seen and
 * the loss on them flatters. The held-out samples are spread evenly over the data, as its neighbours are alike.
 */

import type { Dataset } from '../../calibration/data/dataset.ts';
import { WhittleError } from '../../errors.ts';

export interface SplitDataset {
  readonly calibration: Dataset;
  readonly evaluation: Dataset;
}

/**
 * @param held - samples for the evaluation; the others are for calibration, at least one
 * @throws WhittleError E_EMPTY where there are fewer than two samples
 */
export function splitDataset(dataset: Dataset, held: number): SplitDataset {
  const { count } = dataset;
  if (count < 2) {
    throw new WhittleError('E_EMPTY', 'one sample cannot be calibrated on and judged on', {
      expected: 'at least two samples',
      found: dataset.description,
      hint: 'Give more data, or other data to judge on (--evaluate-data).',
    });
  }
  const size = Math.min(Math.max(1, held), count - 1);
  // Sample i is held out where the line from 0 to `size` passes a whole number.
  const isHeld = (index: number): boolean =>
    Math.floor(((index + 1) * size) / count) > Math.floor((index * size) / count);
  return {
    calibration: part(dataset, count - size, (index) => !isHeld(index), 'to calibrate on'),
    evaluation: part(dataset, size, isHeld, 'held out'),
  };
}

function part(dataset: Dataset, count: number, takes: (index: number) => boolean, purpose: string): Dataset {
  return {
    count,
    description: `${count} of ${dataset.count} samples, ${purpose}: ${dataset.description}`,
    synthetic: dataset.synthetic,
    notes: dataset.notes,
    async *samples() {
      let index = 0;
      for await (const sample of dataset.samples()) if (takes(index++)) yield sample;
    },
  };
}
