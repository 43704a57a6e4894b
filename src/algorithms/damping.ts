/**
 * H made fit for factorising, and factorised: a share of its mean diagonal is added to the diagonal ("GPTQ", E. Frantar et al. 2023,
 * section 3.3: 1 %); where that is not positive definite yet, ten times as much, and so on. Inputs that were zero in all samples
 * get the mean as their diagonal, so that they neither give nor take an error.
 *
 * R is upper with H = R Rᵀ: the Cholesky factor of H read backwards. With it the columns are rounded from the first to the
 * last without an inverse of H (babai.ts).
 */

import { WhittleError } from '../errors.ts';
import type { AlgebraKernels } from '../kernels/algebra/index.ts';
import { factorise } from './cholesky.ts';

export interface DampedGram {
  readonly n: number;
  /** H + damping · mean · I, f64 [n, n], in the order of the inputs. */
  readonly gram: Float64Array;
  /** Share of the mean diagonal that was added. */
  readonly damping: number;
  /** Inputs that were zero in all samples. */
  readonly dead: readonly number[];
}

export interface FactorisedGram extends DampedGram {
  /** order[c] is the input that is rounded in step c. */
  readonly order: Int32Array;
  /** Cholesky factor of H in reversed order: lower[i, j] belongs to steps n−1−i and n−1−j. f64 [n, n], lower half. */
  readonly lower: Float64Array;
}

const LARGEST_DAMPING = 1e4;

/** H with `damping` times its mean diagonal added; dead inputs get the mean. */
export function dampGram(gram: Float32Array, n: number, damping: number): DampedGram {
  const dead: number[] = [];
  let sum = 0;
  for (let i = 0; i < n; i++) {
    const own = gram[i * n + i]!;
    if (own > 0) sum += own;
    else dead.push(i);
  }
  const mean = sum > 0 ? sum / (n - dead.length) : 1;
  const damped = Float64Array.from(gram);
  for (const i of dead) {
    for (let j = 0; j < n; j++) {
      damped[i * n + j] = 0;
      damped[j * n + i] = 0;
    }
    damped[i * n + i] = mean;
  }
  for (let i = 0; i < n; i++) damped[i * n + i] = damped[i * n + i]! + damping * mean;
  return { n, gram: damped, damping, dead };
}

/** Inputs in the order of falling diagonal, equals in their own order; or as they are. */
export function roundingOrder(gram: Float32Array, n: number, byActivation: boolean): Int32Array {
  const order = Int32Array.from({ length: n }, (_, i) => i);
  if (byActivation) order.sort((a, b) => gram[b * n + b]! - gram[a * n + a]! || a - b);
  return order;
}

/**
 * Damps and factorises H, raising the damping until it is positive definite.
 * @throws WhittleError E_NONFINITE where no damping helps
 */
export function factoriseGram(
  gram: Float32Array,
  n: number,
  wanted: number,
  byActivation: boolean,
  algebra?: AlgebraKernels,
): FactorisedGram {
  const order = roundingOrder(gram, n, byActivation);
  for (let damping = wanted; damping <= LARGEST_DAMPING; damping = Math.max(damping * 10, 1e-4)) {
    const damped = dampGram(gram, n, damping);
    const lower = new Float64Array(n * n);
    for (let i = 0; i < n; i++) {
      const from = order[n - 1 - i]! * n;
      for (let j = 0; j <= i; j++) lower[i * n + j] = damped.gram[from + order[n - 1 - j]!]!;
    }
    if (factorise(lower, n, algebra) < 0) return { ...damped, order, lower };
  }
  throw new WhittleError(
    'E_NONFINITE',
    'the Gram matrix is not positive definite, whatever is added to its diagonal',
    {
      hint: 'Its sums are not those of real inputs: calibrate again.',
    },
  );
}
