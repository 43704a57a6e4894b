/**
 * Samples for calibration and evaluation: the complete inputs of one run of a model, in a fixed, seeded order. A data set may
 * be walked any number of times and gives the same samples each time; it holds one sample at a time in memory where its
 * source allows.
 */

import type { RuntimeTensor } from '../../runtime/runtime.ts';

export interface Sample {
  /** Every input that the model wants: also masks, positions and empty past states. */
  readonly inputs: ReadonlyMap<string, RuntimeTensor>;
  /** Class of each row of the batch, where the data says it. */
  readonly labels?: readonly number[] | undefined;
}

export interface Dataset {
  /** Samples in one walk. */
  readonly count: number;
  /** Source and preparation, for people: "64 × 256 tokens of lm-calib.txt". */
  readonly description: string;
  /** Made up from the input shapes: results are to be marked. */
  readonly synthetic: boolean;
  /** What the user should know. */
  readonly notes: readonly string[];
  samples(): AsyncIterable<Sample>;
}
