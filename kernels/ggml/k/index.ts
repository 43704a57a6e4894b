/**
 * Exports of the module for the K-quants (src/kernels/ggml/k): encoders over whole super-blocks, with and without importance, and
 * decoders. Super-blocks whose arithmetic leaves the range in which lanes equal the definition are flagged and left to it.
 */

import { decode2, decode3, decode4, decode5, decode6 } from './decode';
import { q2Plain, q2Weighted } from './q2-k';
import { q3Plain, q3Weighted } from './q3-k';
import { q4Plain, q4Weighted, q5Plain, q5Weighted } from './q4-q5-k';
import { q6 } from './q6-k';

/** A batch that is not full: its values, padded with zeros, and its blocks. */
const VALUES: usize = memory.data(8192, 16);
const BLOCKS: usize = memory.data(8 * 210, 16);

function encodeOne(bits: i32, x: usize, out: usize): bool {
  if (bits == 2) return q2Plain(x, out);
  if (bits == 4) return q4Plain(x, out);
  if (bits == 5) return q5Plain(x, out);
  if (bits == 3) q3Plain(x, out);
  else q6(x, 0, out);
  return false;
}

function encodeBatch(bits: i32, x: usize, importance: usize, column: i32, perRow: i32, out: usize): i32 {
  if (bits == 2) return q2Weighted(x, importance, column, perRow, out);
  if (bits == 3) return q3Weighted(x, importance, column, perRow, out);
  if (bits == 4) return q4Weighted(x, importance, column, perRow, out);
  if (bits == 5) return q5Weighted(x, importance, column, perRow, out);
  for (let b: usize = 0; b < 8; b++, out += 210) {
    q6(x + (b << 10), importance + (<usize>column << 10), out);
    column = column + 1 == perRow ? 0 : column + 1;
  }
  return 0;
}

/** `count` super-blocks; flags: one byte each, set where a block is irregular. Returns how many are. */
export function encodePlain(bits: i32, x: usize, count: i32, out: usize, bytes: usize, flags: usize): i32 {
  let irregular = 0;
  for (let i = 0; i < count; i++, x += 1024, out += bytes) {
    const flag = <i32>encodeOne(bits, x, out);
    store<u8>(flags + i, flag);
    irregular += flag;
  }
  return irregular;
}

/**
 * As encodePlain, with the importance of a row of `perRow` super-blocks. `column` is the first super-block's place in its row.
 */
export function encodeWeighted(
  bits: i32,
  x: usize,
  count: i32,
  importance: usize,
  column: i32,
  perRow: i32,
  out: usize,
  bytes: usize,
  flags: usize,
): i32 {
  let irregular = 0;
  for (let i = 0; i < count; i += 8, x += 8192, out += 8 * bytes) {
    const size = min(8, count - i);
    let mask: i32;
    if (size == 8) mask = encodeBatch(bits, x, importance, column, perRow, out);
    else {
      memory.copy(VALUES, x, <usize>size << 10);
      memory.fill(VALUES + (<usize>size << 10), 0, <usize>(8 - size) << 10);
      mask = encodeBatch(bits, VALUES, importance, column, perRow, BLOCKS);
      memory.copy(out, BLOCKS, <usize>size * bytes);
    }
    column = (column + 8) % perRow;
    for (let b = 0; b < size; b++) {
      const flag = (mask >> b) & 1;
      store<u8>(flags + i + b, flag);
      irregular += flag;
    }
  }
  return irregular;
}

export function decode(bits: i32, blocks: usize, count: i32, y: usize): void {
  const end = y + (<usize>count << 10);
  if (bits == 2) for (; y < end; y += 1024, blocks += 84) decode2(blocks, y);
  else if (bits == 3) for (; y < end; y += 1024, blocks += 110) decode3(blocks, y);
  else if (bits == 4) for (; y < end; y += 1024, blocks += 144) decode4(blocks, y);
  else if (bits == 5) for (; y < end; y += 1024, blocks += 176) decode5(blocks, y);
  else for (; y < end; y += 1024, blocks += 210) decode6(blocks, y);
}
