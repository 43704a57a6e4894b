/**
 * The mixing step of the checksum of what a run wrote (definition: src/kernels/reference/checksum.ts), 32 lanes in eight vectors.
 *
 * Each lane waits for its own multiplication only, and eight vectors are enough to hide that, so that it runs at the speed of
 * the second cache.
 */

const BLOCK: usize = 128;

// @ts-ignore: decorator
@inline
function mix(lanes: v128, words: v128): v128 {
  const product = i32x4.mul(v128.xor(lanes, words), i32x4.splat(<i32>0x9e3779b1));
  return v128.or(i32x4.shl(product, 15), i32x4.shr_u(product, 17));
}

/** Mixes `blocks` of 128 bytes into the 32 words at `lanes`. */
export function mixWords(source: usize, blocks: i32, lanes: usize): void {
  let a = v128.load(lanes);
  let b = v128.load(lanes, 16);
  let c = v128.load(lanes, 32);
  let d = v128.load(lanes, 48);
  let e = v128.load(lanes, 64);
  let f = v128.load(lanes, 80);
  let g = v128.load(lanes, 96);
  let h = v128.load(lanes, 112);
  for (const end = source + <usize>blocks * BLOCK; source < end; source += BLOCK) {
    a = mix(a, v128.load(source));
    b = mix(b, v128.load(source, 16));
    c = mix(c, v128.load(source, 32));
    d = mix(d, v128.load(source, 48));
    e = mix(e, v128.load(source, 64));
    f = mix(f, v128.load(source, 80));
    g = mix(g, v128.load(source, 96));
    h = mix(h, v128.load(source, 112));
  }
  v128.store(lanes, a);
  v128.store(lanes, b, 16);
  v128.store(lanes, c, 32);
  v128.store(lanes, d, 48);
  v128.store(lanes, e, 64);
  v128.store(lanes, f, 80);
  v128.store(lanes, g, 96);
  v128.store(lanes, h, 112);
}
