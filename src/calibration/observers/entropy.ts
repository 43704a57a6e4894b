/**
 * Entropy observer (docs/onnx.md 3.7; Migacz 2017, "8-bit inference with TensorRT"): the window around zero for which the
 * distribution, quantized to 128 bins, loses the least information, measured by KL(P ‖ Q).
 *
 * For each half width i: P = the counts in the window with everything outside folded into the end bins; Q = the counts
 * merged to `quantizedBins` bins and spread back over the non-empty slots as whole numbers; empty slots get 1e-4 of
 * smoothing on both sides. The first window with the smallest divergence wins; its edges are cut at what was observed.
 * With the default 128 bins and a single batch there is one candidate only: the result is plain min-max.
 */

import { WhittleError } from '../../errors.ts';
import type { ValueRange } from '../../numerics/affine.ts';
import { pairwiseSum } from './numpy-arithmetic.ts';
import { type Extent, type RangeObserver, withinObserved } from './observer.ts';
import { CentredHistogram } from './value-histogram.ts';

export interface EntropyOptions {
  /** Default 128. */
  readonly bins?: number | undefined;
  /** Default 128. */
  readonly quantizedBins?: number | undefined;
}

const f = Math.fround;
const SMOOTHING = 0.0001;

export class EntropyObserver implements RangeObserver {
  readonly #quantizedBins: number;
  readonly #histogram: CentredHistogram;

  constructor(options: EntropyOptions = {}) {
    const { bins = 128, quantizedBins = 128 } = options;
    if (
      !(
        Number.isInteger(bins) &&
        Number.isInteger(quantizedBins) &&
        quantizedBins >= 2 &&
        bins >= quantizedBins
      )
    ) {
      throw new WhittleError(
        'E_USAGE',
        'the entropy observer needs at least as many bins as quantized bins',
        {
          found: `bins ${bins}, quantizedBins ${quantizedBins}`,
        },
      );
    }
    this.#quantizedBins = quantizedBins;
    this.#histogram = new CentredHistogram(bins);
  }

  prepare(whole: Extent): void {
    this.#histogram.prepare(whole);
  }

  observe(values: Float32Array): void {
    this.#histogram.add(values);
  }

  range(): ValueRange {
    const histogram = this.#histogram.current;
    if (histogram === undefined) return { min: 0, max: 0 };
    const { counts, edges, observed } = histogram;
    const centre = Math.floor(counts.length / 2);
    const cumulated = new Float64Array(counts.length + 1);
    counts.forEach((count, i) => {
      cumulated[i + 1] = cumulated[i]! + count;
    });
    const scratch: Scratch = {
      p: new Float32Array(counts.length),
      q: new Float32Array(counts.length),
      terms: new Float32Array(counts.length),
    };
    let best = Number.POSITIVE_INFINITY;
    let window: ValueRange | undefined;
    for (let half = Math.floor(this.#quantizedBins / 2); half <= centre; half++) {
      const start = centre - half;
      const end = Math.min(centre + half + 1, counts.length);
      const divergence = windowDivergence(counts, cumulated, start, end, this.#quantizedBins, scratch);
      if (window === undefined || divergence < best) {
        best = divergence;
        window = { min: edges[start]!, max: edges[end]! };
      }
    }
    return withinObserved(window ?? observed, observed);
  }
}

/** Buffers of the longest window, so that the search allocates little. */
interface Scratch {
  readonly p: Float32Array;
  readonly q: Float32Array;
  readonly terms: Float32Array;
}

/** KL(P ‖ Q) of the window [start, end), in f32 as the original computes it. */
function windowDivergence(
  counts: Float64Array,
  cumulated: Float64Array,
  start: number,
  end: number,
  quantizedBins: number,
  scratch: Scratch,
): number {
  const size = end - start;
  const p = counts.slice(start, end);
  p[0]! += cumulated[start]!;
  p[size - 1]! += cumulated[counts.length]! - cumulated[end]!;
  const merged = Math.floor(size / quantizedBins);
  const q = new Float64Array(size);
  for (let bin = 0; bin < quantizedBins; bin++) {
    const from = bin * merged;
    const to = from + merged;
    let occupied = 0;
    for (let i = from; i < to; i++) if (p[i] !== 0) occupied++;
    if (occupied === 0) continue;
    // The last bin takes the remainder's counts, but is spread over its own slots only.
    const upTo = bin === quantizedBins - 1 ? end : start + to;
    q.fill(Math.trunc((cumulated[upTo]! - cumulated[start + from]!) / occupied), from, to);
  }
  if (!smooth(p, scratch.p) || !smooth(q, scratch.q)) return Number.POSITIVE_INFINITY;
  const totalP = pairwiseSum(scratch.p, 0, size);
  const totalQ = pairwiseSum(scratch.q, 0, size);
  let [lastP, lastQ, term] = [Number.NaN, Number.NaN, 0];
  for (let i = 0; i < size; i++) {
    const countP = scratch.p[i]!;
    const countQ = scratch.q[i]!;
    // Runs of empty slots repeat the same pair.
    if (countP !== lastP || countQ !== lastQ) {
      const share = f(countP / totalP);
      const other = f(countQ / totalQ);
      term = share > 0 && other > 0 ? share * f(Math.log(f(share / other))) : Number.POSITIVE_INFINITY;
      lastP = countP;
      lastQ = countQ;
    }
    scratch.terms[i] = term;
  }
  return pairwiseSum(scratch.terms, 0, size);
}

/** Empty slots get 1e-4, taken from the others in equal parts; false where all are empty. */
function smooth(counts: Float64Array, target: Float32Array): boolean {
  let occupied = 0;
  for (let i = 0; i < counts.length; i++) if (counts[i] !== 0) occupied++;
  if (occupied === 0) return false;
  const taken = f((SMOOTHING * (counts.length - occupied)) / occupied);
  const added = f(SMOOTHING);
  for (let i = 0; i < counts.length; i++) {
    const count = counts[i]!;
    target[i] = count === 0 ? added : f(count) - taken;
  }
  return true;
}
