/**
 * Scales of ggml's blocks, for every family: IEEE halves, one or four at a time, and ggml's way to round one f32 to an integer.
 *
 * Halves round to nearest, ties to even; NaN becomes x86's own, 0xfe00, whatever the machine (src/kernels/ggml/blocks.ts).
 */

/** Bits of the nearest half. */
// @ts-ignore: decorator
@inline
export function halfBits(x: f32): i32 {
  if (x != x) return 0xfe00;
  const bits = reinterpret<i32>(abs(x));
  const sign = (reinterpret<i32>(x) >> 16) & 0x8000;
  // 0.5 has the spacing 2^-24, that of the subnormal halves.
  if (bits < 0x38800000) return sign | (reinterpret<i32>(abs(x) + 0.5) - 0x3f000000);
  const rounded = (bits + 0xfff + ((bits >> 13) & 1) - (112 << 23)) >> 13;
  return sign | min(rounded, 0x7c00);
}

/** Value of a half; a NaN is quiet. */
// @ts-ignore: decorator
@inline
export function valueOfHalf(h: i32): f32 {
  const magnitude = h & 0x7fff;
  let bits = (magnitude << 13) + (112 << 23);
  if (magnitude < 0x400) bits = reinterpret<i32>(reinterpret<f32>(magnitude | 0x3f000000) - 0.5);
  else if (magnitude >= 0x7c00) bits = magnitude == 0x7c00 ? 0x7f800000 : 0x7fc00000;
  return reinterpret<f32>(bits | ((h & 0x8000) << 16));
}

// @ts-ignore: decorator
@inline
export function loadHalf(from: usize): f32 {
  return valueOfHalf(<i32>load<u16>(from));
}

/** Stores a half; returns its value. */
// @ts-ignore: decorator
@inline
export function storeHalf(to: usize, value: f32): f32 {
  const half = halfBits(value);
  store<u16>(to, <u16>half);
  return valueOfHalf(half);
}

/** `halfBits` of four lanes, in i32 lanes. */
// @ts-ignore: decorator
@inline
export function halfLanes(x: v128): v128 {
  const magnitude = v128.and(x, i32x4.splat(0x7fffffff));
  const odd = v128.and(i32x4.shr_u(magnitude, 13), i32x4.splat(1));
  const normal = i32x4.sub(i32x4.shr_u(i32x4.add(i32x4.add(magnitude, i32x4.splat(0xfff)), odd), 13), i32x4.splat(112 << 10));
  const tiny = i32x4.sub(f32x4.add(magnitude, f32x4.splat(0.5)), f32x4.splat(0.5));
  let bits = v128.bitselect(tiny, normal, i32x4.lt_s(magnitude, i32x4.splat(0x38800000)));
  bits = i32x4.min_s(bits, i32x4.splat(0x7c00));
  bits = v128.or(bits, v128.and(i32x4.shr_u(x, 16), i32x4.splat(0x8000)));
  return v128.bitselect(i32x4.splat(0xfe00), bits, f32x4.ne(x, x));
}

/** The value of the half at `from`, in all lanes. */
// @ts-ignore: decorator
@inline
export function splatHalf(from: usize): v128 {
  const h = i32x4.splat(load<u16>(from));
  const magnitude = v128.and(h, i32x4.splat(0x7fff));
  let r = i32x4.add(i32x4.shl(magnitude, 13), i32x4.splat(112 << 23));
  r = v128.bitselect(i32x4.add(r, i32x4.splat(112 << 23)), r, i32x4.ge_s(magnitude, i32x4.splat(0x7c00)));
  const tiny = f32x4.sub(v128.or(magnitude, f32x4.splat(0.5)), f32x4.splat(0.5));
  r = v128.bitselect(tiny, r, i32x4.lt_s(magnitude, i32x4.splat(0x400)));
  return v128.or(r, i32x4.shl(v128.and(h, i32x4.splat(0x8000)), 16));
}

/** As ggml rounds: ties to even below 2^22, beyond it the bits of v + 1.5 · 2^23, 0 for NaN. */
// @ts-ignore: decorator
@inline
export function nearestInteger(v: f32): i32 {
  return (reinterpret<i32>(v + <f32>12582912) & 0x7fffff) - 0x400000;
}

/** `nearestInteger` of four lanes, in i32 lanes. */
// @ts-ignore: decorator
@inline
export function nearestLanes(v: v128): v128 {
  const bits = v128.and(f32x4.add(v, f32x4.splat(12582912)), i32x4.splat(0x7fffff));
  return i32x4.sub(bits, i32x4.splat(0x400000));
}
