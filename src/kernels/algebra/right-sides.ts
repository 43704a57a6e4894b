/**
 * Many rows times a matrix, and many right-hand sides of one factorised matrix (kernels/algebra/products.ts, solve.ts): brings rows side by side,
 * eight to a block, [step][8], and what they meet into strips.
 */

import type { KernelFunction, KernelMemory } from '../wasm-memory.ts';
import type { AlgebraKernels } from './algebra.ts';
import { LANES, PANEL, SEGMENT, SEGMENTS } from './factorise.ts';
import { packStrips, packTransposed, STRIP, stripsLength } from './strips.ts';

/** Right-hand sides of so many rows stay in the second-level cache. */
const BATCH = 32;

export function solving(memory: KernelMemory, substitute: KernelFunction): AlgebraKernels['solveFactorised'] {
  return (lower, n, rows) => {
    if (n === 0) return;
    const count = rows.length / n;
    const steps = Math.ceil(n / STRIP) * STRIP;
    const arena = memory.arena(8 * (2 * stripsLength(n) + BATCH * steps) + 128);
    const forward = arena.f64(stripsLength(n));
    const backward = arena.f64(stripsLength(n));
    const vectors = arena.f64(BATCH * steps);
    packStrips(forward, lower, n);
    packTransposed(backward, lower, n);
    for (let first = 0; first < count; first += BATCH) {
      const held = Math.min(BATCH, count - first);
      const blocks = Math.ceil(held / LANES);
      for (let r = 0; r < held; r++) {
        const to = (r - (r % LANES)) * steps + (r % LANES);
        for (let i = 0; i < n; i++) vectors[to + i * LANES] = rows[(first + r) * n + i]!;
      }
      substitute(memory.address(forward), steps, blocks, memory.address(vectors));
      for (let block = 0; block < blocks; block++)
        reverse(vectors.subarray(block * steps * LANES, (block * steps + n) * LANES));
      substitute(memory.address(backward), steps, blocks, memory.address(vectors));
      for (let r = 0; r < held; r++) {
        const from = (r - (r % LANES)) * steps + (r % LANES);
        const to = (first + r) * n + n - 1;
        for (let i = 0; i < n; i++) rows[to - i] = vectors[from + i * LANES]!;
      }
    }
  };
}

/** Turns the order of steps round. @param block - [steps][LANES] */
function reverse(block: Float64Array): void {
  for (let a = 0, b = block.length - LANES; a < b; a += LANES, b -= LANES) {
    for (let lane = 0; lane < LANES; lane++) {
      const kept = block[a + lane]!;
      block[a + lane] = block[b + lane]!;
      block[b + lane] = kept;
    }
  }
}

export function multiplying(
  memory: KernelMemory,
  subtractProducts: KernelFunction,
): AlgebraKernels['multiply'] {
  return (rows, matrix, n) => {
    const products = new Float64Array(rows.length);
    if (n === 0) return products;
    const count = rows.length / n;
    const panels = Math.ceil(n / PANEL);
    const strips = Math.ceil(n / LANES);
    const width = strips * LANES;
    const left = BATCH / LANES;
    const size = SEGMENT / 4;
    const arena = memory.arena(panels * (strips + left) * SEGMENT + 8 * BATCH * width + 192);
    const packedMatrix = arena.f32(panels * strips * size);
    const packedRows = arena.f32(panels * left * size);
    const found = arena.f64(BATCH * width);
    for (let i = 0; i < n; i++) {
      // Columns of the matrix lie in strips as the rows do: its input i is at [i / PANEL][column / LANES][i % PANEL][column % LANES].
      const to = Math.floor(i / PANEL) * strips * size + (i % PANEL) * LANES;
      for (let j = 0; j < n; j++) packedMatrix[to + (j >> 3) * size + (j & 7)] = matrix[i * n + j]!;
    }
    for (let first = 0; first < count; first += BATCH) {
      const held = Math.min(BATCH, count - first);
      const blocks = Math.ceil(held / LANES);
      for (let r = 0; r < held; r++) {
        for (let i = 0; i < n; i++) {
          const at = (Math.floor(i / PANEL) * left + (r >> 3)) * size + (i % PANEL) * LANES + (r & 7);
          // The kernel takes products off.
          packedRows[at] = -rows[(first + r) * n + i]!;
        }
      }
      found.fill(0);
      for (let panel = 0; panel < panels; panel += SEGMENTS) {
        for (let column = 0; column < width; column += PANEL) {
          subtractProducts(
            memory.address(packedRows, panel * left * size),
            left * SEGMENT,
            blocks,
            memory.address(packedMatrix, (panel * strips + column / LANES) * size),
            strips * SEGMENT,
            Math.min(PANEL, width - column),
            Math.min(SEGMENTS, panels - panel),
            memory.address(found, column * LANES),
            8 * width * LANES,
          );
        }
      }
      for (let r = 0; r < held; r++) {
        const from = (r - (r % LANES)) * width + (r % LANES);
        for (let j = 0; j < n; j++) products[(first + r) * n + j] = found[from + j * LANES]!;
      }
    }
    return products;
  };
}
