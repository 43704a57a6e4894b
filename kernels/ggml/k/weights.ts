/**
 * Weights of the searches. With importance: w = importance · sqrt(σ² + x²), where σ² is a strictly sequential sum over the
 * super-block, taken over eight super-blocks at once, one in each lane.
 */

// @ts-ignore: decorator
@inline
function addSquares(from: usize, sum: v128): v128 {
  const a = v128.load(from);
  const b = v128.load(from, 1024);
  const c = v128.load(from, 2048);
  const d = v128.load(from, 3072);
  const ab0 = v128.shuffle<i32>(a, b, 0, 4, 1, 5);
  const cd0 = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
  const ab1 = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
  const cd1 = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
  const e0 = v128.shuffle<i64>(ab0, cd0, 0, 2);
  const e1 = v128.shuffle<i64>(ab0, cd0, 1, 3);
  const e2 = v128.shuffle<i64>(ab1, cd1, 0, 2);
  const e3 = v128.shuffle<i64>(ab1, cd1, 1, 3);
  sum = f32x4.add(sum, f32x4.mul(e0, e0));
  sum = f32x4.add(sum, f32x4.mul(e1, e1));
  sum = f32x4.add(sum, f32x4.mul(e2, e2));
  return f32x4.add(sum, f32x4.mul(e3, e3));
}

/** σ² = factor · Σx² / 256 of eight contiguous super-blocks, to eight f32. */
// @ts-ignore: decorator
@inline
export function variances(x: usize, factor: f32, to: usize): void {
  let low = f32x4.splat(0);
  let high = low;
  const end = x + 1024;
  for (; x < end; x += 16) {
    low = addSquares(x, low);
    high = addSquares(x + 4096, high);
  }
  const f = f32x4.splat(factor);
  const n = f32x4.splat(256);
  v128.store(to, f32x4.div(f32x4.mul(f, low), n));
  v128.store(to, f32x4.div(f32x4.mul(f, high), n), 16);
}

/** importance · sqrt(variance + x²) of 256 values. */
export function importanceWeights(x: usize, importance: usize, variance: f32, to: usize): void {
  const v = f32x4.splat(variance);
  const end = x + 1024;
  for (; x < end; x += 16, importance += 16, to += 16) {
    const e = v128.load(x);
    const root = f32x4.sqrt(f32x4.add(v, f32x4.mul(e, e)));
    v128.store(to, f32x4.mul(v128.load(importance), root));
  }
}
