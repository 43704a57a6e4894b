/**
 * The search for a sub-block's scale and points, as ggml does it: scales around a first guess are tried; for each, every
 * group of values is rounded to a word and, where no point of the book has that word, to the neighbour with the least weighted
 * error (weights: square roots); the scale whose points give the largest (Σ w·x·q)² / Σ w·q² wins and is fitted to them.
 *
 * Arithmetic is f32, one operation after the other, sums from the first value on. Errors beyond f32 (values
 * from about 1e13 on, 1e15 with importance) have no defined result in ggml, which stops; here the first neighbour then stands.
 */

import type { Neighbours } from '../codebooks/neighbours.ts';
import { fittedScale } from './fitted-scale.ts';
import type { LatticeForm } from './forms.ts';
import { levelOf } from './rounding.ts';

const f = Math.fround;
const LARGEST = f(3.4028234663852886e38);

/** What a sub-block is encoded to. */
export interface SubBlock {
  /** False for one that is stored as zeros. */
  readonly filled: boolean;
  /** ≥ 0. */
  readonly scale: number;
  /** Words of the points, one for each group. */
  readonly words: Int32Array;
  /** Signs of eight values each, bit i set where value i is negative; seven bits where the eighth follows. */
  readonly signs: Uint8Array;
}

/**
 * @returns a function that encodes the sub-block at `start` of a block; what it returns is overwritten by the next call.
 *   `spread`: the form's multiple of the block's mean square
 */
export function createSearch(
  form: LatticeForm,
  { places, lists }: Neighbours,
): (block: Float32Array, importance: Float32Array | undefined, start: number, spread: number) => SubBlock {
  const { book, subBlock, steps, step, evenSigns, plain, least, guess, refine } = form;
  const { dimensions, bits, words: points } = book;
  const groups = subBlock / dimensions;
  const last = book.levels.length - 1;
  const mask = (1 << bits) - 1;
  /** The code of the largest level; of three 2-bit levels 5, of eight 15. */
  const top = 2 * last + 1;

  const x = new Float32Array(subBlock);
  const w = new Float32Array(subBlock);
  const rootOfWeight = new Float32Array(subBlock);
  const best = new Int32Array(groups);
  const tried = new Int32Array(groups);
  const onGrid = new Uint8Array(groups);
  const triedOnGrid = new Uint8Array(groups);
  const signs = new Uint8Array(subBlock / 8);

  function setWeights(
    block: Float32Array,
    importance: Float32Array | undefined,
    start: number,
    spread: number,
  ): void {
    for (let i = 0; i < subBlock; i++) {
      const value = block[start + i]!;
      const square = f(value * value);
      if (importance !== undefined) w[i] = importance[start + i]! * f(Math.sqrt(f(spread + square)));
      else w[i] = plain === 'square' ? square : f(0.25 * spread) + square;
      rootOfWeight[i] = Math.sqrt(w[i]!);
    }
  }

  function setMagnitudes(block: Float32Array, start: number): void {
    for (let k = 0; k < subBlock / 8; k++) {
      let negative = 0;
      let odd = false;
      for (let i = 8 * k; i < 8 * k + 8; i++) {
        const value = block[start + i]!;
        x[i] = value;
        if (value >= 0) continue;
        x[i] = -value;
        negative |= 1 << (i - 8 * k);
        odd = !odd;
      }
      if (evenSigns && odd) {
        const flipped = cheapest(block, start, 8 * k);
        x[flipped] = -x[flipped]!;
        negative ^= 1 << (flipped - 8 * k);
      }
      signs[k] = evenSigns ? negative & 127 : negative;
    }
  }

  /** Of eight values from `first` on, the one that weighs least. */
  function cheapest(block: Float32Array, start: number, first: number): number {
    let found = first;
    let min = Number.POSITIVE_INFINITY;
    for (let i = first; i < first + 8; i++) {
      const value = block[start + i]!;
      const cost = f(f(w[i]! * value) * value);
      if (i === first || cost < min) {
        min = cost;
        found = i;
      }
    }
    return found;
  }

  function largest(): number {
    let max = x[0]!;
    for (let i = 1; i < subBlock; i++) if (!(max > x[i]!)) max = x[i]!;
    return max;
  }

  /** Word of group `k` at a scale; not necessarily a point's. */
  function round(k: number, inverse: number): number {
    let word = 0;
    for (let i = 0; i < dimensions; i++) {
      word |= levelOf(x[k * dimensions + i]!, inverse, last) << (bits * i);
    }
    return word;
  }

  /** The word itself where a point has it, else the best neighbour's. */
  function snap(k: number, word: number, scale: number): number {
    const place = places[word]!;
    if (place >= 0) return word;
    const list = -1 - place;
    const first = k * dimensions;
    let least = LARGEST;
    let found = lists[list + 1]!;
    for (let j = list + 1; j <= list + lists[list]!; j++) {
      const point = points[lists[j]!]!;
      let error = 0;
      for (let i = 0; i < dimensions; i++) {
        const q = 2 * ((point >> (bits * i)) & mask) + 1;
        const d = f(f(scale * q) - x[first + i]!);
        error = f(error + f(f(rootOfWeight[first + i]! * d) * d));
      }
      if (error < least) {
        least = error;
        found = lists[j]!;
      }
    }
    return points[found]!;
  }

  let product = 0;
  let square = 0;
  /** Σ w·x·q and Σ w·q² over the sub-block. */
  function sum(words: Int32Array): void {
    product = 0;
    square = 0;
    for (let i = 0; i < subBlock; i++) {
      const word = words[Math.floor(i / dimensions)]!;
      const q = 2 * ((word >> (bits * (i % dimensions))) & mask) + 1;
      product = f(product + f(f(w[i]! * x[i]!) * q));
      square = f(square + f(f(w[i]! * q) * q));
    }
  }

  /** Tries all scales; leaves the best points in `best` and `onGrid`. */
  function searchScale(reference: number, guessed: number): number {
    let scale = guessed;
    let most = 0;
    for (let k = -steps; k <= steps; k++) {
      const inverse = f(f(top + f(k * step)) / reference);
      const candidate = f(1 / inverse);
      for (let g = 0; g < groups; g++) {
        const word = round(g, inverse);
        triedOnGrid[g] = places[word]! >= 0 ? 1 : 0;
        tried[g] = snap(g, word, candidate);
      }
      sum(tried);
      if (square > 0 && f(product * product) > f(most * square)) {
        scale = f(product / square);
        most = f(scale * product);
        best.set(tried);
        onGrid.set(triedOnGrid);
      }
    }
    return scale;
  }

  function chooseAgain(scale: number): number {
    const inverse = f(1 / scale);
    for (let g = 0; g < groups; g++) {
      if (refine === 'off grid' && onGrid[g] === 1) continue;
      best[g] = snap(g, round(g, inverse), scale);
    }
    sum(best);
    return square > 0 ? f(product / square) : scale;
  }

  const zero: SubBlock = {
    filled: false,
    scale: 0,
    words: new Int32Array(groups),
    signs: new Uint8Array(subBlock / 8),
  };
  return (block, importance, start, spread) => {
    setWeights(block, importance, start, spread);
    setMagnitudes(block, start);
    const max = largest();
    if (max < least) return zero;
    let reference = max;
    let guessed = f(max / top);
    if (guess === 'fitted') {
      guessed = fittedScale(x, w);
      reference = f(guessed * 3);
      if (reference <= 0) return zero;
    }
    best.fill(0);
    onGrid.fill(refine === 'all' ? 0 : 1);
    let scale = searchScale(reference, guessed);
    const again = refine === 'always' || onGrid.includes(0);
    if (again && scale > 0) scale = chooseAgain(scale);
    if (scale < 0) {
      scale = -scale;
      for (let k = 0; k < signs.length; k++) signs[k] = ~signs[k]! & (evenSigns ? 127 : 255);
    }
    return { filled: true, scale, words: best, signs };
  };
}
