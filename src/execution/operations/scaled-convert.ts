/**
 * Float8 with a scale: scale = absmax / largest finite value of the type, data = saturating cast of x / scale (f32
 * division). Per tensor or per index of an axis; a tensor is read twice. Zero everywhere gives scale 1.
 */

import { FLOAT_FORMATS } from '../../core/floats.ts';
import { elementCount } from '../../core/shape.ts';
import type { ScaledConvertOperation } from '../../numerics/operation.ts';
import { arenaBytes, bytesOf, type OperationRunner } from './context.ts';
import { checkFinite, createLoader, scratchBytes } from './load.ts';
import { storedScales, workingScale, writeScales } from './scales.ts';
import { collectSums } from './sums.ts';

interface View {
  readonly outer: number;
  readonly channels: number;
  readonly inner: number;
}

function viewOf({ shape, axis }: ScaledConvertOperation): View {
  const count = elementCount(shape) ?? Number.NaN;
  if (axis === null) return { outer: 1, channels: 1, inner: count };
  const outer = shape.slice(0, axis).reduce((a, b) => a * b, 1);
  const channels = shape[axis] ?? 1;
  const inner = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  return { outer, channels, inner };
}

/** Units are channels where they are contiguous, else the tensor is one unit. */
export const scaledConvertRunner: OperationRunner<ScaledConvertOperation> = {
  cut(operation) {
    const { outer, channels } = viewOf(operation);
    return { units: outer === 1 ? channels : 1, align: 1, heldBytes: 0, minUnits: 1 };
  },

  async run(operation, window, context) {
    const { from, to } = operation;
    const { kernels } = context;
    const view = viewOf(operation);
    const byChannel = view.outer === 1;
    const channels = byChannel ? window.end - window.start : view.channels;
    const firstChannel = byChannel ? window.start : 0;
    const first = firstChannel * view.inner;
    const count = view.outer * channels * view.inner;
    const tile = Math.max(1, Math.min(count, Math.floor(context.tileBytes / 4)));
    const arena = kernels.arena(
      arenaBytes(
        tile * 4,
        scratchBytes(from, tile),
        tile,
        channels * 4,
        context.measure ? tile * 4 : 0,
        context.measure ? tile * 4 : 0,
      ),
    );
    const values = arena.f32(tile);
    const loader = createLoader(context, from, arena, tile);
    const codes = arena.u8(tile);
    const scales = arena.f32(channels);
    const original = arena.f32(context.measure ? tile : 0);
    const restored = arena.f32(context.measure ? tile : 0);
    const collector = collectSums(kernels, context.measure);

    /** Calls `visit` for every run of one channel in the tile. */
    const eachRun = (start: number, length: number, visit: (c: number, from: number, to: number) => void) => {
      for (let from = 0; from < length; ) {
        const at = start + from;
        const to = Math.min(length, from + view.inner - (at % view.inner));
        visit(Math.floor(at / view.inner) % channels, from, to);
        from = to;
      }
    };

    let nonFinite = 0;
    for (let start = 0; start < count; start += tile) {
      await context.checkpoint();
      const part = values.subarray(0, Math.min(tile, count - start));
      await loader.contiguous(first + start, part);
      let bad = 0;
      eachRun(start, part.length, (c, from, to) => {
        const range = kernels.range(part.subarray(from, to));
        bad += range.nonFinite;
        if (range.max >= range.min)
          scales[c] = Math.max(scales[c]!, Math.abs(range.min), Math.abs(range.max));
      });
      nonFinite += bad;
      checkFinite(context, bad, part, (place) => first + start + place);
    }
    const largest = FLOAT_FORMATS[to].maxFinite;
    for (let c = 0; c < channels; c++) {
      // A scale that rounds to 0 (all values tiny) would divide by zero.
      const scale = workingScale(operation, Math.fround(scales[c]! / largest));
      scales[c] = scale > 0 ? scale : 1;
    }
    const stored = context.measure ? storedScales(context, operation, scales) : scales;
    for (let start = 0; start < count; start += tile) {
      await context.checkpoint();
      const part = values.subarray(0, Math.min(tile, count - start));
      await loader.contiguous(first + start, part);
      if (context.measure) original.set(part);
      eachRun(start, part.length, (c, from, to) => {
        const scale = scales[c]!;
        for (let i = from; i < to; i++) part[i] = part[i]! / scale;
      });
      const bytes = codes.subarray(0, part.length);
      kernels.convert('f32', to, bytesOf(part), bytes, part.length, { saturate: true });
      if (context.measure) {
        const back = restored.subarray(0, part.length);
        kernels.convert(to, 'f32', bytes, bytesOf(back), part.length);
        eachRun(start, part.length, (c, from, to) => {
          const scale = stored[c]!;
          for (let i = from; i < to; i++) back[i] = back[i]! * scale;
        });
        collector.add(original.subarray(0, part.length), back);
      }
      await context.write('data', first + start, bytes);
    }
    await writeScales(context, operation, 'scales', firstChannel, scales);
    return { count, nonFinite, sums: collector.sums };
  },
};
