/**
 * MatMulNBits with real zero points (docs/onnx.md 3.1, zero_points of the scales' type): the grid of each block is the
 * least-squares one of algorithms/grid-fit.ts. There is no quantizer whose bytes could be matched, and the range of a block
 * would waste what a real zero is good for.
 *
 * A window is a range of columns, worked through in tiles of whole columns: a grid depends on its block alone, so the bytes
 * do not depend on how the tensor is cut.
 */

import { fitGrid } from '../../algorithms/grid-fit.ts';
import { dequantizeMatrix } from '../../algorithms/matrix.ts';
import { withStoredZeros } from '../../algorithms/stored-zeros.ts';
import { type GridKernels, selectGridKernels } from '../../kernels/grid/index.ts';
import type { MatMulNBitsOperation } from '../../numerics/operation.ts';
import { packMatrix } from '../../numerics/pack-matrix.ts';
import { arenaBytes, bytesOf, type OperationRunner, tileUnits } from './context.ts';
import { checkFinite, createLoader, scratchBytes } from './load.ts';
import { collectSums } from './sums.ts';

/** Columns below which the reads of a row-major panel get too short to be quick. */
const MIN_PANEL = 256;

let selected: Promise<GridKernels> | undefined;

/** One set for all windows of a worker: kernels own a memory. */
function gridKernels(): Promise<GridKernels> {
  selected ??= selectGridKernels();
  return selected;
}

export const realZerosRunner: OperationRunner<MatMulNBitsOperation> = {
  cut({ columns, transposed }) {
    return { units: columns, align: 1, heldBytes: 0, minUnits: transposed ? 16 : MIN_PANEL };
  },

  async run(operation, window, context) {
    const { rows, columns, transposed, bits, blockSize, scaleType, from } = operation;
    const { kernels } = context;
    const blocks = Math.ceil(rows / blockSize);
    const stride = (blocks * blockSize * bits) / 8;
    const scaleBytes = scaleType === 'f16' ? 2 : 4;
    const width = window.end - window.start;
    const least = transposed ? 1 : Math.min(width, MIN_PANEL);
    const step = Math.max(least, tileUnits(rows * 4, width, 1, context.tileBytes));
    const elements = rows * Math.min(step, width);
    const arena = kernels.arena(
      arenaBytes(elements * 4, transposed ? 0 : elements * 4, scratchBytes(from, elements)),
    );
    const tile = arena.f32(elements);
    const turned = arena.f32(transposed ? 0 : elements);
    const loader = createLoader(context, from, arena, elements);
    const collector = collectSums(kernels, context.measure);
    const grid = await gridKernels();
    for (let column = window.start; column < window.end; column += step) {
      await context.checkpoint();
      const count = Math.min(step, window.end - column);
      const read = tile.subarray(0, count * rows);
      let weights = read;
      if (transposed) await loader.contiguous(column * rows, read);
      else {
        await loader.panel(0, rows, column, column + count, columns, read);
        weights = turned.subarray(0, read.length);
        kernels.transpose(bytesOf(read), rows, count, 4, bytesOf(weights));
      }
      const bad = weights.reduce((sum, value) => sum + (Number.isFinite(value) ? 0 : 1), 0);
      // A grid cannot be fitted to what is not finite, whatever the policy.
      checkFinite({ ...context, nonFinite: 'error' }, bad, weights, (place) => {
        const at = column + Math.floor(place / rows);
        return transposed ? at * rows + (place % rows) : (place % rows) * columns + at;
      });
      const options = { bits, groupSize: blockSize, symmetric: false, scaleType };
      const matrix = { values: weights, outputs: count, inputs: rows };
      const fitted = fitGrid(matrix, options, { zeros: 'real' }, grid);
      const quantized = withStoredZeros(matrix, fitted, { ...options, zeroPoints: 'real' });
      const parts = packMatrix({ ...operation, columns: count }, quantized, !transposed);
      await context.write('packed', column * stride, parts.get('packed') ?? new Uint8Array());
      const place = column * blocks * scaleBytes;
      await context.write('scales', place, parts.get('scales') ?? new Uint8Array());
      await context.write('zeroPoints', place, parts.get('zeroPoints') ?? new Uint8Array());
      if (context.measure) collector.add(weights, dequantizeMatrix(quantized));
    }
    return { count: rows * width, nonFinite: 0, sums: collector.sums };
  },
};
