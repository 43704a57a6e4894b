/**
 * One number for what a result loses against its original, 0 where nothing, in the measure that the data allows: accuracy where
 * there are labels, perplexity for a language model, else the error of the outputs. KL divergence on request: it is the least noisy
 * of all, but few people know how much of it they can bear.
 */

import { WhittleError } from '../../errors.ts';
import type { DataQuality } from '../../verify/evaluate/on-data.ts';
import { LOSS_MEASURES, LOSS_NAMES, type LossMeasure } from './names.ts';

export interface Loss {
  readonly measure: LossMeasure;
  /** In the unit of the measure; below 0 where the result is better than its original. */
  readonly loss: number;
  /** What the loss is the difference of: share of labels that rank first, or perplexity. */
  readonly original?: number | undefined;
  readonly result?: number | undefined;
}

/** The measure that people ask for, of those that the data allows. */
export function naturalMeasure({ scores }: DataQuality): LossMeasure {
  if (scores?.result?.accuracy !== undefined) return 'accuracy';
  return scores?.result?.perplexity !== undefined ? 'perplexity' : 'error';
}

/** @throws WhittleError E_USAGE where the data does not tell what is asked for */
export function lossOf(quality: DataQuality, measure: LossMeasure): Loss {
  const { scores, sqnr } = quality;
  const [original, result] = [scores?.original, scores?.result];
  switch (measure) {
    case 'accuracy':
      if (original?.accuracy === undefined || result?.accuracy === undefined) throw unknown(measure, quality);
      return {
        measure,
        loss: 100 * (original.accuracy - result.accuracy),
        original: original.accuracy,
        result: result.accuracy,
      };
    case 'perplexity':
      if (original?.perplexity === undefined || result?.perplexity === undefined)
        throw unknown(measure, quality);
      return {
        measure,
        loss: 100 * (result.perplexity / original.perplexity - 1),
        original: original.perplexity,
        result: result.perplexity,
      };
    case 'kl':
      if (scores?.distance === undefined) throw unknown(measure, quality);
      return { measure, loss: scores.distance.klDivergence };
    case 'error':
      if (sqnr === undefined) throw unknown(measure, quality);
      return { measure, loss: 100 * 10 ** (-sqnr / 20) };
    default:
      return measure satisfies never;
  }
}

const NEEDS = {
  accuracy: 'a label for each row of the data, and an output with a score for each class',
  perplexity: 'token ids as input_ids, and an output with a score for each token of the vocabulary',
  kl: 'an output with scores (of classes or tokens)',
  error: 'an output of numbers',
} as const satisfies Record<LossMeasure, string>;

function unknown(measure: LossMeasure, quality: DataQuality): WhittleError {
  const known = LOSS_NAMES.filter((name) => isKnown(quality, name));
  return new WhittleError('E_USAGE', `this model and this data do not tell ${measure}`, {
    expected: NEEDS[measure],
    found: quality.scores === undefined ? 'no output with scores' : `scores in ${quality.scores.output}`,
    ...(known.length > 0 && { hint: `They tell ${known.join(', ')} (--loss).` }),
  });
}

function isKnown({ scores, sqnr }: DataQuality, measure: LossMeasure): boolean {
  switch (measure) {
    case 'accuracy':
      return scores?.result?.accuracy !== undefined;
    case 'perplexity':
      return scores?.result?.perplexity !== undefined;
    case 'kl':
      return scores?.distance !== undefined;
    default:
      return sqnr !== undefined;
  }
}

/** "0.42 points", "1.3 %", "0.0021 nats" */
export function formatLoss(loss: number, measure: LossMeasure): string {
  return `${Number(loss.toPrecision(3))} ${LOSS_MEASURES[measure].unit}`;
}
