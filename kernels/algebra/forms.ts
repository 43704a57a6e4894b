/**
 * x H xᵀ of several rows x, from the lower half of H (quadraticForms of src/algorithms/linear-algebra.ts): four rows lie in two vectors, four rows
 * of H go together. H in strips and x in blocks of four rows side by side, as for rounding (round.ts).
 */

// @ts-ignore: decorator
@inline
function term(sum: v128, a: v128, b: v128): v128 {
  return f64x2.add(sum, f64x2.mul(a, b));
}

/** total + x (h x + 2 rest) */
// @ts-ignore: decorator
@inline
function close(total: v128, x: v128, h: v128, rest: v128): v128 {
  return f64x2.add(total, f64x2.mul(x, f64x2.add(f64x2.mul(h, x), f64x2.add(rest, rest))));
}

/** @param strips - tile t holds [4t + 4][4] @param rows - of H, a multiple of four @param totals - f64 [blocks][4], written */
export function quadraticForms(strips: usize, rows: i32, blocks: i32, vectors: usize, totals: usize): void {
  memory.fill(totals, 0, <usize>blocks << 5);
  let strip = strips;
  for (let first: usize = 0; first < <usize>rows; first += 4) {
    for (let block: usize = 0; block < <usize>blocks; block++)
      addTile(strip, first, vectors + ((block * <usize>rows) << 5), totals + (block << 5));
    strip += (first + 4) << 5;
  }
}

function addTile(strip: usize, first: usize, vectors: usize, totals: usize): void {
  let a0 = f64x2.splat(0);
  let b0 = a0;
  let a1 = a0;
  let b1 = a0;
  let a2 = a0;
  let b2 = a0;
  let a3 = a0;
  let b3 = a0;
  let e = vectors;
  let r = strip;
  const end = strip + (first << 5);
  for (; r < end; r += 32, e += 32) {
    const x = v128.load(e);
    const y = v128.load(e, 16);
    const r0 = v128.load64_splat(r);
    a0 = term(a0, r0, x);
    b0 = term(b0, r0, y);
    const r1 = v128.load64_splat(r, 8);
    a1 = term(a1, r1, x);
    b1 = term(b1, r1, y);
    const r2 = v128.load64_splat(r, 16);
    a2 = term(a2, r2, x);
    b2 = term(b2, r2, y);
    const r3 = v128.load64_splat(r, 24);
    a3 = term(a3, r3, x);
    b3 = term(b3, r3, y);
  }
  let a = v128.load(totals);
  let b = v128.load(totals, 16);
  let x = v128.load(e);
  let y = v128.load(e, 16);
  let h = v128.load64_splat(r);
  a = close(a, x, h, a0);
  b = close(b, y, h, b0);
  h = v128.load64_splat(r, 8);
  a1 = term(a1, h, x);
  b1 = term(b1, h, y);
  h = v128.load64_splat(r, 16);
  a2 = term(a2, h, x);
  b2 = term(b2, h, y);
  h = v128.load64_splat(r, 24);
  a3 = term(a3, h, x);
  b3 = term(b3, h, y);

  x = v128.load(e, 32);
  y = v128.load(e, 48);
  h = v128.load64_splat(r, 40);
  a = close(a, x, h, a1);
  b = close(b, y, h, b1);
  h = v128.load64_splat(r, 48);
  a2 = term(a2, h, x);
  b2 = term(b2, h, y);
  h = v128.load64_splat(r, 56);
  a3 = term(a3, h, x);
  b3 = term(b3, h, y);

  x = v128.load(e, 64);
  y = v128.load(e, 80);
  h = v128.load64_splat(r, 80);
  a = close(a, x, h, a2);
  b = close(b, y, h, b2);
  h = v128.load64_splat(r, 88);
  a3 = term(a3, h, x);
  b3 = term(b3, h, y);

  x = v128.load(e, 96);
  y = v128.load(e, 112);
  h = v128.load64_splat(r, 120);
  v128.store(totals, close(a, x, h, a3));
  v128.store(totals, close(b, y, h, b3), 16);
}
