/**
 * Single values: halves, ggml's rounding of one f32, and codes of the scales of a super-block.
 */

/** Bits of the nearest half, ties to even; Inf from 65520 on, 0x7e00 with its sign for NaN. */
export function toHalf(value: f32): u32 {
  const bits = reinterpret<u32>(value);
  const sign = (bits >> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x47800000) return sign | (magnitude > 0x7f800000 ? 0x7e00 : 0x7c00);
  // Below the smallest normal half the spacing is 2^−24, that of f32 in [0.5, 1).
  if (magnitude < 0x38800000) return sign | (reinterpret<u32>(abs(value) + <f32>0.5) - 0x3f000000);
  return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1)) >> 13);
}

export function fromHalf(half: u32): f32 {
  const sign = (half & 0x8000) << 16;
  const magnitude = half & 0x7fff;
  if (magnitude < 0x0400) {
    return reinterpret<f32>(sign | reinterpret<u32>(<f32>magnitude * <f32>5.9604644775390625e-8));
  }
  return reinterpret<f32>(sign | ((magnitude << 13) + (magnitude >= 0x7c00 ? 0x70000000 : 0x38000000)));
}

/** Stores a half; returns its value. */
export function storeHalf(to: usize, value: f32): f32 {
  const half = toHalf(value);
  store<u16>(to, half);
  return fromHalf(half);
}

/** As ggml rounds: ties to even below 2^22, beyond it the bits of v + 1.5 · 2^23, 0 for NaN. */
// @ts-ignore: decorator
@inline
export function nearestInteger(v: f32): i32 {
  return (reinterpret<i32>(v + <f32>12582912) & 0x7fffff) - 0x400000;
}
