/**
 * Movement without arithmetic: packing of one-per-byte codes into bits and back, and matrix transposition.
 * 'lowFirst' (ONNX): element i takes the bits from i·bits of a little-endian bit stream. 'highFirst' (bitsandbytes):
 * nibbles, the first element in the high half. Unused bits of the last byte are 0.
 */

/** See `Kernels.packBits`. Code bits above `bits` are ignored. */
export function packBits(
  codes: Uint8Array,
  bits: number,
  order: 'lowFirst' | 'highFirst',
  target: Uint8Array,
): void {
  const mask = (1 << bits) - 1;
  if (order === 'highFirst') {
    for (let i = 0; i < codes.length; i += 2) {
      const low = i + 1 < codes.length ? codes[i + 1]! & mask : 0;
      target[i >> 1] = ((codes[i]! & mask) << 4) | low;
    }
    return;
  }
  let pending = 0;
  let filled = 0;
  let out = 0;
  for (let i = 0; i < codes.length; i++) {
    pending |= (codes[i]! & mask) << filled;
    filled += bits;
    if (filled >= 8) {
      target[out++] = pending;
      pending >>>= 8;
      filled -= 8;
    }
  }
  if (filled > 0) target[out] = pending;
}

/** See `Kernels.unpackBits`: fills `codes` from the start of `packed`. */
export function unpackBits(
  packed: Uint8Array,
  bits: number,
  order: 'lowFirst' | 'highFirst',
  codes: Uint8Array,
): void {
  const mask = (1 << bits) - 1;
  if (order === 'highFirst') {
    for (let i = 0; i < codes.length; i++) codes[i] = (packed[i >> 1]! >> ((i & 1) === 0 ? 4 : 0)) & mask;
    return;
  }
  let pending = 0;
  let filled = 0;
  let at = 0;
  for (let i = 0; i < codes.length; i++) {
    if (filled < bits) {
      pending |= packed[at++]! << filled;
      filled += 8;
    }
    codes[i] = pending & mask;
    pending >>>= bits;
    filled -= bits;
  }
}

/** Side of the square that is moved at once: 16 rows of one cache line each. */
const SQUARE = 16;

/** See `Kernels.transpose`. */
export function transpose(
  source: Uint8Array,
  rows: number,
  columns: number,
  elementSize: 1 | 2 | 4,
  target: Uint8Array,
): void {
  for (let top = 0; top < rows; top += SQUARE) {
    const bottom = Math.min(top + SQUARE, rows);
    for (let left = 0; left < columns; left += SQUARE) {
      const right = Math.min(left + SQUARE, columns);
      for (let c = left; c < right; c++) {
        for (let r = top; r < bottom; r++) {
          const from = (r * columns + c) * elementSize;
          const to = (c * rows + r) * elementSize;
          for (let byte = 0; byte < elementSize; byte++) target[to + byte] = source[from + byte]!;
        }
      }
    }
  }
}
