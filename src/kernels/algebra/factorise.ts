/**
 * Cholesky factorisation with kernels (kernels/algebra/products.ts, solve.ts), left-looking: a panel of 64 columns loses what all panels
 * before it make up, its diagonal block is factorised, and substitution gives the rows below it (G. Golub and C. Van Loan, "Matrix
 * Computations", 4.2.5 by blocks). The panel is f64 while that happens; finished panels are kept in f32 for the products to come.
 *
 * Rows lie in strips of eight side by side, [strip][column][8]. The matrix is filled up to whole panels with a diagonal of ones.
 */

import type { KernelFunction, KernelMemory } from '../wasm-memory.ts';
import type { AlgebraKernels } from './algebra.ts';
import { packStrips, stripsLength } from './strips.ts';

/** Columns of a panel. */
export const PANEL = 64;
/** Rows of a strip. */
export const LANES = 8;
const STRIPS = PANEL / LANES;
/** Bytes of a strip of a finished panel. */
export const SEGMENT = 4 * PANEL * LANES;
/** Panels whose products are summed in f32 before they are taken from f64. */
export const SEGMENTS = 2;
/** Strips that meet all finished panels before the next ones do: their part of the panel stays in the second-level cache. */
const GROUP = 32;

export function factorising(
  memory: KernelMemory,
  kernel: (name: string) => KernelFunction,
): AlgebraKernels['factorise'] {
  const subtractProducts = kernel('subtractProducts');
  const substitute = kernel('substitute');
  const demote = kernel('demote');
  return (a, n, factoriseBlock) => {
    const panels = Math.ceil(n / PANEL);
    const strips = panels * STRIPS;
    const kept = (STRIPS * panels * (panels + 1)) / 2;
    const arena = memory.arena(kept * SEGMENT + 8 * (strips * PANEL * LANES + stripsLength(PANEL)) + 256);
    const finished = memory.address(arena.f32((kept * SEGMENT) / 4));
    const panel = arena.f64(strips * PANEL * LANES);
    const triangle = arena.f64(stripsLength(PANEL));
    /** Strips before those of a panel, whose first one belongs to its diagonal. */
    const before = (p: number): number => STRIPS * (p * panels - (p * (p - 1)) / 2);
    /** Where panel `of` keeps the strips of rows from panel `p` on. */
    const keptAt = (of: number, p: number): number => finished + (before(of) + (p - of) * STRIPS) * SEGMENT;
    const block = new Float64Array(PANEL * PANEL);
    const columnBytes = 8 * PANEL * LANES;

    for (let p = 0; p < panels; p++) {
      const rows = strips - p * STRIPS;
      readPanel(a, n, p * PANEL, panel, rows);
      for (let first = 0; first < rows; first += GROUP) {
        const count = Math.min(GROUP, rows - first);
        const into = memory.address(panel, first * PANEL * LANES);
        for (let of = 0; of < p; of += SEGMENTS) {
          const from = keptAt(of, p);
          const next = of + 1 < p ? keptAt(of + 1, p) - from : 0;
          const held = Math.min(SEGMENTS, p - of);
          const left = from + first * SEGMENT;
          subtractProducts(left, next, count, from, next, PANEL, held, into, columnBytes);
        }
      }
      for (let i = 0; i < PANEL; i++)
        for (let j = 0; j <= i; j++) block[i * PANEL + j] = panel[placeOf(i, j)]!;
      const failed = factoriseBlock(block, PANEL);
      if (failed >= 0) return p * PANEL + failed;
      for (let i = 0; i < PANEL; i++)
        for (let j = 0; j < PANEL; j++) panel[placeOf(i, j)] = j <= i ? block[i * PANEL + j]! : 0;
      packStrips(triangle, block, PANEL);
      const below = memory.address(panel, PANEL * PANEL);
      substitute(memory.address(triangle), PANEL, rows - STRIPS, below);
      demote(memory.address(panel), rows * PANEL * LANES, keptAt(p, p));
      writePanel(panel, a, n, p * PANEL);
    }
    return -1;
  };
}

/** Where a panel has the value of row i, from its diagonal on, and column j. */
function placeOf(i: number, j: number): number {
  const lane = i % LANES;
  return (i - lane) * PANEL + j * LANES + lane;
}

function readPanel(a: Float64Array, n: number, start: number, panel: Float64Array, strips: number): void {
  for (let i = 0; i < strips * LANES; i++) {
    const row = start + i;
    const from = row * n + start;
    let to = placeOf(i, 0);
    const read = row < n ? Math.min(PANEL, i + 1, n - start) : 0;
    for (let j = 0; j < read; j++, to += LANES) panel[to] = a[from + j]!;
    for (let j = read; j < PANEL; j++, to += LANES) panel[to] = j === i ? 1 : 0;
  }
}

function writePanel(panel: Float64Array, a: Float64Array, n: number, start: number): void {
  for (let row = start; row < n; row++) {
    const to = row * n + start;
    const written = Math.min(PANEL, row - start + 1);
    for (let j = 0, from = placeOf(row - start, 0); j < written; j++, from += LANES) a[to + j] = panel[from]!;
  }
}
