/**
 * The two searches for the scale of 32 weighted values, in ggml's order of operations: f32, sums from value 0 on.
 *
 * Symmetric (codes −M … M − 1 about 0): nineteen scales about −M / m, m the first value of largest magnitude, each scored by
 * A² / B with A = Σ w x l, B = Σ w l²; the best one's A / B is the result.
 * Asymmetric (codes 0 … N over [min, max]): 37 scales; for each the weighted least squares of scale and minimum, kept where
 * the squared error falls. A kept minimum is where the next scales start from.
 */

import { BLOCK } from './layout.ts';

const { fround } = Math;
const SMALLEST = fround(1e-15);
const TENTH = fround(0.1);
const FIRST = fround(-0.9);
const STEP = fround(0.05);
const STEPS = 36;

const bits = new Float32Array(1);
const word = new Int32Array(bits.buffer);

/**
 * ggml's nearest integer: the low 23 bits of value + 1.5 · 2^23, less 2^22. That is rint below 2^22; infinities give −2^22, and
 * so do results of ours that are not numbers, 0 on x86.
 */
export function nearestInteger(value: number): number {
  if (Number.isNaN(value)) return 0;
  bits[0] = value + 12582912;
  return (word[0]! & 0x7fffff) - 0x400000;
}

const clamp = (value: number, low: number, high: number): number => Math.max(low, Math.min(high, value));

/** Fills `codes` with l + M and returns the scale. `x`, `w`: 32 values each. */
export function symmetric(M: number, x: Float32Array, w: Float32Array, codes: Uint8Array): number {
  let largest = 0;
  let m = 0;
  for (let j = 0; j < BLOCK; j++) {
    if (Math.abs(x[j]!) > largest) {
      largest = Math.abs(x[j]!);
      m = x[j]!;
    }
  }
  if (largest < SMALLEST) {
    codes.fill(0);
    return 0;
  }
  const codeOf = (s: number, j: number): number => clamp(nearestInteger(fround(s * x[j]!)), -M, M - 1);
  let A = 0;
  let B = 0;
  const score = (s: number): void => {
    A = 0;
    B = 0;
    for (let j = 0; j < BLOCK; j++) {
      const l = codeOf(s, j);
      A = fround(A + fround(fround(w[j]! * x[j]!) * l));
      B = fround(B + fround(fround(w[j]! * l) * l));
    }
  };
  let chosen = fround(-M / m);
  score(chosen);
  let scale = B === 0 ? 0 : fround(A / B);
  let best = fround(scale * A);
  for (let k = -9; k <= 9; k++) {
    if (k === 0) continue;
    const s = fround(-fround(M + fround(TENTH * k)) / m);
    score(s);
    if (B > 0 && fround(A * A) > fround(best * B)) {
      chosen = s;
      scale = fround(A / B);
      best = fround(scale * A);
    }
  }
  for (let j = 0; j < BLOCK; j++) codes[j] = codeOf(chosen, j) + M;
  return scale;
}

const tried = new Uint8Array(BLOCK);

export interface Line {
  readonly scale: number;
  readonly min: number;
}

/** Fills `codes` and returns scale and minimum. `x`, `w`: 32 values each. */
export function asymmetric(N: number, x: Float32Array, w: Float32Array, codes: Uint8Array): Line {
  let min = x[0]!;
  let max = min;
  let W = w[0]!;
  let X = fround(W * min);
  for (let j = 1; j < BLOCK; j++) {
    if (x[j]! < min) min = x[j]!;
    if (x[j]! > max) max = x[j]!;
    W = fround(W + w[j]!);
    X = fround(X + fround(w[j]! * x[j]!));
  }
  if (min > 0) min = 0;
  if (max <= min) {
    codes.fill(0);
    return { scale: 0, min };
  }
  const codeOf = (s: number, j: number): number =>
    clamp(nearestInteger(fround(s * fround(x[j]! - min))), 0, N);
  const squaredError = (a: number, b: number, of: Uint8Array): number => {
    let sum = 0;
    for (let j = 0; j < BLOCK; j++) {
      const t = fround(fround(fround(a * of[j]!) + b) - x[j]!);
      sum = fround(sum + fround(w[j]! * fround(t * t)));
    }
    return sum;
  };
  const first = fround(N / fround(max - min));
  let scale = fround(1 / first);
  for (let j = 0; j < BLOCK; j++) codes[j] = codeOf(first, j);
  let error = squaredError(scale, min, codes);
  for (let k = 0; k <= STEPS; k++) {
    const s = fround(fround(fround(FIRST + fround(STEP * k)) + N) / fround(max - min));
    let L = 0;
    let LL = 0;
    let XL = 0;
    for (let j = 0; j < BLOCK; j++) {
      const l = codeOf(s, j);
      tried[j] = l;
      const wl = fround(w[j]! * l);
      L = fround(L + wl);
      LL = fround(LL + fround(wl * l));
      XL = fround(XL + fround(wl * x[j]!));
    }
    const D = fround(fround(W * LL) - fround(L * L));
    if (!(D > 0)) continue;
    let a = fround(fround(fround(W * XL) - fround(X * L)) / D);
    let b = fround(fround(fround(LL * X) - fround(L * XL)) / D);
    if (b > 0) {
      b = 0;
      a = fround(XL / LL);
    }
    const candidate = squaredError(a, b, tried);
    if (candidate < error) {
      codes.set(tried);
      error = candidate;
      scale = a;
      min = b;
    }
  }
  return { scale, min };
}
