/**
 * Affine integers per tensor or per index of an axis (docs/onnx.md 3.6): first a pass for the range, then one for the codes.
 * A tensor of at most `KEPT_BYTES` stays in memory between the two; a larger one is read twice.
 *
 * The tensor is seen as [outer, channels, inner]. With outer = 1 a window is a range of channels, else the whole tensor.
 *   scale = f64(f32(max − min)) / (high − low), rounded to f32 (or f16); min ≤ 0 ≤ max; symmetric: ±max(|min|, |max|)
 *   code  = clamp(roundEven(x / scale) + zeroPoint, type's lowest, type's highest)
 */

import type { Shape } from '../../core/shape.ts';
import { elementCount } from '../../core/shape.ts';
import type { Kernels } from '../../kernels/kernels.ts';
import type { AffineOperation } from '../../numerics/operation.ts';
import { type AffineParameters, affineParameters, CODE_RANGES } from './affine-parameters.ts';
import {
  arenaBytes,
  bytesOf,
  type OperationContext,
  type OperationRunner,
  type Window,
  type WindowResult,
} from './context.ts';
import { checkFinite, createLoader, scratchBytes } from './load.ts';
import { permute } from './permute.ts';
import { storedScales, writeScales } from './scales.ts';
import { collectSums } from './sums.ts';

const KEPT_BYTES = 16 << 20;

interface View {
  readonly outer: number;
  readonly channels: number;
  readonly inner: number;
}

function viewOf({ shape, axis }: AffineOperation): View {
  const count = elementCount(shape) ?? Number.NaN;
  if (axis === null) return { outer: 1, channels: 1, inner: count };
  const product = (dims: Shape): number => dims.reduce((a, b) => a * b, 1);
  return {
    outer: product(shape.slice(0, axis)),
    channels: shape[axis] ?? 1,
    inner: product(shape.slice(axis + 1)),
  };
}

export const affineRunner: OperationRunner<AffineOperation> = {
  cut(operation) {
    const { outer, channels } = viewOf(operation);
    const whole = { units: 1, align: 1, heldBytes: 0, minUnits: 1 };
    if (outer !== 1 || channels === 1 || operation.permutation !== undefined) return whole;
    // Two 4-bit zero points share a byte.
    const align = CODE_RANGES[operation.type].bits === 4 ? 2 : 1;
    return { units: channels, align, heldBytes: 0, minUnits: align };
  },

  async run(operation, window, context) {
    const view = viewOf(operation);
    const byChannel = view.outer === 1 && view.channels > 1 && operation.permutation === undefined;
    // A window over channels is a tensor of its own with fewer channels.
    const channels: Window = byChannel ? window : { start: 0, end: view.channels };
    return runView(operation, { ...view, channels: channels.end - channels.start }, channels.start, context);
  },
};

interface Pass {
  /** First element, counted in the window, and how many. */
  readonly start: number;
  readonly length: number;
}

async function runView(
  operation: AffineOperation,
  view: View,
  firstChannel: number,
  context: OperationContext,
): Promise<WindowResult> {
  const { kernels } = context;
  const { from, type, permutation } = operation;
  const { outer, channels, inner } = view;
  const { bits, low, high } = CODE_RANGES[type];
  const count = outer * channels * inner;
  const first = firstChannel * inner;
  const kept = count * 4 <= KEPT_BYTES;
  const passes = [...split(view, context.tileBytes, bits)];
  const tile = Math.max(1, ...passes.map((pass) => pass.length));
  const codeSize = bits === 16 ? 2 : 1;
  const arena = kernels.arena(
    arenaBytes(
      (kept ? count : tile) * 4,
      scratchBytes(from, tile),
      tile * codeSize,
      channels * 4,
      channels * 4,
      channels * 4,
      context.measure ? tile * 4 : 0,
    ),
  );
  const values = arena.f32(kept ? count : tile);
  const loader = createLoader(context, from, arena, tile);
  const codes = arena.u8(tile * codeSize);
  const min = arena.f32(channels).fill(0);
  const max = arena.f32(channels).fill(0);
  const scales = arena.f32(channels);
  const zeroPoints = new Int32Array(channels);
  const restored = arena.f32(context.measure ? tile : 0);
  const collector = collectSums(kernels, context.measure);
  const permuted = permutation === undefined ? undefined : new Uint8Array(count * codeSize);

  const tileOf = async (pass: Pass, again: boolean): Promise<Float32Array> => {
    const place = kept ? pass.start : 0;
    const part = values.subarray(place, place + pass.length);
    if (!(kept && again)) await loader.contiguous(first + pass.start, part);
    return part;
  };

  let nonFinite = 0;
  for (const pass of passes) {
    await context.checkpoint();
    const part = await tileOf(pass, false);
    const bad = foldRange(kernels, part, pass.start, view, min, max);
    nonFinite += bad;
    checkFinite(context, bad, part, (place) => first + pass.start + place);
  }
  for (let c = 0; c < channels; c++) {
    const found: AffineParameters = affineParameters(min[c]!, max[c]!, operation);
    scales[c] = found.scale;
    zeroPoints[c] = found.zeroPoint;
  }
  const stored = context.measure ? storedScales(context, operation, scales) : scales;
  for (const pass of passes) {
    await context.checkpoint();
    const part = await tileOf(pass, true);
    const bytes = codes.subarray(0, part.length * codeSize);
    quantize(kernels, part, pass.start, view, scales, zeroPoints, low, high, typed(bytes, type));
    if (context.measure) {
      const back = restored.subarray(0, part.length);
      dequantize(kernels, typed(bytes, type), pass.start, view, stored, zeroPoints, back);
      collector.add(part, back);
    }
    if (permuted !== undefined) permuted.set(bytes, pass.start * codeSize);
    else await writeCodeBytes(context, operation, first + pass.start, bytes);
  }
  if (permuted !== undefined && permutation !== undefined) {
    const { codes: moved } = permute(permuted, operation.shape, permutation, codeSize);
    await writeCodeBytes(context, operation, 0, moved);
  }
  await writeScales(context, operation, 'scale', firstChannel, scales);
  await writeZeroPoints(context, operation, firstChannel, zeroPoints);
  return { count, nonFinite, sums: collector.sums };
}

/**
 * Tiles of the second pass: whole rows of channels where the axis is last, else pieces of runs; even for 4-bit codes so
 * that no byte is torn.
 */
function* split({ outer, channels, inner }: View, tileBytes: number, bits: number): Generator<Pass> {
  const count = outer * channels * inner;
  const unit = inner === 1 ? channels : 1;
  const even = bits === 4 && unit % 2 === 1 ? 2 : 1;
  const step = Math.max(1, Math.floor(tileBytes / 4 / (unit * even))) * unit * even;
  for (let start = 0; start < count; start += step) yield { start, length: Math.min(step, count - start) };
}

/** Calls `visit` for every run of one channel in a tile that starts at element `start`. */
function eachRun(
  length: number,
  start: number,
  { channels, inner }: View,
  visit: (channel: number, from: number, to: number) => void,
): void {
  let from = 0;
  while (from < length) {
    const at = start + from;
    const to = Math.min(length, from + inner - (at % inner));
    visit(Math.floor(at / inner) % channels, from, to);
    from = to;
  }
}

function foldRange(
  kernels: Kernels,
  tile: Float32Array,
  start: number,
  view: View,
  min: Float32Array,
  max: Float32Array,
): number {
  if (view.inner === 1 && view.channels > 1) return kernels.columnRange(tile, view.channels, min, max);
  let nonFinite = 0;
  eachRun(tile.length, start, view, (channel, from, to) => {
    const range = kernels.range(tile.subarray(from, to));
    nonFinite += range.nonFinite;
    if (range.min < min[channel]!) min[channel] = range.min;
    if (range.max > max[channel]!) max[channel] = range.max;
  });
  return nonFinite;
}

function quantize(
  kernels: Kernels,
  tile: Float32Array,
  start: number,
  view: View,
  scales: Float32Array,
  zeroPoints: Int32Array,
  low: number,
  high: number,
  target: Codes,
): void {
  const byColumn = view.inner === 1 && view.channels > 1;
  if (byColumn && (target instanceof Uint8Array || target instanceof Int8Array)) {
    kernels.quantizeAffineColumns(tile, view.channels, scales, zeroPoints, low, high, 'halfEven', target);
    return;
  }
  eachRun(tile.length, start, view, (channel, from, to) => {
    kernels.quantizeAffine(
      tile.subarray(from, to),
      scales[channel]!,
      zeroPoints[channel]!,
      low,
      high,
      'halfEven',
      target.subarray(from, to),
    );
  });
}

function dequantize(
  kernels: Kernels,
  codes: Codes,
  start: number,
  view: View,
  scales: Float32Array,
  zeroPoints: Int32Array,
  target: Float32Array,
): void {
  if (view.inner === 1 && view.channels > 1) {
    // Every run is one element: a kernel call for each costs a hundred times the arithmetic.
    let channel = start % view.channels;
    for (let i = 0; i < codes.length; i++) {
      target[i] = (codes[i]! - zeroPoints[channel]!) * scales[channel]!;
      if (++channel === view.channels) channel = 0;
    }
    return;
  }
  eachRun(codes.length, start, view, (channel, from, to) => {
    kernels.dequantizeAffine(
      codes.subarray(from, to),
      scales[channel]!,
      zeroPoints[channel]!,
      target.subarray(from, to),
    );
  });
}

type Codes = Uint8Array | Int8Array | Uint16Array | Int16Array;

/** The codes' own element type over the same bytes; 4-bit codes take a byte each until they are packed. */
function typed(bytes: Uint8Array, type: AffineOperation['type']): Codes {
  const { buffer, byteOffset, byteLength } = bytes;
  switch (type) {
    case 'int8':
    case 'int4':
      return new Int8Array(buffer, byteOffset, byteLength);
    case 'uint8':
    case 'uint4':
      return bytes;
    case 'int16':
      return new Int16Array(buffer, byteOffset, byteLength / 2);
    case 'uint16':
      return new Uint16Array(buffer, byteOffset, byteLength / 2);
    default:
      return type satisfies never;
  }
}

/** Writes codes (one or two bytes each in memory) from element `index` of the part `data` on. */
async function writeCodeBytes(
  context: OperationContext,
  { type }: AffineOperation,
  index: number,
  bytes: Uint8Array,
): Promise<void> {
  const { bits } = CODE_RANGES[type];
  if (bits !== 4) return context.write('data', (index * bits) / 8, bytes);
  const packed = new Uint8Array(Math.ceil(bytes.length / 2));
  for (let i = 0; i < bytes.length; i++) bytes[i] = bytes[i]! & 15;
  context.kernels.packBits(bytes, 4, 'lowFirst', packed);
  return context.write('data', index / 2, packed);
}

async function writeZeroPoints(
  context: OperationContext,
  { type }: AffineOperation,
  index: number,
  zeroPoints: Int32Array,
): Promise<void> {
  const { bits } = CODE_RANGES[type];
  if (bits === 16) return context.write('zeroPoint', index * 2, bytesOf(Uint16Array.from(zeroPoints)));
  const codes = Uint8Array.from(zeroPoints, (value) => value & (bits === 4 ? 15 : 255));
  if (bits === 8) return context.write('zeroPoint', index, codes);
  const packed = new Uint8Array(Math.ceil(codes.length / 2));
  context.kernels.packBits(codes, 4, 'lowFirst', packed);
  return context.write('zeroPoint', index / 2, packed);
}
