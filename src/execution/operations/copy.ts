/** Bytes as they are, and element-by-element conversion to another type (f16, bf16, float8): both stream in tiles. */

import { byteLength, DTYPES } from '../../core/dtype.ts';
import { elementCount } from '../../core/shape.ts';
import type { ConvertOperation, CopyOperation } from '../../numerics/operation.ts';
import { arenaBytes, bytesOf, type OperationRunner } from './context.ts';
import { createLoader, scratchBytes } from './load.ts';
import { collectSums } from './sums.ts';

const COPY_TILE = 4 << 20;

/** Units are bytes. */
export const copyRunner: OperationRunner<CopyOperation> = {
  cut: (operation) => ({
    units: byteLength(operation.dtype, elementCount(operation.shape) ?? Number.NaN),
    align: 4096,
    heldBytes: 0,
    minUnits: COPY_TILE,
    fine: true,
  }),

  async run(_operation, window, context) {
    const tile = new Uint8Array(Math.min(COPY_TILE, window.end - window.start));
    for (let start = window.start; start < window.end; start += tile.length) {
      await context.checkpoint();
      const bytes = tile.subarray(0, Math.min(tile.length, window.end - start));
      await context.read(start, bytes);
      await context.write('data', start, bytes);
    }
    return { count: window.end - window.start, nonFinite: 0 };
  },
};

/** Units are elements. NaN and Inf pass (they have codes in most of the target types) and are counted. */
export const convertRunner: OperationRunner<ConvertOperation> = {
  cut: (operation) => ({
    units: elementCount(operation.shape) ?? Number.NaN,
    align: 1024,
    heldBytes: 0,
    minUnits: 1 << 20,
  }),

  async run({ from, to, clip, saturate }, window, context) {
    const { kernels } = context;
    const count = window.end - window.start;
    const tile = Math.max(1024, Math.min(Math.floor(context.tileBytes / 4 / 1024) * 1024, count));
    const bits = DTYPES[to].bits;
    const arena = kernels.arena(
      arenaBytes(tile * 4, (tile * bits) / 8, scratchBytes(from, tile), context.measure ? tile * 4 : 0),
    );
    const values = arena.f32(tile);
    const target = arena.u8(Math.ceil((tile * bits) / 8));
    const loader = createLoader(context, from, arena, tile);
    const restored = arena.f32(context.measure ? tile : 0);
    const collector = collectSums(kernels, context.measure);
    let nonFinite = 0;
    for (let start = window.start; start < window.end; start += tile) {
      await context.checkpoint();
      const length = Math.min(tile, window.end - start);
      const part = values.subarray(0, length);
      await loader.contiguous(start, part);
      nonFinite += kernels.range(part).nonFinite;
      const bytes = target.subarray(0, Math.ceil((length * bits) / 8));
      if (to === 'f32') bytes.set(bytesOf(part));
      else kernels.convert('f32', to, bytesOf(part), bytes, length, { clip, saturate });
      if (context.measure) {
        const back = restored.subarray(0, length);
        if (to === 'f32') back.set(part);
        else kernels.convert(to, 'f32', bytes, bytesOf(back), length);
        collector.add(part, back);
      }
      await context.write('data', (start * bits) / 8, bytes);
    }
    return { count, nonFinite, sums: collector.sums };
  },
};
