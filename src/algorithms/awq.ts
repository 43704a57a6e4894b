/**
 * AWQ: activation-aware weight quantization (J. Lin et al., "AWQ: Activation-aware Weight Quantization for LLM Compression and
 * Acceleration", 2023). Inputs that carry much get finer steps: columns of the weight are multiplied with s_j = (mean |x_j|)^α,
 * normalised by √(max s · min s), and the inputs divided by s, which is folded into what produces them (a norm's weight, the rows of a
 * previous layer) where the graph allows it.
 *
 * Minimises ‖(W − Q(W s) / s) X‖² over α in 0 … 1, for all weights that read the same inputs together; then, with `clip`, a clip
 * search weighted by E[(x / s)²]. The error is computed with the Gram matrix on up to 256 rows of each weight where it is there, else
 * by E[x²] on all. Cost: `points` roundings of those rows, and points · 256 · inputs² / 2 with the Gram matrix (fewer rows of wide
 * weights).
 */

import type { InputStatistics } from '../calibration/statistics/input-statistics.ts';
import { WhittleError } from '../errors.ts';
import type { AlgebraKernels } from '../kernels/algebra/index.ts';
import { type GridKernels, referenceGridKernels } from '../kernels/grid/index.ts';
import { clipSearch } from './clip-search.ts';
import { importanceOf } from './grid.ts';
import { quadraticForms } from './linear-algebra.ts';
import { dequantizeMatrix, type GridOptions, type QuantizedMatrix, type WeightMatrix } from './matrix.ts';
import { roundToNearest } from './rtn.ts';

export interface AwqOptions {
  /** Exponents tried, k / points; default 20. */
  readonly points?: number | undefined;
  /** Ends with a clip search; default true. */
  readonly clip?: boolean | undefined;
}

export interface AwqResult {
  /** Exponent that was chosen; 0 leaves the weights as they are. */
  readonly alpha: number;
  /** f32 [inputs]: what the columns were multiplied with; the inputs are to be divided by it. */
  readonly inputScales: Float32Array;
  /** W · s on its grid, for each weight: what is stored once 1 / s is folded into the inputs. */
  readonly quantized: readonly QuantizedMatrix[];
  /** f32 [outputs, inputs] for each weight, Q(W s) / s: what the layer computes with. */
  readonly effective: readonly Float32Array[];
}

interface Candidate {
  readonly alpha: number;
  readonly error: number;
  readonly scales: Float32Array;
}

/** Rows of a weight that its error is taken from, and the products of a pair of inputs that may cost. */
const GRAM_ROWS = 256;
const GRAM_PRODUCTS = 1 << 26;
const LEAST_GRAM_ROWS = 8;
/** Bounds of a mean magnitude relative to the mean of all. */
const LEAST_MAGNITUDE = 1e-4;

/**
 * Scales for the inputs that `weights` share, and the weights on their grids.
 * @param algebra - SIMD kernels, which give the same numbers
 * @throws WhittleError E_SHAPE where the weights or the statistics are of different inputs; as checkMatrix and importanceOf
 */
export function awq(
  weights: readonly WeightMatrix[],
  statistics: InputStatistics,
  options: GridOptions,
  search: AwqOptions = {},
  kernels: GridKernels = referenceGridKernels(),
  algebra?: AlgebraKernels,
): AwqResult {
  const inputs = statistics.inputs;
  for (const weight of weights) {
    if (weight.inputs === inputs) continue;
    throw new WhittleError('E_SHAPE', 'weights that share their scales have different inputs', {
      expected: `${inputs} inputs`,
      found: `${weight.inputs} inputs`,
    });
  }
  const importance = importanceOf(statistics, inputs) ?? new Float32Array(inputs).fill(1);
  const magnitudes = relativeMagnitudes(statistics);
  const points = search.points ?? 20;
  const judged = weights.map((weight) => judgedRows(weight, statistics.gram));
  let best: Candidate = {
    alpha: 0,
    error: Number.POSITIVE_INFINITY,
    scales: new Float32Array(inputs).fill(1),
  };
  for (let k = 0; k < points; k++) {
    const alpha = k / points;
    const scales = scalesAt(magnitudes, alpha);
    let error = 0;
    for (const [i, rows] of judged.entries()) {
      const restored = effectiveOf(roundToNearest(scaled(rows, scales), options, kernels), scales);
      const share = rows.outputs / Math.max(1, weights[i]!.outputs);
      error += outputError(rows, restored, importance, statistics.gram, algebra) / share;
    }
    if (error < best.error) best = { alpha, error, scales };
  }
  const { alpha, scales } = best;
  const squares = Float64Array.from(importance, (value, j) => value / scales[j]! ** 2);
  const quantized = weights.map((weight) =>
    search.clip === false
      ? roundToNearest(scaled(weight, scales), options, kernels)
      : clipSearch(
          scaled(weight, scales),
          options,
          { statistics: { inputs, rows: statistics.rows, squares } },
          kernels,
        ),
  );
  return { alpha, inputScales: scales, quantized, effective: quantized.map((q) => effectiveOf(q, scales)) };
}

/** Mean |x| of each input over that of all; √E[x²] where magnitudes were not collected. */
function relativeMagnitudes({ magnitudes, squares, inputs }: InputStatistics): Float64Array {
  const values = magnitudes ?? squares.map(Math.sqrt);
  const mean = values.reduce((sum, value) => sum + value, 0) / Math.max(1, inputs);
  if (!(mean > 0 && Number.isFinite(mean))) return new Float64Array(inputs).fill(1);
  return values.map((value) => Math.max(LEAST_MAGNITUDE, value / mean));
}

function scalesAt(magnitudes: Float64Array, alpha: number): Float32Array {
  const scales = magnitudes.map((magnitude) => magnitude ** alpha);
  let least = Number.POSITIVE_INFINITY;
  let most = 0;
  for (const scale of scales) {
    least = Math.min(least, scale);
    most = Math.max(most, scale);
  }
  const norm = Math.sqrt(least * most);
  return Float32Array.from(scales, (scale) => scale / norm);
}

function scaled({ values, outputs, inputs }: WeightMatrix, scales: Float32Array): WeightMatrix {
  return { values: values.map((value, i) => value * scales[i % inputs]!), outputs, inputs };
}

function effectiveOf(quantized: QuantizedMatrix, scales: Float32Array): Float32Array {
  const values = dequantizeMatrix(quantized);
  for (let i = 0; i < values.length; i++) values[i] = values[i]! / scales[i % quantized.inputs]!;
  return values;
}

/** The rows of a weight that its error is taken from, spread evenly: rows do not share a grid. All, where they cost little. */
function judgedRows(weight: WeightMatrix, gram: Float32Array | undefined): WeightMatrix {
  const { values, outputs, inputs } = weight;
  const affordable = Math.max(LEAST_GRAM_ROWS, Math.floor(GRAM_PRODUCTS / inputs ** 2));
  const rows = Math.min(GRAM_ROWS, affordable);
  if (gram === undefined || outputs <= rows) return weight;
  const chosen = new Float32Array(rows * inputs);
  for (let r = 0; r < rows; r++) {
    const at = Math.floor((r * outputs) / rows) * inputs;
    chosen.set(values.subarray(at, at + inputs), r * inputs);
  }
  return { values: chosen, outputs: rows, inputs };
}

/** tr((W − Ŵ) H (W − Ŵ)ᵀ), or Σ E[x²] (w − ŵ)². Comparable between calls for one weight. */
function outputError(
  { values, inputs }: WeightMatrix,
  restored: Float32Array,
  importance: Float32Array,
  gram: Float32Array | undefined,
  algebra: AlgebraKernels | undefined,
): number {
  let sum = 0;
  if (gram === undefined) {
    for (let i = 0; i < values.length; i++) {
      sum += importance[i % inputs]! * (values[i]! - restored[i]!) ** 2;
    }
    return sum;
  }
  const errors = new Float64Array(values.length);
  for (let i = 0; i < errors.length; i++) errors[i] = values[i]! - restored[i]!;
  for (const form of quadraticForms(errors, gram, inputs, algebra)) sum += form;
  return sum;
}
