/**
 * Rows whose codes move, in the memory of the kernels (kernels/algebra/rows.ts): H once, with zeros around it, then the arrays of the
 * rows. One H at a time.
 */

import type { KernelFunction, KernelMemory } from '../wasm-memory.ts';
import type { AlgebraKernels } from './algebra.ts';

const BLOCK = 4;
/** From this size on rows that lie a power of two apart would share cache lines. */
const LARGE = 512;

export function rowSets(
  memory: KernelMemory,
  kernel: (name: string) => KernelFunction,
): AlgebraKernels['rowSet'] {
  const addProducts = kernel('addProducts');
  const descendSingly = kernel('descendSingly');
  const descendInPairs = kernel('descendInPairs');
  return ({ gram, n, groupSize, top }, count) => {
    const stride = Math.ceil(n / BLOCK) * BLOCK + (n >= LARGE ? 2 * BLOCK : 0);
    const rows = count + (count % 2);
    const groups = Math.ceil(n / groupSize);
    const planes = 6 * rows + 1;
    const arena = memory.arena(
      8 * stride * (stride + planes) + rows * (stride + 8 * groups + 10) + 16 * (planes + 8),
    );
    const h = arena.f64(stride * stride);
    const diagonal = arena.f64(stride);
    for (let i = 0; i < n; i++) {
      h.set(gram.subarray(i * n, (i + 1) * n), i * stride);
      diagonal[i] = gram[i * n + i]!;
    }
    const frame = arena.f64(3 * rows * stride);
    const values = arena.f64(rows * stride);
    const differences = arena.f64(rows * stride);
    const gradients = arena.f64(rows * stride);
    const gains = arena.f64(rows);
    const scales = arena.f32(rows * groups);
    const zeros = arena.f32(rows * groups);
    const codes = arena.u8(rows * stride);
    const active = arena.u8(rows);
    const moved = arena.u8(rows);
    const at = (array: Float64Array | Float32Array | Uint8Array): number => memory.address(array);
    const gramAt = at(h);
    return {
      rows,
      stride,
      codes,
      scales,
      zeros,
      values,
      differences,
      gradients,
      active,
      gains,
      addProducts(from = 0, to = n, columns = n) {
        const first = from - (from % BLOCK);
        const last = Math.ceil(to / BLOCK) * BLOCK;
        const width = columns + (columns % 2);
        addProducts(gramAt, stride, rows, at(differences), at(gradients), first, last, width);
      },
      descendSingly(sweeps) {
        descendSingly(
          gramAt,
          stride,
          n,
          rows,
          groupSize,
          groups,
          at(codes),
          at(scales),
          at(zeros),
          at(values),
          at(gradients),
          top,
          sweeps,
          at(active),
          at(moved),
          at(gains),
        );
      },
      descendInPairs() {
        descendInPairs(
          gramAt,
          at(diagonal),
          stride,
          n,
          rows,
          groupSize,
          groups,
          at(codes),
          at(scales),
          at(zeros),
          at(values),
          at(gradients),
          top,
          at(active),
          at(frame),
          at(gains),
        );
      },
    };
  };
}
