/**
 * Reverts the worst layers of a result until what it loses is within a bound, and says which. Layers are ranked (worst
 * first) only where the whole result loses too much; how many of them have to stay as they were is searched, since each try costs a
 * whole quantization and evaluation: doubling from one, then halving the gap, about 2·log₂ n tries for n layers in place of n.
 *
 * The search takes the loss to fall with every layer that is kept. Measured losses are noisy, so that it may end one or two
 * layers off the least; what it returns was measured and is within the bound.
 */

import type { RunOptions } from '../../core/progress.ts';
import { WhittleError } from '../../errors.ts';

export interface RankedLayer {
  readonly weight: string;
  /** Bytes more where it is kept. */
  readonly keepBytes: number;
}

export interface SearchOptions<Result> extends RunOptions {
  /** Asked for where the result with nothing kept, which it gets, loses too much. Worst first. */
  readonly rank: (whole: Result) => Promise<readonly RankedLayer[]>;
  /** The largest loss that is accepted, in the unit of `evaluate`. */
  readonly maxLoss: number;
  /** Makes the result in which these layers stay as they were; undefined where that would be none, as nothing is left to change. */
  readonly make: (kept: readonly string[]) => Promise<Result | undefined>;
  /** What a result loses: 0 where nothing. */
  readonly evaluate: (result: Result) => Promise<number>;
  /** A result that was made and is not the answer. */
  readonly discard?: ((result: Result) => Promise<void>) | undefined;
  readonly onTry?: ((attempt: LossTry) => void) | undefined;
  /** A loss as people read it. */
  readonly format?: ((loss: number) => string) | undefined;
}

export interface LossTry {
  readonly kept: number;
  readonly loss: number;
}

export interface WithinLoss<Result> {
  readonly result: Result;
  readonly loss: number;
  /** Weights that stayed as they were, worst first; empty where nothing had to. */
  readonly kept: readonly RankedLayer[];
  /** Bytes that keeping them costs. */
  readonly keptBytes: number;
  /** Everything that was measured, in its order. */
  readonly tries: readonly LossTry[];
}

/**
 * @throws WhittleError E_VERIFICATION where the loss is too large even with all layers kept; E_USAGE for a bound that is none;
 *   E_NONFINITE where a loss is no number; E_ABORTED; and what the callbacks throw
 */
export async function withinLoss<Result>(options: SearchOptions<Result>): Promise<WithinLoss<Result>> {
  const { maxLoss, rank, make, evaluate, discard, onTry, signal } = options;
  if (!(maxLoss >= 0)) {
    throw new WhittleError('E_USAGE', 'the largest loss must be a number of at least 0', {
      found: String(maxLoss),
    });
  }
  const tries: LossTry[] = [];
  let ranked: readonly RankedLayer[] = [];
  let best: { readonly result: Result; readonly kept: number; readonly loss: number } | undefined;
  const attempt = async (kept: number): Promise<boolean> => {
    if (signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped on request');
    const result = await make(ranked.slice(0, kept).map(({ weight }) => weight));
    if (result === undefined) return false;
    let within = false;
    try {
      const loss = await evaluate(result);
      if (Number.isNaN(loss)) {
        throw new WhittleError('E_NONFINITE', 'the loss of a result is not a number', {
          found: `NaN with ${kept} layers kept`,
        });
      }
      tries.push({ kept, loss });
      onTry?.({ kept, loss });
      within = loss <= maxLoss;
      if (within && (best === undefined || kept < best.kept)) {
        if (best !== undefined) await discard?.(best.result);
        best = { result, kept, loss };
      } else if (kept === 0) ranked = await rank(result);
    } finally {
      if (best?.result !== result) await discard?.(result);
    }
    return within;
  };
  try {
    let low = -1;
    let high = 0;
    while (!(await attempt(high))) {
      if (high === ranked.length) throw tooLarge(ranked.length, tries, options);
      low = high;
      high = Math.min(ranked.length, Math.max(1, 2 * high));
    }
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (await attempt(middle)) high = middle;
      else low = middle;
    }
  } catch (error) {
    if (best !== undefined) await discard?.(best.result);
    throw error;
  }
  if (best === undefined) throw tooLarge(ranked.length, tries, options);
  const kept = ranked.slice(0, best.kept);
  return {
    result: best.result,
    loss: best.loss,
    kept,
    keptBytes: kept.reduce((sum, { keepBytes }) => sum + keepBytes, 0),
    tries,
  };
}

function tooLarge<Result>(
  layers: number,
  tries: readonly LossTry[],
  { maxLoss, format = String }: SearchOptions<Result>,
): WhittleError {
  return new WhittleError('E_VERIFICATION', 'the loss stays too large, whatever layers are kept', {
    expected: `a loss of at most ${format(maxLoss)}`,
    found: `${tries.map(({ kept, loss }) => `${format(loss)} with ${kept} of ${layers} kept`).join(', ')}`,
    hint: 'Use a mode with more bits, or accept a larger loss.',
  });
}
