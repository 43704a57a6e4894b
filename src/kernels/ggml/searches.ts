/**
 * The searches for scales that several families of ggml block types use, in plain TypeScript: SYM, ASYM and QP of
 * docs/encodings.md. They define bytes, so every step is one f32 operation in ggml's order, sums start at element 0 and run
 * upwards, and ties are decided as there. Values that leave f32's range on the way (infinite reciprocals of subnormal ranges,
 * overflowing sums) take the same course as on x86-64: comparisons with NaN are false and `nearestInteger` reads the bits.
 *
 * After `make_qx_quants`, `make_qkx2_quants`/`make_qkx3_quants` and `make_qp_quants` of ggml 0.25.1 (MIT), restated.
 */

const f = Math.fround;
/** 1.5 · 2^23: the sum with it has the integer nearest to |v| < 2^22, ties to even, in its low bits. */
const MAGIC = 12582912;
/** Groups whose largest magnitude is below this count as zero. */
export const GROUP_EPSILON = f(1e-15);

const single = new Float32Array(1);
const word = new Int32Array(single.buffer);

/** Nearest integer, ties to even; beyond ±2^22 whatever the bits of `v` + 1.5 · 2^23 say, and 0 for NaN, as ggml's x86-64 code. */
export function nearestInteger(v: number): number {
  if (Number.isNaN(v)) return 0;
  single[0] = v + MAGIC;
  return (word[0]! & 0x7fffff) - 0x400000;
}

function clamp(code: number, low: number, high: number): number {
  return Math.max(low, Math.min(high, code));
}

/**
 * SYM: the scale s and codes l in [−levels, levels − 1] for which Σ w·(x − s·l)² is small, tried at 19 scales around
 * −levels / (the element of largest magnitude).
 * @param x - `n` values from `from` on
 * @param w - their weights, from index 0 on; undefined: x²
 * @param codes - receives l + levels from `from` on; all 0 where every |x| < 1e-15
 * @returns s
 */
export function searchSymmetric(
  x: Float32Array,
  from: number,
  n: number,
  levels: number,
  w: Float32Array | undefined,
  codes: Uint8Array,
): number {
  let extreme = 0;
  let largest = 0;
  for (let i = 0; i < n; i++) {
    const magnitude = Math.abs(x[from + i]!);
    if (magnitude > largest) {
      largest = magnitude;
      extreme = x[from + i]!;
    }
  }
  if (largest < GROUP_EPSILON) {
    codes.fill(0, from, from + n);
    return 0;
  }
  let scale = 0;
  let best = 0;
  let chosen = f(-levels / extreme);
  // The undisplaced scale first, then the others from the smallest on.
  for (let k = -10; k <= 9; k++) {
    if (k === 0) continue;
    const inverse = k === -10 ? chosen : f(-f(levels + f(f(0.1) * k)) / extreme);
    let sumXl = 0;
    let sumL2 = 0;
    for (let i = 0; i < n; i++) {
      const value = x[from + i]!;
      const l = clamp(nearestInteger(f(inverse * value)), -levels, levels - 1);
      const weight = w === undefined ? f(value * value) : w[i]!;
      sumXl = f(sumXl + f(f(weight * value) * l));
      sumL2 = f(sumL2 + f(f(weight * l) * l));
    }
    if (k === -10) {
      scale = sumL2 === 0 ? 0 : f(sumXl / sumL2);
    } else if (sumL2 > 0 && f(sumXl * sumXl) > f(best * sumL2)) {
      scale = f(sumXl / sumL2);
      chosen = inverse;
    } else continue;
    best = f(scale * sumXl);
  }
  for (let i = 0; i < n; i++) {
    codes[from + i] = clamp(nearestInteger(f(chosen * x[from + i]!)), -levels, levels - 1) + levels;
  }
  return scale;
}

/** The scales that ASYM tries: (first + step · k + levels) / range for k = 0 … count; errors are squared or absolute. */
export interface AsymmetricSteps {
  readonly first: number;
  readonly step: number;
  readonly count: number;
  readonly absolute: boolean;
}

export interface AsymmetricFit {
  readonly scale: number;
  /** What is subtracted: x ≈ scale · l − offset; ≥ 0. */
  readonly offset: number;
}

/**
 * ASYM: scale, offset and codes l in [0, levels] for which Σ w·|scale·l − offset − x|^(1 or 2) is small. The codes of each
 * candidate scale give the weighted least-squares fit. An accepted fit's minimum is the one that later candidates start from.
 * @param x - `n` values from `from` on
 * @param w - their weights, from index 0 on
 * @param codes - receives l from `from` on
 */
export function searchAsymmetric(
  x: Float32Array,
  from: number,
  n: number,
  levels: number,
  w: Float32Array,
  { first, step, count, absolute }: AsymmetricSteps,
  codes: Uint8Array,
): AsymmetricFit {
  let min = x[from]!;
  let max = min;
  let sumW = w[0]!;
  let sumX = f(sumW * min);
  for (let i = 1; i < n; i++) {
    const value = x[from + i]!;
    if (value < min) min = value;
    if (value > max) max = value;
    sumW = f(sumW + w[i]!);
    sumX = f(sumX + f(w[i]! * value));
  }
  if (min > 0) min = 0;
  if (max === min) {
    codes.fill(0, from, from + n);
    return { scale: 0, offset: -min };
  }
  const errorOf = (inverse: number, base: number, scale: number, offset: number): number => {
    let sum = 0;
    for (let i = 0; i < n; i++) {
      const value = x[from + i]!;
      const l = clamp(nearestInteger(f(inverse * f(value - base))), 0, levels);
      const difference = f(f(f(scale * l) + offset) - value);
      sum = f(sum + f(w[i]! * (absolute ? Math.abs(difference) : f(difference * difference))));
    }
    return sum;
  };
  let chosen = f(levels / f(max - min));
  let chosenMin = min;
  let scale = f(1 / chosen);
  let best = errorOf(chosen, min, scale, min);
  for (let k = 0; k <= count; k++) {
    const inverse = f(f(f(f(first) + f(f(step) * k)) + levels) / f(max - min));
    let sumL = 0;
    let sumL2 = 0;
    let sumXl = 0;
    for (let i = 0; i < n; i++) {
      const value = x[from + i]!;
      const l = clamp(nearestInteger(f(inverse * f(value - min))), 0, levels);
      const weighted = f(w[i]! * l);
      sumL = f(sumL + weighted);
      sumL2 = f(sumL2 + f(weighted * l));
      sumXl = f(sumXl + f(weighted * value));
    }
    const determinant = f(f(sumW * sumL2) - f(sumL * sumL));
    if (!(determinant > 0)) continue;
    let fitScale = f(f(f(sumW * sumXl) - f(sumX * sumL)) / determinant);
    let fitMin = f(f(f(sumL2 * sumX) - f(sumL * sumXl)) / determinant);
    if (fitMin > 0) {
      fitMin = 0;
      fitScale = f(sumXl / sumL2);
    }
    const error = errorOf(inverse, min, fitScale, fitMin);
    if (!(error < best)) continue;
    best = error;
    chosen = inverse;
    chosenMin = min;
    scale = fitScale;
    min = fitMin;
  }
  for (let i = 0; i < n; i++) {
    codes[from + i] = clamp(nearestInteger(f(chosen * f(x[from + i]! - chosenMin))), 0, levels);
  }
  return { scale, offset: -min };
}

/**
 * QP: codes in [0, levels] for the values of one super-block's scales (≥ 0), by nine candidate scales and then up to five sweeps
 * that change one code at a time where Σ w·(v − s·l)² falls. Codes are bytes: one out of range wraps, as in ggml.
 * @returns s
 */
export function searchPositive(
  v: Float32Array,
  n: number,
  levels: number,
  w: Float32Array,
  codes: Uint8Array,
): number {
  let max = 0;
  for (let i = 0; i < n; i++) if (!(max > v[i]!)) max = v[i]!;
  if (max < GROUP_EPSILON) {
    codes.fill(0, 0, n);
    return 0;
  }
  let chosen = f(levels / max);
  let best = 0;
  for (let k = -5; k <= 4; k++) {
    if (k === 0) continue;
    const start = k === -5;
    const inverse = start ? chosen : f(f(f(f(0.1) * k) + levels) / max);
    const scale = f(1 / inverse);
    let error = 0;
    for (let i = 0; i < n; i++) {
      const nearest = nearestInteger(f(inverse * v[i]!));
      const l = start ? nearest & 255 : Math.min(levels, nearest);
      const difference = f(v[i]! - f(scale * l));
      error = f(error + f(f(w[i]! * difference) * difference));
    }
    if (start || error < best) {
      best = error;
      chosen = inverse;
    }
  }
  let sumVl = 0;
  let sumL2 = 0;
  for (let i = 0; i < n; i++) {
    const l = Math.min(levels, nearestInteger(f(chosen * v[i]!)));
    codes[i] = l;
    sumVl = f(sumVl + f(f(w[i]! * v[i]!) * l));
    sumL2 = f(sumL2 + f(f(w[i]! * l) * l));
  }
  for (let sweep = 0; sweep < 5; sweep++) {
    let changed = false;
    for (let i = 0; i < n; i++) {
      const weighted = f(w[i]! * v[i]!);
      const code = codes[i]!;
      let vl = f(sumVl - f(weighted * code));
      let l2 = f(sumL2 - f(f(w[i]! * code) * code));
      if (!(vl > 0 && l2 > 0)) continue;
      const l = Math.min(levels, nearestInteger(f(f(v[i]! * l2) / vl)));
      if (l === code) continue;
      vl = f(vl + f(weighted * l));
      l2 = f(l2 + f(f(w[i]! * l) * l));
      if (f(f(vl * vl) * sumL2) > f(f(sumVl * sumVl) * l2)) {
        codes[i] = l;
        sumVl = vl;
        sumL2 = l2;
        changed = true;
      }
    }
    if (!changed) break;
  }
  return sumL2 > 0 ? f(sumVl / sumL2) : 0;
}
