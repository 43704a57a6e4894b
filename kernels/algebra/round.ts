/**
 * Rounding in steps, each making up for the errors of those before it (src/algorithms/babai.ts): four rows lie in two vectors, four
 * steps go together over the errors before them, so that eight sums stay in registers. A sum adds its terms in the order of the
 * steps, one after the other, as the definition does: the same bits.
 *
 * Rows come in blocks of four, side by side: targets, errors and codes [block][step][4], scales and zeros [block][group][4].
 */

const BLOCK: usize = 4;

// @ts-ignore: decorator
@inline
function term(sum: v128, a: v128, b: v128): v128 {
  return f64x2.add(sum, f64x2.mul(a, b));
}

/** The nearest codes, halves upwards; a scale of 0 gives the zero. */
// @ts-ignore: decorator
@inline
function nearest(value: v128, scale: v128, zero: v128, top: v128): v128 {
  const flat = f64x2.eq(scale, f64x2.splat(0));
  const real = v128.bitselect(zero, f64x2.add(f64x2.div(value, scale), zero), flat);
  const above = f64x2.ceil(real);
  const over = f64x2.gt(f64x2.sub(above, f64x2.splat(0.5)), real);
  const code = f64x2.sub(above, v128.and(over, f64x2.splat(1)));
  return f64x2.min(v128.andnot(code, f64x2.lt(code, f64x2.splat(0))), top);
}

/** Codes of a step for two rows; gives their errors. */
// @ts-ignore: decorator
@inline
function roundPair(carried: v128, target: usize, scale: usize, zero: usize, top: v128, errors: usize, codes: usize): v128 {
  const wanted = v128.load(target);
  const s = v128.load(scale);
  const z = v128.load(zero);
  const code = nearest(f64x2.add(wanted, carried), s, z, top);
  const shifted = f32x4.demote_f64x2_zero(f64x2.sub(code, z));
  const restored = f64x2.promote_low_f32x4(f32x4.mul(shifted, f32x4.demote_f64x2_zero(s)));
  const error = f64x2.sub(wanted, restored);
  v128.store(errors, error);
  const whole = i32x4.trunc_sat_f64x2_u_zero(code);
  store<u8>(codes, <u8>i32x4.extract_lane(whole, 0));
  store<u8>(codes + 1, <u8>i32x4.extract_lane(whole, 1));
  return error;
}

/**
 * @param strips - rows of the compensation by tiles of four steps: tile t holds [4t + 4][4], the steps before and its own
 * @param steps - a multiple of four; @param groupOf - i32 [steps]; @param groups - their number
 */
export function roundColumns(
  strips: usize,
  steps: i32,
  blocks: i32,
  targets: usize,
  groupOf: usize,
  groups: i32,
  scales: usize,
  zeros: usize,
  top: f64,
  errors: usize,
  codes: usize,
): void {
  const most = f64x2.splat(top);
  let strip = strips;
  for (let first: usize = 0; first < <usize>steps; first += BLOCK) {
    for (let block: usize = 0; block < <usize>blocks; block++) {
      const at = block * <usize>steps;
      roundTile(strip, first, at, groupOf, block * <usize>groups, targets, scales, zeros, most, errors, codes);
    }
    strip += (first + BLOCK) << 5;
  }
}

function roundTile(
  strip: usize,
  first: usize,
  at: usize,
  groupOf: usize,
  groupAt: usize,
  targets: usize,
  scales: usize,
  zeros: usize,
  top: v128,
  errors: usize,
  codes: usize,
): void {
  let a0 = f64x2.splat(0);
  let b0 = a0;
  let a1 = a0;
  let b1 = a0;
  let a2 = a0;
  let b2 = a0;
  let a3 = a0;
  let b3 = a0;
  let e = errors + (at << 5);
  let r = strip;
  const end = strip + (first << 5);
  for (; r < end; r += 32, e += 32) {
    const ea = v128.load(e);
    const eb = v128.load(e, 16);
    const r0 = v128.load64_splat(r);
    a0 = term(a0, r0, ea);
    b0 = term(b0, r0, eb);
    const r1 = v128.load64_splat(r, 8);
    a1 = term(a1, r1, ea);
    b1 = term(b1, r1, eb);
    const r2 = v128.load64_splat(r, 16);
    a2 = term(a2, r2, ea);
    b2 = term(b2, r2, eb);
    const r3 = v128.load64_splat(r, 24);
    a3 = term(a3, r3, ea);
    b3 = term(b3, r3, eb);
  }
  let t = targets + ((at + first) << 5);
  let c = codes + ((at + first) << 2);
  let g = groupOf + (first << 2);

  let scale = scales + ((groupAt + load<u32>(g)) << 5);
  let zero = zeros + ((groupAt + load<u32>(g)) << 5);
  let ea = roundPair(a0, t, scale, zero, top, e, c);
  let eb = roundPair(b0, t + 16, scale + 16, zero + 16, top, e + 16, c + 2);
  let x = v128.load64_splat(r, 8);
  a1 = term(a1, x, ea);
  b1 = term(b1, x, eb);
  x = v128.load64_splat(r, 16);
  a2 = term(a2, x, ea);
  b2 = term(b2, x, eb);
  x = v128.load64_splat(r, 24);
  a3 = term(a3, x, ea);
  b3 = term(b3, x, eb);

  scale = scales + ((groupAt + load<u32>(g, 4)) << 5);
  zero = zeros + ((groupAt + load<u32>(g, 4)) << 5);
  ea = roundPair(a1, t + 32, scale, zero, top, e + 32, c + 4);
  eb = roundPair(b1, t + 48, scale + 16, zero + 16, top, e + 48, c + 6);
  x = v128.load64_splat(r, 48);
  a2 = term(a2, x, ea);
  b2 = term(b2, x, eb);
  x = v128.load64_splat(r, 56);
  a3 = term(a3, x, ea);
  b3 = term(b3, x, eb);

  scale = scales + ((groupAt + load<u32>(g, 8)) << 5);
  zero = zeros + ((groupAt + load<u32>(g, 8)) << 5);
  ea = roundPair(a2, t + 64, scale, zero, top, e + 64, c + 8);
  eb = roundPair(b2, t + 80, scale + 16, zero + 16, top, e + 80, c + 10);
  x = v128.load64_splat(r, 88);
  a3 = term(a3, x, ea);
  b3 = term(b3, x, eb);

  scale = scales + ((groupAt + load<u32>(g, 12)) << 5);
  zero = zeros + ((groupAt + load<u32>(g, 12)) << 5);
  roundPair(a3, t + 96, scale, zero, top, e + 96, c + 12);
  roundPair(b3, t + 112, scale + 16, zero + 16, top, e + 112, c + 14);
}
