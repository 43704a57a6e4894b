/**
 * Seeded random rotations that are cheap to apply: a signed Hadamard matrix spreads a loud channel over all of them, so that no scale has
 * to make room for it, and being orthogonal it can be folded into the matrices on both sides of a residual stream.
 * "QuaRot" (Ashkboos et al., 2024) and "QuIP#" (Tseng et al., 2024), section 3.
 *
 *   spread           x → x D H / √n          every channel goes to all others with equal weight
 *   keeps the mean   x → x H D Hᵀ / n        with D₀ = 1 the vector of ones stays as it is, so LayerNormalization, which
 *                                            subtracts the mean, commutes with it as RMS norms do with any rotation
 *
 * n = 2^k · m: H is Sylvester's matrix of order 2^k times (Kronecker) one of order m by Paley's constructions (12, 20, 28, 36, 44 …:
 * q + 1 for a prime q ≡ 3, 2 (q + 1) for a prime q ≡ 1 modulo 4). Where neither gives an m, H is block-diagonal with blocks of
 * the largest power of two that divides n. Cost: n log n for a row; f64.
 */

import { createRandom } from '../core/random.ts';
import { WhittleError } from '../errors.ts';

export interface Rotation {
  readonly size: number;
  /** Channels that are mixed with each other: `size`, or that of the blocks. */
  readonly block: number;
  readonly keepsMean: boolean;
  /** x → x R for every row of f64 [rows, size], in place. */
  apply(rows: Float64Array): void;
}

export interface RotationOptions {
  readonly seed: number;
  /** Leaves the vector of ones as it is. */
  readonly keepsMean: boolean;
}

/** Largest order that is built by Paley's constructions; its matrix is held, and applied as it is. */
const LARGEST_PALEY = 512;

/** @throws WhittleError E_SHAPE where no channels of such a size can be mixed: it is odd */
export function createRotation(size: number, { seed, keepsMean }: RotationOptions): Rotation {
  const order = hadamardOrder(size);
  if (order === undefined) {
    throw new WhittleError('E_SHAPE', 'no Hadamard matrix mixes this number of channels', {
      expected: 'an even number',
      found: String(size),
    });
  }
  const { power, paley, block } = order;
  const core = paley === 1 ? undefined : paleyMatrix(paley);
  const signs = randomSigns(size, seed);
  // Each block keeps its own ones: its first column stays.
  if (keepsMean) for (let start = 0; start < size; start += block) signs[start] = 1;
  const scratch = new Float64Array(paley);
  const transform = (values: Float64Array, start: number, turned: boolean): void => {
    for (let at = start; at < start + size; at += block) {
      if (core !== undefined) mixCore(values, at, power, core, paley, scratch, turned);
      for (let part = 0; part < paley; part++) walshHadamard(values, at + part * power, power);
    }
  };
  const root = 1 / Math.sqrt(block);
  return {
    size,
    block,
    keepsMean,
    apply(rows) {
      if (rows.length % size !== 0) {
        throw new WhittleError('E_SHAPE', 'the values are no rows of the rotated size', {
          expected: `a multiple of ${size}`,
          found: String(rows.length),
        });
      }
      for (let start = 0; start < rows.length; start += size) {
        if (keepsMean) {
          transform(rows, start, false);
          for (let i = 0; i < size; i++) rows[start + i]! *= signs[i]! / block;
          transform(rows, start, true);
        } else {
          for (let i = 0; i < size; i++) rows[start + i]! *= signs[i]! * root;
          transform(rows, start, false);
        }
      }
    },
  };
}

export interface HadamardOrder {
  /** Order of Sylvester's part, a power of two. */
  readonly power: number;
  /** Order of Paley's part; 1 where the size is a power of two, or mixed in blocks. */
  readonly paley: number;
  /** power · paley: channels that are mixed; less than the size where that has no known matrix. */
  readonly block: number;
}

/** How a matrix for `size` channels is made; undefined for odd sizes. */
export function hadamardOrder(size: number): HadamardOrder | undefined {
  if (!Number.isSafeInteger(size) || size < 2 || size % 2 !== 0) return undefined;
  let power = 1;
  while (size % (power * 2) === 0) power *= 2;
  for (let part = power; part >= 1; part /= 2) {
    const rest = size / part;
    if (rest === 1) return { power: part, paley: 1, block: size };
    if (rest > LARGEST_PALEY) break;
    if (paleyPrime(rest) !== undefined) return { power: part, paley: rest, block: size };
  }
  return { power, paley: 1, block: power };
}

/** The prime of a construction for matrices of `order`; 4 divides every order above 2. */
function paleyPrime(order: number): { readonly q: number; readonly first: boolean } | undefined {
  if (order % 4 !== 0) return undefined;
  if ((order - 1) % 4 === 3 && isPrime(order - 1)) return { q: order - 1, first: true };
  const q = order / 2 - 1;
  return q % 4 === 1 && isPrime(q) ? { q, first: false } : undefined;
}

function isPrime(n: number): boolean {
  if (n < 2) return false;
  for (let i = 2; i * i <= n; i++) if (n % i === 0) return false;
  return true;
}

/**
 * A Hadamard matrix [order, order] of ±1 whose first column is 1 (which `keepsMean` needs), by Paley (1933): from
 * the quadratic residues modulo a prime.
 */
function paleyMatrix(order: number): Int8Array {
  const found = paleyPrime(order);
  if (found === undefined) throw new Error('hadamardOrder names orders that can be built');
  const { q, first } = found;
  const residue = new Int8Array(q).fill(-1);
  for (let i = 1; i < q; i++) residue[(i * i) % q] = 1;
  residue[0] = 0;
  const n = q + 1;
  // S: [0 1ᵀ; ±1 Q], Q[i][j] the Legendre symbol of i − j; skew for q ≡ 3, symmetric for q ≡ 1.
  const s = (i: number, j: number): number => {
    if (i === 0) return j === 0 ? 0 : 1;
    if (j === 0) return first ? -1 : 1;
    return residue[(i - j + q) % q]!;
  };
  const matrix = new Int8Array(order * order);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      const value = s(i, j);
      if (first) {
        matrix[i * order + j] = i === j ? 1 : value;
        continue;
      }
      // Each 0 of S becomes [1 −1; −1 −1], each ±1 that times [1 1; 1 −1].
      const block = i === j ? [1, -1, -1, -1] : [value, value, value, -value];
      for (const [k, entry] of block.entries()) matrix[(2 * i + (k >> 1)) * order + 2 * j + (k & 1)] = entry;
    }
  }
  for (let i = 0; i < order; i++) {
    if (matrix[i * order] === 1) continue;
    for (let j = 0; j < order; j++) matrix[i * order + j] = -matrix[i * order + j]!;
  }
  return matrix;
}

/** Multiplies the m runs of `power` values with the core, or with its transpose. */
function mixCore(
  values: Float64Array,
  start: number,
  power: number,
  core: Int8Array,
  m: number,
  scratch: Float64Array,
  turned: boolean,
): void {
  const down = turned ? 1 : m;
  const across = turned ? m : 1;
  for (let offset = start; offset < start + power; offset++) {
    for (let j = 0; j < m; j++) {
      let sum = 0;
      for (let i = 0; i < m; i++) sum += values[offset + i * power]! * core[i * down + j * across]!;
      scratch[j] = sum;
    }
    for (let j = 0; j < m; j++) values[offset + j * power] = scratch[j]!;
  }
}

/** Multiplies n values with Sylvester's matrix, n a power of two (Fino and Algazi, 1976). */
function walshHadamard(values: Float64Array, start: number, n: number): void {
  for (let half = 1; half < n; half *= 2) {
    for (let block = start; block < start + n; block += 2 * half) {
      for (let i = block; i < block + half; i++) {
        const a = values[i]!;
        const b = values[i + half]!;
        values[i] = a + b;
        values[i + half] = a - b;
      }
    }
  }
}

function randomSigns(count: number, seed: number): Float64Array {
  const random = createRandom(seed);
  return Float64Array.from({ length: count }, () => (random.uint32() & 0x8000_0000 ? -1 : 1));
}
