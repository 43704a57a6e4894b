/**
 * GPTQ on blocks of a given form (ggml's types): the form's own encoder chooses the scales, the codes are chosen so that the layer's
 * output is right.
 *
 * Minimises tr((W − Ŵ) H (W − Ŵ)ᵀ), H = Σ x xᵀ + damping. Where every value has a code of its own, scales are settled for all blocks first
 * (static groups: columns may then be taken in any order), by the encoder, for which an error counts what it costs once later columns have
 * made up for it; then columns are rounded in turn ("GPTQ", E. Frantar et al. 2023, in the form of babai.ts), and codes descend on the exact
 * error by single moves and pairs. Where a code stands for several values (lattices) or uneven levels, units take the place of columns
 * (unit-feedback.ts). Elsewhere a block is encoded as a whole and its error is carried to the blocks behind it: block LDLQ ("QuIP#",
 * A. Tseng et al. 2024, section 4). The best of several starts is
 * kept row by row, the encoder's own among them, so no row is further from the layer's output than without data.
 * Cost: starts · (n³/3 once + rows · n²) multiplications, and some more for the descent.
 */

import type { InputStatistics } from '../calibration/statistics/input-statistics.ts';
import { WhittleError } from '../errors.ts';
import type { AlgebraKernels } from '../kernels/algebra/index.ts';
import { compensatedImportance, compensationRows, roundColumns } from './babai.ts';
import type { FactorisedGram } from './damping.ts';
import { type RoundingProblem, roundingProblem } from './gptq.ts';
import { quadraticForms } from './linear-algebra.ts';
import type { QuantizedMatrix, WeightMatrix } from './matrix.ts';
import { descendRows, giveRow, openRowSet, restateRows, takeRows } from './row-set.ts';
import { carryErrors, roundUnits, type UnitChooser } from './unit-feedback.ts';

/** A form of blocks, as an algorithm sees it. */
export interface BlockEncoder {
  /** Values of a block, which divide a row. */
  readonly blockSize: number;
  /** Bytes of a block. */
  readonly blockBytes: number;
  /** Whether the encoder looks at importance, or cannot do without. */
  readonly importance: 'used' | 'required' | 'ignored';
  /** Rows of `inputs` values to blocks. @param importance - of each input, ≥ 0; all rows share it */
  encode(values: Float32Array, inputs: number, importance: Float32Array | undefined): Uint8Array;
  decode(blocks: Uint8Array): Float32Array;
  /** Where each value has a code of its own, evenly spaced within a group. */
  readonly codes?:
    | {
        readonly top: number;
        /** Values that share a scale. */
        readonly group: number;
        /** Puts codes in the place of those of the blocks. */
        replace(blocks: Uint8Array, codes: Uint8Array): void;
      }
    | undefined;
  /** Where a code stands for some values at once, or for uneven levels. */
  readonly units?:
    | {
        /** Values of a unit, which divide a block. */
        readonly width: number;
        /** Codes of a row, whose blocks `finish` changes. */
        open(row: Uint8Array): UnitChooser;
      }
    | undefined;
}

export interface BlockFeedbackOptions {
  /** Share of H's mean diagonal that is added to it; default 0.01. */
  readonly damping?: number | undefined;
  /** Takes columns by falling H_jj, where columns are free; default false. */
  readonly activationOrder?: boolean | undefined;
  /** Improves codes by exact descent, from several starts; default false. */
  readonly refined?: boolean | undefined;
  /** Share of GPTAQ's term, 0 (default) to 1; above 0 it needs `cross` in the statistics. */
  readonly asymmetric?: number | undefined;
}

export interface BlockFeedbackResult {
  /** The encoded weight, row by row. */
  readonly blocks: Uint8Array;
  /** f32 [outputs, inputs]: what the blocks decode to. */
  readonly values: Float32Array;
  /** Share of the mean diagonal that was added to H. */
  readonly damping: number;
}

const SWEEPS = 20;
const PAIR_PASSES = 3;
/** Of the mean, that an input counts at least: blocks of inputs that were never seen still need scales. */
const LEAST_IMPORTANCE = 1e-4;

/** @throws WhittleError as `gptq`; E_SHAPE where blocks do not divide the rows */
export function feedBlocks(
  weight: WeightMatrix,
  statistics: InputStatistics,
  encoder: BlockEncoder,
  options: BlockFeedbackOptions = {},
  algebra?: AlgebraKernels,
): BlockFeedbackResult {
  const { inputs, outputs } = weight;
  if (inputs % encoder.blockSize !== 0 || weight.values.length !== inputs * outputs) {
    throw new WhittleError('E_SHAPE', 'blocks do not divide the rows of the weight', {
      expected: `rows of a multiple of ${encoder.blockSize} values`,
      found: `${outputs} × ${inputs}, ${weight.values.length} values`,
    });
  }
  const free = encoder.codes !== undefined;
  const activationOrder = free && options.activationOrder === true;
  const problem = roundingProblem(weight, statistics, { ...options, activationOrder }, algebra);
  const { factor } = problem;
  const compensated = importanceOf(compensatedImportance(factor), factor.dead);
  const squares = importanceOf(Float64Array.from(statistics.squares), factor.dead);
  const best = createBest(weight, problem, encoder, algebra);
  const compensation = compensationRows(factor);
  const round = (grid: Omit<QuantizedMatrix, 'codes'>): Uint8Array => {
    const codes = roundColumns(problem.target, grid, factor.order, compensation, algebra);
    if (options.refined === true) refineCodes({ ...grid, codes }, problem.target, factor, algebra);
    return codes;
  };
  best.offer(encodeWith(encoder, weight.values, inputs, squares));
  const starts: (Float32Array | undefined)[] = [compensated];
  if (options.refined === true && encoder.importance !== 'ignored') starts.push(squares);
  if (options.refined === true && encoder.importance === 'used') starts.push(undefined);
  for (const importance of starts) {
    if (free) {
      const blocks = encodeWith(encoder, Float32Array.from(problem.target), inputs, importance);
      best.offer(freeCodes(blocks, weight, encoder, round));
    } else if (encoder.units !== undefined) {
      const blocks = encodeWith(encoder, Float32Array.from(problem.target), inputs, importance);
      best.offer(unitByUnit(blocks, problem, inputs, encoder, encoder.units, options.refined === true));
    } else best.offer(wholeBlocks(problem, weight, encoder, importance));
  }
  return { ...best.result(), damping: factor.damping };
}

/** Relative to the mean, dead inputs least. */
function importanceOf(squares: Float64Array, dead: readonly number[]): Float32Array {
  for (const i of dead) squares[i] = 0;
  const mean = squares.reduce((sum, value) => sum + value, 0) / squares.length;
  return Float32Array.from(squares, (square) => (mean > 0 ? Math.max(square / mean, LEAST_IMPORTANCE) : 1));
}

function encodeWith(
  encoder: BlockEncoder,
  values: Float32Array,
  inputs: number,
  importance: Float32Array | undefined,
): Uint8Array {
  return encoder.encode(values, inputs, encoder.importance === 'ignored' ? undefined : importance);
}

/** Keeps the best of what it is offered, row by row. */
function createBest(
  { outputs, inputs }: WeightMatrix,
  { factor, target }: RoundingProblem,
  encoder: BlockEncoder,
  algebra: AlgebraKernels | undefined,
) {
  const rowBytes = (inputs / encoder.blockSize) * encoder.blockBytes;
  const blocks = new Uint8Array(outputs * rowBytes);
  const values = new Float32Array(outputs * inputs);
  const errors = new Float64Array(outputs).fill(Number.POSITIVE_INFINITY);
  return {
    offer(candidate: Uint8Array): void {
      const decoded = encoder.decode(candidate);
      const differences = target.map((wanted, i) => wanted - decoded[i]!);
      const found = quadraticForms(differences, factor.gram, inputs, algebra);
      for (let row = 0; row < outputs; row++) {
        const error = found[row]!;
        if (!(error < errors[row]!)) continue;
        errors[row] = error;
        blocks.set(candidate.subarray(row * rowBytes, (row + 1) * rowBytes), row * rowBytes);
        values.set(decoded.subarray(row * inputs, (row + 1) * inputs), row * inputs);
      }
    },
    result: () => ({ blocks, values }),
  };
}

/** The same scales with other codes. */
function freeCodes(
  blocks: Uint8Array,
  weight: WeightMatrix,
  encoder: BlockEncoder,
  round: (grid: Omit<QuantizedMatrix, 'codes'>) => Uint8Array,
): Uint8Array {
  encoder.codes?.replace(blocks, round(gridOf(blocks, weight, encoder)));
  return blocks;
}

/** The same scales with other codes, row by row. */
function unitByUnit(
  blocks: Uint8Array,
  { target, factor }: RoundingProblem,
  inputs: number,
  { blockSize, blockBytes }: BlockEncoder,
  { width, open }: NonNullable<BlockEncoder['units']>,
  refined: boolean,
): Uint8Array {
  const rowBytes = (inputs / blockSize) * blockBytes;
  for (let row = 0; row * inputs < target.length; row++) {
    const chooser = open(blocks.subarray(row * rowBytes, (row + 1) * rowBytes));
    const goal = target.subarray(row * inputs, (row + 1) * inputs);
    roundUnits(goal, factor, width, chooser, refined ? SWEEPS : 0);
  }
  return blocks;
}

/** The grid of blocks, from what their smallest and largest codes decode to. */
function gridOf(
  blocks: Uint8Array,
  { outputs, inputs }: WeightMatrix,
  encoder: BlockEncoder,
): Omit<QuantizedMatrix, 'codes'> {
  const { top = 1, group: groupSize = inputs, replace } = encoder.codes ?? {};
  const filled = blocks.slice();
  const fill = (code: number): Float32Array => {
    replace?.(filled, new Uint8Array(outputs * inputs).fill(code));
    return encoder.decode(filled);
  };
  const first = fill(0);
  const last = fill(top);
  const groups = inputs / groupSize;
  const scales = new Float32Array(outputs * groups);
  const zeroPoints = new Float32Array(outputs * groups);
  for (let group = 0; group < scales.length; group++) {
    const low = first[group * groupSize]!;
    // Where all codes mean one value, it is that of code 0 on a grid too fine to matter.
    const scale = (last[group * groupSize]! - low) / top || low / 2 ** 20;
    scales[group] = scale;
    zeroPoints[group] = scale === 0 ? 0 : -low / scales[group]!;
  }
  return { outputs, inputs, bits: Math.log2(top + 1), groupSize, symmetric: true, scales, zeroPoints };
}

/** Codes go down on the exact error, row by row. */
function refineCodes(
  grid: QuantizedMatrix,
  target: Float64Array,
  { gram }: FactorisedGram,
  algebra: AlgebraKernels | undefined,
): void {
  const { outputs, inputs: n, groupSize } = grid;
  const set = openRowSet({ gram, n, groupSize, top: 2 ** grid.bits - 1 }, algebra);
  const errors = new Float64Array(set.rows);
  for (let first = 0; first < outputs; first += set.rows) {
    const count = takeRows(set, grid, first);
    restateRows(set, target.subarray(first * n, (first + count) * n), n, groupSize, errors);
    set.active.fill(1, 0, count);
    set.descendSingly(SWEEPS);
    descendRows(set, count, PAIR_PASSES, SWEEPS);
    for (let row = 0; row < count; row++) giveRow(set, row, grid, first + row);
  }
}

/** Blocks one after the other, each encoded for what its values should be after the errors of those before it. */
function wholeBlocks(
  { target, factor }: RoundingProblem,
  { outputs, inputs: n }: WeightMatrix,
  encoder: BlockEncoder,
  importance: Float32Array | undefined,
): Uint8Array {
  const { blockSize, blockBytes } = encoder;
  const perRow = n / blockSize;
  const result = new Uint8Array(outputs * perRow * blockBytes);
  const wanted = new Float32Array(outputs * blockSize);
  const errors = new Float64Array(outputs * n);
  const carried = new Float64Array(blockSize);
  for (let block = 0; block < perRow; block++) {
    const start = block * blockSize;
    for (let row = 0; row < outputs; row++) {
      carryErrors(errors.subarray(row * n, row * n + start), factor, start, carried);
      for (let i = 0; i < blockSize; i++)
        wanted[row * blockSize + i] = target[row * n + start + i]! + carried[i]!;
    }
    const encoded = encodeWith(encoder, wanted, blockSize, importance?.subarray(start, start + blockSize));
    const decoded = encoder.decode(encoded);
    for (let row = 0; row < outputs; row++) {
      const to = (row * perRow + block) * blockBytes;
      result.set(encoded.subarray(row * blockBytes, (row + 1) * blockBytes), to);
      for (let i = 0; i < blockSize; i++) {
        const at = row * n + start + i;
        errors[at] = target[at]! - decoded[row * blockSize + i]!;
      }
    }
  }
  return result;
}
