/**
 * Percentile observer (docs/onnx.md 3.7): leaves out the outermost values. Symmetric (default): the histogram of |x| with 2048
 * bins is cut at the first edge whose cumulated share reaches p, range (−e, e); else the histogram of x loses
 * (100 − p) / 2 % on each side. Both are then cut at what was observed.
 */

import { WhittleError } from '../../errors.ts';
import type { ValueRange } from '../../numerics/affine.ts';
import { searchSorted } from './numpy-arithmetic.ts';
import { type Extent, type RangeObserver, withinObserved } from './observer.ts';
import { CentredHistogram, MagnitudeHistogram } from './value-histogram.ts';

export interface PercentileOptions {
  /** 0 to 100. Default 99.999. */
  readonly percentile?: number | undefined;
  /** Default 2048. */
  readonly bins?: number | undefined;
  readonly symmetric?: boolean | undefined;
}

export class PercentileObserver implements RangeObserver {
  readonly #percentile: number;
  readonly #symmetric: boolean;
  readonly #histogram: CentredHistogram | MagnitudeHistogram;

  constructor(options: PercentileOptions = {}) {
    const { percentile = 99.999, bins = 2048, symmetric = true } = options;
    if (!(percentile >= 0 && percentile <= 100)) {
      throw new WhittleError('E_USAGE', 'a percentile lies between 0 and 100', { found: String(percentile) });
    }
    this.#percentile = percentile;
    this.#symmetric = symmetric;
    this.#histogram = symmetric ? new MagnitudeHistogram(bins) : new CentredHistogram(bins);
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
    const total = counts.reduce((sum, count) => sum + count, 0);
    let cumulated = 0;
    const shares = counts.map((count) => {
      cumulated += count / total;
      return cumulated;
    });
    const edge = (share: number): number => edges[searchSorted(shares, share)] ?? edges[edges.length - 1]!;
    if (this.#symmetric) {
      const bound = edge(this.#percentile / 100);
      return withinObserved({ min: -bound, max: bound }, observed);
    }
    const cut = (100 - this.#percentile) / 200;
    return withinObserved({ min: edge(cut), max: edge(1 - cut) }, observed);
  }
}
