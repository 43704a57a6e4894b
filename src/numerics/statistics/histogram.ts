/**
 * A histogram that streams: bins are 2^e wide and start at whole multiples of 2^e, and e only ever grows (neighbours are
 * then added in pairs). Since ⌊⌊x / 2^e⌋ / 2⌋ = ⌊x / 2^(e+1)⌋ holds exactly and e follows from the smallest and the
 * largest value alone, the counts do not depend on how the values were cut into chunks, nor on the order of merging.
 */

import { floorLog2 } from '../../core/floats.ts';
import { type Kernels, referenceKernels } from '../../kernels/index.ts';

/** Counts of equally wide bins: bin i holds low + i·width ≤ x < low + (i+1)·width. */
export interface Histogram {
  readonly low: number;
  readonly width: number;
  readonly counts: readonly number[];
}

/** Smallest exponent of a bin width: that of the smallest f32. */
const SMALLEST_EXPONENT = -149;
/** An f32 has 24 significant bits: narrower bins than 2^−24 of the largest magnitude tell nothing apart. */
const SIGNIFICANT_BITS = 24;

export class StreamingHistogram {
  readonly capacity: number;
  #exponent = SMALLEST_EXPONENT;
  /** Index of the first bin in units of the width. */
  #first = 0;
  #counts: Float64Array<ArrayBuffer>;
  #used = 0;

  readonly #kernels: Kernels;

  /** `capacity` of at least 2, since no bin crosses zero. */
  constructor(capacity = 4096, kernels: Kernels = referenceKernels()) {
    this.capacity = Math.max(2, capacity);
    this.#kernels = kernels;
    this.#counts = new Float64Array(this.capacity);
  }

  /** What `result` told goes on where it was. The width must be a power of 2, and `low` a multiple of it. */
  static of({ low, width, counts }: Histogram, capacity?: number): StreamingHistogram {
    const histogram = new StreamingHistogram(Math.max(capacity ?? 0, counts.length));
    if (counts.length === 0) return histogram;
    histogram.#exponent = Math.round(Math.log2(width));
    histogram.#first = Math.round(low / width);
    histogram.#used = counts.length;
    histogram.#counts.set(counts);
    return histogram;
  }

  /** Adds the finite values, which lie within [min, max]. */
  add(values: Float32Array, min: number, max: number): void {
    if (!(min <= max)) return;
    this.#cover(min, max);
    const added = new Uint32Array(this.#used);
    this.#kernels.binCounts(values, 2 ** -this.#exponent, this.#first, added);
    for (let i = 0; i < added.length; i++) this.#counts[i]! += added[i]!;
  }

  merge(other: StreamingHistogram): void {
    if (other.#used === 0) return;
    this.#coverBins(other.#exponent, other.#first, other.#first + other.#used - 1);
    const shift = 2 ** (this.#exponent - other.#exponent);
    for (let i = 0; i < other.#used; i++) {
      const bin = Math.floor((other.#first + i) / shift) - this.#first;
      this.#counts[bin]! += other.#counts[i]!;
    }
  }

  /** At most `bins` bins, first to last occupied. */
  result(bins = this.capacity): Histogram {
    if (this.#used === 0) return { low: 0, width: 0, counts: [] };
    let exponent = this.#exponent;
    let first = this.#first;
    let counts = Array.from(this.#counts.subarray(0, this.#used));
    while (counts.length > Math.max(1, bins)) {
      const paired: number[] = [];
      const next = Math.floor(first / 2);
      counts.forEach((count, i) => {
        const bin = Math.floor((first + i) / 2) - next;
        paired[bin] = (paired[bin] ?? 0) + count;
      });
      // Two bins on both sides of an even boundary never become one: zero stays an edge.
      if (paired.length === counts.length) break;
      counts = paired;
      first = next;
      exponent++;
    }
    return { low: first * 2 ** exponent, width: 2 ** exponent, counts };
  }

  #cover(min: number, max: number): void {
    const absmax = Math.max(Math.abs(min), Math.abs(max));
    const exponent = Math.max(
      this.#exponent,
      absmax === 0 ? SMALLEST_EXPONENT : floorLog2(absmax) - SIGNIFICANT_BITS,
      SMALLEST_EXPONENT,
    );
    const inverse = 2 ** -exponent;
    this.#coverBins(exponent, Math.floor(min * inverse), Math.floor(max * inverse));
  }

  /** Makes room for the bins first…last of width 2^exponent, widening the bins until all fit. */
  #coverBins(exponent: number, first: number, last: number): void {
    let e = Math.max(exponent, this.#exponent);
    const scale = 2 ** (e - exponent);
    let low = Math.floor(first / scale);
    let high = Math.floor(last / scale);
    if (this.#used > 0) {
      const own = 2 ** (e - this.#exponent);
      low = Math.min(low, Math.floor(this.#first / own));
      high = Math.max(high, Math.floor((this.#first + this.#used - 1) / own));
    }
    while (high - low + 1 > this.capacity) {
      low = Math.floor(low / 2);
      high = Math.floor(high / 2);
      e++;
    }
    if (e === this.#exponent && low === this.#first && high - low + 1 === this.#used) return;
    const counts = new Float64Array(this.capacity);
    const shift = 2 ** (e - this.#exponent);
    for (let i = 0; i < this.#used; i++) {
      counts[Math.floor((this.#first + i) / shift) - low]! += this.#counts[i]!;
    }
    this.#counts = counts;
    this.#exponent = e;
    this.#first = low;
    this.#used = high - low + 1;
  }
}
