/**
 * Rounding onto a code book: 16 (or any) levels that are not evenly spaced, times one scale for each block, as NF4 and FP4 have them
 * ("QLoRA", T. Dettmers et al. 2023). Blocks are runs of consecutive values of the matrix row by row, and may cross from one row
 * into the next, as those of bitsandbytes and MatMulBnb4 do.
 *
 *   roundToCodebook  scale = largest magnitude of the block; nearest levels
 *   fitCodebook      minimises Σ a e² + μ (Σ a w e)² / Σ a w², e = w − ŵ, a = E[x²] or 1, over scales: the search of grid-fit.ts
 *   gptqCodebook     minimises tr((W − Ŵ) H (W − Ŵ)ᵀ) on scales that are fixed beforehand: "GPTQ" (E. Frantar et al. 2023) in the
 *                    form of babai.ts, whose argument needs no evenly spaced codes
 *
 * Cost: one rounding of the weight, 16 of them, and n³/3 + rows · n² multiplications.
 */

import type { InputStatistics } from '../calibration/statistics/input-statistics.ts';
import { f16BitsToF32, f32ToF16Bits } from '../core/floats.ts';
import type { AlgebraKernels } from '../kernels/algebra/index.ts';
import { compensatedImportance, compensationRows } from './babai.ts';
import { type GptqOptions, roundingProblem } from './gptq.ts';
import { checkMatrix, importanceOf } from './grid.ts';
import type { WeightMatrix } from './matrix.ts';

export interface CodebookOptions {
  /** Value of each code relative to the scale, 2 to 256 of them, in any order; of equal ones the first is used. */
  readonly levels: Float32Array;
  /** Consecutive values that share a scale; the last block may be shorter. */
  readonly blockSize: number;
  /** Type in which scales will be stored: they are rounded to it before codes are chosen. Default f32. */
  readonly scaleType?: 'f32' | 'f16' | undefined;
}

export interface CodebookMatrix {
  readonly outputs: number;
  readonly inputs: number;
  readonly levels: Float32Array;
  readonly blockSize: number;
  /** [outputs, inputs]. */
  readonly codes: Uint8Array;
  /** [⌈outputs · inputs / blockSize⌉]. */
  readonly scales: Float32Array;
}

export interface CodebookResult extends CodebookMatrix {
  /** Share of the mean diagonal that was added to H. */
  readonly damping: number;
  readonly notes: readonly string[];
}

/** f32 [outputs, inputs]: level · scale, rounded as f32. */
export function dequantizeCodebook({ codes, levels, scales, blockSize }: CodebookMatrix): Float32Array {
  const values = new Float32Array(codes.length);
  for (let at = 0; at < codes.length; at++)
    values[at] = levels[codes[at]!]! * scales[Math.floor(at / blockSize)]!;
  return values;
}

/** Nearest levels of each block's largest magnitude. @throws WhittleError as checkMatrix */
export function roundToCodebook(weight: WeightMatrix, options: CodebookOptions): CodebookMatrix {
  const scales = largestMagnitudes(weight, options);
  return encode(weight, options, scales);
}

/** The scale of each block in least squares, with nearest levels. @throws WhittleError as checkMatrix and importanceOf */
export function fitCodebook(
  weight: WeightMatrix,
  options: CodebookOptions,
  statistics?: InputStatistics,
): CodebookMatrix {
  const importance = statistics && importanceOf(statistics, weight.inputs);
  return encode(weight, options, fittedScales(weight, options, importance));
}

/**
 * Codes that make the layer's output right.
 * @throws WhittleError as gptq
 */
export function gptqCodebook(
  weight: WeightMatrix,
  statistics: InputStatistics,
  options: CodebookOptions & Pick<GptqOptions, 'damping' | 'activationOrder' | 'asymmetric'>,
  algebra?: AlgebraKernels,
): CodebookResult {
  checkMatrix(weight, { bits: 8, groupSize: options.blockSize });
  const { factor, target, notes } = roundingProblem(weight, statistics, options, algebra);
  const squares = compensatedImportance(factor);
  // Nothing is known of an input that was never seen: it must not bend the scale of the others.
  for (const input of factor.dead) squares[input] = 0;
  const importance = importanceOf({ inputs: weight.inputs, rows: 1, squares }, weight.inputs);
  const scales = fittedScales(weight, options, importance);
  const codes = feedback(weight, target, options, scales, factor.order, compensationRows(factor));
  const { outputs, inputs } = weight;
  const { levels, blockSize } = options;
  return { outputs, inputs, levels, blockSize, codes, scales, damping: factor.damping, notes };
}

/** Levels in rising order, their codes, and the midpoints between them. */
interface Ladder {
  readonly levels: Float64Array;
  readonly codes: Uint8Array;
  /** Behind the last stands infinity. */
  readonly thresholds: Float64Array;
  /** For each slice of the range of thresholds the place that its lower end has. */
  readonly places: Uint8Array;
  readonly low: number;
  /** Slices for one unit. */
  readonly slices: number;
}

const SLICES = 1024;

function ladderOf(levels: Float32Array): Ladder {
  const rising = [...levels.entries()].sort(([a, x], [b, y]) => x - y || a - b);
  const kept = rising.filter(([, value], i) => i === 0 || value !== rising[i - 1]![1]);
  const middles = kept.slice(1).map(([, value], i) => (value + kept[i]![1]) / 2);
  const low = middles[0] ?? 0;
  const range = (middles[middles.length - 1] ?? 0) - low;
  const width = range > 0 ? range / (SLICES - 1) : 1;
  return {
    levels: Float64Array.from(kept, ([, value]) => value),
    codes: Uint8Array.from(kept, ([code]) => code),
    thresholds: Float64Array.from([...middles, Number.POSITIVE_INFINITY]),
    // A slice too low costs a step, one too high would be wrong: each counts from the end of the one before.
    places: Uint8Array.from(
      { length: SLICES },
      (_, slice) => middles.filter((middle) => middle < low + (slice - 1) * width).length,
    ),
    low,
    slices: 1 / width,
  };
}

/** Place on the ladder of the level nearest to `x`; of two the lower. */
function nearestLevel({ thresholds, places, low, slices }: Ladder, x: number): number {
  const slice = Math.min(SLICES - 1, Math.max(0, (x - low) * slices)) | 0;
  let place = places[slice]!;
  while (x > thresholds[place]!) place++;
  return place;
}

function stored(scale: number, { scaleType }: CodebookOptions): number {
  return scaleType === 'f16' ? f16BitsToF32(f32ToF16Bits(Math.min(scale, 65504))) : Math.fround(scale);
}

function largestMagnitudes(weight: WeightMatrix, options: CodebookOptions): Float32Array {
  checkMatrix(weight, { bits: 8, groupSize: options.blockSize });
  const { values } = weight;
  const scales = new Float32Array(Math.ceil(values.length / options.blockSize));
  for (let at = 0; at < values.length; at++) {
    const block = Math.floor(at / options.blockSize);
    scales[block] = Math.max(scales[block]!, Math.abs(values[at]!));
  }
  return scales.map((scale) => stored(scale, options));
}

function encode(
  { values, outputs, inputs }: WeightMatrix,
  options: CodebookOptions,
  scales: Float32Array,
): CodebookMatrix {
  const { levels, blockSize } = options;
  const ladder = ladderOf(levels);
  const codes = new Uint8Array(values.length);
  for (let at = 0; at < values.length; at++) {
    const scale = scales[Math.floor(at / blockSize)]!;
    const x = scale === 0 ? 0 : values[at]! / scale;
    codes[at] = ladder.codes[nearestLevel(ladder, x)]!;
  }
  return { outputs, inputs, levels, blockSize, codes, scales };
}

/** Scales that are tried, relative to the largest magnitude; then codes and scale are fitted to each other. */
const FACTORS = Float64Array.from({ length: 12 }, (_, k) => 1.08 - (0.4 * k) / 11);
const REFITS = 4;
/** μ of grid-fit.ts: least squares alone shrinks every block. */
const COHERENCE = 4;

function fittedScales(
  weight: WeightMatrix,
  options: CodebookOptions,
  importance: Float32Array | undefined,
): Float32Array {
  const { blockSize } = options;
  const { values, inputs } = weight;
  const ladder = ladderOf(options.levels);
  const { levels } = ladder;
  const scales = largestMagnitudes(weight, options);
  for (const [block, whole] of scales.entries()) {
    if (whole === 0) continue;
    const start = block * blockSize;
    const end = Math.min(values.length, start + blockSize);
    let ww = 0;
    for (let at = start; at < end; at++) {
      const a = importance === undefined ? 1 : importance[at % inputs]!;
      ww += a * values[at]! * values[at]!;
    }
    if (!(ww > 0)) continue;
    let best = 0;
    let gain = 0;
    const consider = (scale: number): void => {
      let uw = 0;
      let uu = 0;
      const inverse = 1 / scale;
      for (let at = start; at < end; at++) {
        const w = values[at]!;
        const u = levels[nearestLevel(ladder, w * inverse)]!;
        const au = importance === undefined ? u : importance[at % inputs]! * u;
        uw += au * w;
        uu += au * u;
      }
      const below = uu + (COHERENCE * uw * uw) / ww;
      const fitted = below > 0 ? stored(((1 + COHERENCE) * uw) / below, options) : 0;
      const gained = below > 0 ? ((1 + COHERENCE) ** 2 * uw * uw) / below : 0;
      if (!(gained > gain) || !(fitted > 0)) return;
      gain = gained;
      best = fitted;
    };
    for (const factor of FACTORS) consider(whole * factor);
    for (let round = 0; round < REFITS && best > 0; round++) consider(best);
    if (best > 0) scales[block] = best;
  }
  return scales;
}

const ROWS = 4;

/** As roundColumns of babai.ts, with levels in place of a grid. @param target - f64 [outputs, inputs] */
function feedback(
  { outputs, inputs: n }: WeightMatrix,
  target: Float64Array,
  { levels, blockSize }: CodebookOptions,
  scales: Float32Array,
  order: Int32Array,
  compensation: Float64Array,
): Uint8Array {
  const ladder = ladderOf(levels);
  const codes = new Uint8Array(outputs * n);
  // Errors of four rows, those of a step side by side.
  const errors = new Float64Array(n * ROWS);
  for (let first = 0; first < outputs; first += ROWS) {
    const rows = Math.min(ROWS, outputs - first);
    for (let c = 0; c < n; c++) {
      let s0 = 0;
      let s1 = 0;
      let s2 = 0;
      let s3 = 0;
      for (let j = 0, e = 0; j < c; j++, e += ROWS) {
        const r = compensation[c * n + j]!;
        s0 += r * errors[e]!;
        s1 += r * errors[e + 1]!;
        s2 += r * errors[e + 2]!;
        s3 += r * errors[e + 3]!;
      }
      const column = order[c]!;
      for (let row = 0; row < rows; row++) {
        const at = (first + row) * n + column;
        const scale = scales[Math.floor(at / blockSize)]!;
        const wanted = target[at]! + (row === 0 ? s0 : row === 1 ? s1 : row === 2 ? s2 : s3);
        const place = nearestLevel(ladder, scale === 0 ? 0 : wanted / scale);
        codes[at] = ladder.codes[place]!;
        errors[c * ROWS + row] = target[at]! - Math.fround(ladder.levels[place]! * scale);
      }
    }
  }
  return codes;
}
