/**
 * The SIMD kernels of the grid searches, over a memory of their own. Rows pass through its arena in batches; a call takes one group
 * of columns of eight rows. Groups too long for a frame, and those whose half-quadratic errors are so large that they would shrink
 * (kernels/grid/real.ts), are left to the definition.
 */

import { compileKernels, KernelMemory } from '../wasm-memory.ts';
import { gridDefinition } from './definition.ts';
import { type GridKernels, type GridShape, type GridTarget, groupsOf } from './grid.ts';
import { KERNEL_MODULE } from './module.gen.ts';

/** In the module's part of the memory (scripts/build-kernels.mjs), after its own data; up to the arena. */
const FRAME = 25 << 20;
const LONGEST_GROUP = ((7 << 20) / 32) | 0;
/** Values that lie in the arena at once; 20 MiB with their codes. */
const BATCH = 4 << 20;
const LANES = 8;

/** One call of a kernel: a group of columns of up to eight rows, as addresses. */
interface Call {
  readonly values: number;
  readonly rows: number;
  readonly count: number;
  readonly codes: number;
  readonly scales: number;
  readonly zeros: number;
  /** First row and column in the matrix. */
  readonly row: number;
  readonly column: number;
}

/** Kernels with their own memory, or undefined where the machine has no WebAssembly SIMD. */
export async function createGridKernels(): Promise<GridKernels | undefined> {
  const core = await compileKernels();
  if (core === undefined) return undefined;
  const memory = new KernelMemory(core);
  const kernel = await memory.attach(KERNEL_MODULE);
  const search = kernel('search');
  const halfQuadratic = kernel('halfQuadratic');
  const encode = kernel('encode');

  /** Runs `call` over all groups; `columns` vectors lie before the batch. */
  function forEachCall(
    values: Float32Array,
    shape: GridShape,
    vectors: readonly Float32Array[],
    target: GridTarget,
    given: boolean,
    call: (at: Call, addresses: readonly number[]) => void,
  ): void {
    const { rows, columns, groupSize } = shape;
    const groups = groupsOf(shape);
    const batch = Math.max(1, Math.min(rows, Math.floor(BATCH / Math.max(1, columns))));
    const room = vectors.reduce((sum, vector) => sum + vector.length * 4 + 16, 0);
    const arena = memory.arena(room + batch * (columns * 5 + groups * 8) + 64);
    const addresses = vectors.map((vector) => {
      const copy = arena.f32(vector.length);
      copy.set(vector);
      return memory.address(copy);
    });
    const weights = arena.f32(batch * columns);
    const scales = arena.f32(batch * groups);
    const zeros = arena.f32(batch * groups);
    const codes = arena.u8(batch * columns);
    for (let start = 0; start < rows; start += batch) {
      const count = Math.min(batch, rows - start);
      weights.set(values.subarray(start * columns, (start + count) * columns));
      if (given) {
        scales.set(target.scales.subarray(start * groups, (start + count) * groups));
        zeros.set(target.zeros.subarray(start * groups, (start + count) * groups));
      }
      for (let row = 0; row < count; row += LANES) {
        for (let group = 0; group < groups; group++) {
          const column = group * groupSize;
          call(
            {
              values: memory.address(weights, row * columns + column),
              rows: Math.min(LANES, count - row),
              count: Math.min(groupSize, columns - column),
              codes: memory.address(codes, row * columns + column),
              scales: memory.address(scales, row * groups + group),
              zeros: memory.address(zeros, row * groups + group),
              row: start + row,
              column,
            },
            addresses,
          );
        }
      }
      target.codes.set(codes.subarray(0, count * columns), start * columns);
      target.scales.set(scales.subarray(0, count * groups), start * groups);
      target.zeros.set(zeros.subarray(0, count * groups), start * groups);
    }
  }

  return {
    backend: 'wasm',
    search(values, shape, importance, options, target) {
      if (shape.groupSize > LONGEST_GROUP) {
        gridDefinition.search(values, shape, importance, options, target);
        return;
      }
      const { bits, symmetric, half } = shape;
      const { factors, refits, coherence } = options;
      const real = options.realZeros && refits > 0 && !symmetric;
      const reach = symmetric ? 0 : options.reach;
      const vectors = importance === undefined ? [factors] : [factors, importance];
      const groups = groupsOf(shape);
      forEachCall(values, shape, vectors, target, false, (at, [factorsAt = 0, importanceAt]) =>
        search(
          at.values,
          shape.columns,
          at.rows,
          at.count,
          bits,
          Number(symmetric),
          Number(half),
          importanceAt === undefined ? 0 : importanceAt + at.column * 4,
          factorsAt,
          factors.length,
          reach,
          refits,
          coherence,
          Number(real),
          at.codes,
          at.scales,
          at.zeros,
          groups,
          FRAME,
        ),
      );
    },
    halfQuadratic(values, shape, options, target) {
      if (shape.groupSize > LONGEST_GROUP) {
        gridDefinition.halfQuadratic(values, shape, options, target);
        return;
      }
      const groups = groupsOf(shape);
      const left: Call[] = [];
      // |e| shrinks to 0 below β^(−1 / (2 − p)); β only grows.
      const beta = options.beta * Math.max(1, options.kappa) ** (options.iterations + 1);
      const limit = 0.9 * beta ** (-1 / (2 - options.norm));
      forEachCall(values, shape, [], target, false, (at) => {
        const { bits, half } = shape;
        const flagged = halfQuadratic(
          at.values,
          shape.columns,
          at.rows,
          at.count,
          bits,
          Number(half),
          options.iterations,
          Number(options.roundStart),
          limit,
          at.codes,
          at.scales,
          at.zeros,
          groups,
          FRAME,
        );
        if (flagged !== 0) left.push(at);
      });
      for (const { row, rows, column, count } of left) {
        for (let r = row; r < row + rows; r++) {
          const at = r * shape.columns + column;
          const group = r * groups + column / shape.groupSize;
          gridDefinition.halfQuadratic(
            values.subarray(at, at + count),
            { ...shape, rows: 1, columns: count, groupSize: count },
            options,
            {
              codes: target.codes.subarray(at, at + count),
              scales: target.scales.subarray(group, group + 1),
              zeros: target.zeros.subarray(group, group + 1),
            },
          );
        }
      }
    },
    encode(values, shape, target) {
      if (shape.groupSize > LONGEST_GROUP) {
        gridDefinition.encode(values, shape, target);
        return;
      }
      const groups = groupsOf(shape);
      forEachCall(values, shape, [], target, true, (at) =>
        encode(
          at.values,
          shape.columns,
          at.rows,
          at.count,
          shape.bits,
          at.codes,
          at.scales,
          at.zeros,
          groups,
          FRAME,
        ),
      );
    },
  };
}
