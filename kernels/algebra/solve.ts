/**
 * Forward substitution for many right-hand sides: x_i = (b_i − Σ_{k<i} L_ik x_k) / L_ii, the terms taken off one after the other as the
 * definition does (src/algorithms/cholesky.ts): the same bits. L in strips of four rows (src/kernels/algebra/strips.ts), right-hand
 * sides in blocks of eight side by side, [step][8]; four of them by four steps keep eight sums in registers.
 */

// @ts-ignore: decorator
@inline
function less(sum: v128, a: v128, b: v128): v128 {
  return f64x2.sub(sum, f64x2.mul(a, b));
}

/** @param steps - a multiple of four @param vectors - f64 [blocks][steps][8], b; becomes x */
export function substitute(strips: usize, steps: i32, blocks: i32, vectors: usize): void {
  const length = <usize>steps << 6;
  let strip = strips;
  for (let first: usize = 0; first < <usize>steps; first += 4) {
    for (let block: usize = 0; block < <usize>blocks; block++) {
      const at = vectors + block * length;
      substituteTile(strip, first, at);
      substituteTile(strip, first, at + 32);
    }
    strip += (first + 4) << 5;
  }
}

function substituteTile(strip: usize, first: usize, vectors: usize): void {
  const own = vectors + (first << 6);
  let a0 = v128.load(own);
  let b0 = v128.load(own, 16);
  let a1 = v128.load(own, 64);
  let b1 = v128.load(own, 80);
  let a2 = v128.load(own, 128);
  let b2 = v128.load(own, 144);
  let a3 = v128.load(own, 192);
  let b3 = v128.load(own, 208);
  let r = strip;
  for (let e = vectors; e < own; e += 64, r += 32) {
    const x = v128.load(e);
    const y = v128.load(e, 16);
    let l = v128.load64_splat(r);
    a0 = less(a0, l, x);
    b0 = less(b0, l, y);
    l = v128.load64_splat(r, 8);
    a1 = less(a1, l, x);
    b1 = less(b1, l, y);
    l = v128.load64_splat(r, 16);
    a2 = less(a2, l, x);
    b2 = less(b2, l, y);
    l = v128.load64_splat(r, 24);
    a3 = less(a3, l, x);
    b3 = less(b3, l, y);
  }
  let l = v128.load64_splat(r);
  a0 = f64x2.div(a0, l);
  b0 = f64x2.div(b0, l);
  l = v128.load64_splat(r, 8);
  a1 = less(a1, l, a0);
  b1 = less(b1, l, b0);
  l = v128.load64_splat(r, 16);
  a2 = less(a2, l, a0);
  b2 = less(b2, l, b0);
  l = v128.load64_splat(r, 24);
  a3 = less(a3, l, a0);
  b3 = less(b3, l, b0);

  l = v128.load64_splat(r, 40);
  a1 = f64x2.div(a1, l);
  b1 = f64x2.div(b1, l);
  l = v128.load64_splat(r, 48);
  a2 = less(a2, l, a1);
  b2 = less(b2, l, b1);
  l = v128.load64_splat(r, 56);
  a3 = less(a3, l, a1);
  b3 = less(b3, l, b1);

  l = v128.load64_splat(r, 80);
  a2 = f64x2.div(a2, l);
  b2 = f64x2.div(b2, l);
  l = v128.load64_splat(r, 88);
  a3 = less(a3, l, a2);
  b3 = less(b3, l, b2);

  l = v128.load64_splat(r, 120);
  v128.store(own, a0);
  v128.store(own, b0, 16);
  v128.store(own, a1, 64);
  v128.store(own, b1, 80);
  v128.store(own, a2, 128);
  v128.store(own, b2, 144);
  v128.store(own, f64x2.div(a3, l), 192);
  v128.store(own, f64x2.div(b3, l), 208);
}
