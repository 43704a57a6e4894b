/** A part of a data set, held in memory: what is run once for every layer. */

import type { Dataset, Sample } from '../calibration/data/dataset.ts';

/**
 * `count` samples spread evenly over the data set, since neighbours are alike (windows of one text, rows of one class). They
 * are the same objects in every walk.
 */
export async function partOf(dataset: Dataset, count: number): Promise<Dataset> {
  const wanted = Math.min(count, dataset.count);
  const taken: Sample[] = [];
  let index = 0;
  for await (const sample of dataset.samples()) {
    if (taken.length < wanted && Math.floor((taken.length * dataset.count) / wanted) === index)
      taken.push(sample);
    index++;
    if (taken.length === wanted) break;
  }
  return {
    count: taken.length,
    description: `${taken.length} of ${dataset.count} samples: ${dataset.description}`,
    synthetic: dataset.synthetic,
    notes: dataset.notes,
    async *samples() {
      yield* taken;
    },
  };
}
