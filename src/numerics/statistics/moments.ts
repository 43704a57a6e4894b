/**
 * Mean and central moments of a stream: each chunk's power sums about a shift become central moments, and two sets of
 * central moments combine by the pairwise update of Chan, Golub and LeVeque (1979), extended to the third and fourth
 * order by Pébay (2008, SAND2008-6212, eqs. 2.1 and following). A shift near the mean keeps the subtraction from
 * cancelling. M_k = Σ (x − mean)^k.
 */

export interface Moments {
  readonly count: number;
  readonly mean: number;
  readonly m2: number;
  readonly m3: number;
  readonly m4: number;
}

export const NO_MOMENTS: Moments = { count: 0, mean: 0, m2: 0, m3: 0, m4: 0 };

/** Central moments of `count` values from Σ(x − shift)^k. */
export function momentsFromSums(
  count: number,
  shift: number,
  sums: { readonly sum1: number; readonly sum2: number; readonly sum3: number; readonly sum4: number },
): Moments {
  if (count === 0) return NO_MOMENTS;
  const d = sums.sum1 / count;
  const { sum2, sum3, sum4 } = sums;
  // Σ(y − d)^k expanded, y = x − shift, Σy = n·d.
  const m2 = sum2 - count * d * d;
  const m3 = sum3 - 3 * d * sum2 + 2 * count * d ** 3;
  const m4 = sum4 - 4 * d * sum3 + 6 * d * d * sum2 - 3 * count * d ** 4;
  return { count, mean: shift + d, m2: Math.max(0, m2), m3, m4: Math.max(0, m4) };
}

export function combineMoments(a: Moments, b: Moments): Moments {
  if (a.count === 0) return b;
  if (b.count === 0) return a;
  const n = a.count + b.count;
  const delta = b.mean - a.mean;
  const share = delta / n;
  const cross = delta * share * a.count * b.count;
  return {
    count: n,
    mean: a.mean + share * b.count,
    m2: a.m2 + b.m2 + cross,
    m3: a.m3 + b.m3 + cross * share * (a.count - b.count) + 3 * share * (a.count * b.m2 - b.count * a.m2),
    m4:
      a.m4 +
      b.m4 +
      cross * share * share * (a.count * a.count - a.count * b.count + b.count * b.count) +
      6 * share * share * (a.count * a.count * b.m2 + b.count * b.count * a.m2) +
      4 * share * (a.count * b.m3 - b.count * a.m3),
  };
}
