/**
 * Solves the layers of a model one stage after the other: collect the statistics of the stage's inputs, choose the codes of its
 * weights, put the dequantized weights into the model, go on. So every layer is calibrated on the inputs that the quantized
 * prefix produces, and makes up for what the prefix lost (GPTQ, Frantar et al. 2023). Methods that need no data, or statistics of
 * the float model only, are done in one stage.
 *
 * Where statistics come from and what a method does is handed in: this file holds the order of events.
 */

import { setImmediate } from 'node:timers/promises';
import {
  type CodebookMatrix,
  type CodebookOptions,
  dequantizeCodebook,
  fitCodebook,
  roundToCodebook,
} from '../../algorithms/codebook.ts';
import {
  dequantizeMatrix,
  type GridOptions,
  type QuantizedMatrix,
  type WeightMatrix,
} from '../../algorithms/matrix.ts';
import type { Collected, Product } from '../../calibration/collect/products.ts';
import type { InputStatistics } from '../../calibration/statistics/input-statistics.ts';
import type { RunOptions } from '../../core/progress.ts';
import { WhittleError } from '../../errors.ts';
import { placesFirst } from './filters.ts';
import { algebraKernels } from './kernels.ts';
import { fromMatrix, type Layer, toMatrix } from './layers.ts';
import { inParts } from './parts.ts';
import { relativeErrors } from './relative-error.ts';

/** What a weight's codes stand for: evenly spaced values, or the levels of a code book. */
export type LayerGrid = GridOptions | CodebookOptions;
export type CodedWeight = QuantizedMatrix | CodebookMatrix;

/** What a method made of one weight. */
export interface Solution<Coded extends CodedWeight = QuantizedMatrix> {
  readonly quantized: Coded;
  /** f32 [outputs, inputs], where the layer computes with something else than the grid's own values (AWQ's folded scales). */
  readonly effective?: Float32Array | undefined;
  /** Share of the mean diagonal of H that was added to it, where the method factorises H. */
  readonly damping?: number | undefined;
  /** Another algorithm than was asked for did it, because of this. */
  readonly instead?: { readonly algorithm: string; readonly reason: string } | undefined;
}

/** An algorithm with its settings. */
export interface Method {
  readonly name: string;
  readonly needs: readonly Collected[];
  /** Whether layers are calibrated on the inputs of the quantized prefix. */
  readonly sequential: boolean;
  solve(
    weight: WeightMatrix,
    grid: GridOptions,
    statistics: InputStatistics | undefined,
  ): Solution | Promise<Solution>;
  /** The same onto a code book; a method without it leaves such weights to the fit of their scales. */
  solveCodebook?(
    weight: WeightMatrix,
    codebook: CodebookOptions,
    statistics: InputStatistics | undefined,
  ): Solution<CodebookMatrix> | Promise<Solution<CodebookMatrix>>;
}

/**
 * Statistics of `products` in the model whose `replaced` weights (f32 in stored order, by key) take the place of its own.
 * `cross` compares with the model as it is.
 */
export type CollectStatistics = (
  products: readonly Product[],
  replaced: ReadonlyMap<string, Float32Array>,
  collect: readonly Collected[],
) => Promise<ReadonlyMap<string, InputStatistics>>;

export interface LayerReport {
  readonly layer: string;
  readonly algorithm: string;
  readonly bits: number;
  readonly groupSize: number;
  /** ‖(W − Q) X‖ / ‖W X‖ squared, of round-to-nearest on the same grid options; of the weights alone without data. */
  readonly errorBefore: number;
  /** The same of the result. */
  readonly errorAfter: number;
  readonly damping?: number | undefined;
  /** Inputs that were zero in all samples. */
  readonly deadInputs?: number | undefined;
  /** Rows of inputs that were seen. */
  readonly rows?: number | undefined;
  readonly note?: string | undefined;
}

export interface SolvedLayer {
  readonly quantized: CodedWeight;
  /** f32 in stored order: what the runtime multiplies with. */
  readonly values: Float32Array;
  readonly report: LayerReport;
}

export interface KnownLayer {
  readonly layer: Layer;
  /** f32 in stored order. */
  readonly values: Float32Array;
}

export interface SolveOptions extends RunOptions {
  readonly method: Method;
  /** Round-to-nearest, which every result is compared with. */
  readonly baseline: (weight: WeightMatrix, grid: GridOptions) => QuantizedMatrix;
  readonly gridOf: (layer: Layer) => LayerGrid;
  /** f32 in stored order. */
  readonly read: (layer: Layer) => Promise<Float32Array>;
  /** Weights that are settled already: f32 in stored order, by key. */
  readonly settled?: ReadonlyMap<string, Float32Array> | undefined;
  /** Layers that were solved before. As in the run that solved them, the others see their values once their stage is done. */
  readonly known?: readonly KnownLayer[] | undefined;
  /** Without it no statistics are collected; methods that need them refuse. */
  readonly collect?: CollectStatistics | undefined;
  /**
   * Bytes of the matrices among the statistics that are held at once (default 1 GiB): a stage with more is collected in parts, in as many
   * runs. The result does not depend on it.
   */
  readonly matrixBytes?: number | undefined;
  /** Hears of each layer before the next one begins. */
  readonly onSolved?: ((layer: Layer, solved: SolvedLayer) => Promise<void>) | undefined;
  readonly onLayer?: ((report: LayerReport, done: number, total: number) => void) | undefined;
}

/** @throws WhittleError E_ABORTED, E_USAGE where the method needs data and there is none, and what collecting throws */
export async function solveLayers(
  layers: readonly Layer[],
  options: SolveOptions,
): Promise<Map<string, SolvedLayer>> {
  const { method, collect, gridOf, read, known = [], onLayer, onProgress, signal } = options;
  const solved = new Map<string, SolvedLayer>();
  const replaced = new Map<string, Float32Array>(options.settled);
  const weightBytes = layers.reduce((sum, { outputs, inputs }) => sum + outputs * inputs * 4, 0);
  let bytesDone = 0;
  for (const stage of stagesOf(layers, method)) {
    for (const { layer, values } of known) if (layer.stage < stage[0]!.stage) replaced.set(layer.key, values);
    for (const part of inParts(stage, (layer) => layer, method.needs, options.matrixBytes)) {
      const statistics =
        collect === undefined || method.needs.length === 0
          ? undefined
          : await collect(
              part.flatMap(({ products }) => products),
              replaced,
              method.needs,
            );
      for (const layer of part) {
        // A turn of the event loop, so that a signal is heard.
        await setImmediate();
        if (signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped on request');
        onProgress?.({
          phase: `${method.name}, layer ${solved.size + 1} of ${layers.length}`,
          bytesDone,
          bytesTotal: weightBytes,
          tensor: layer.name,
        });
        const values = toMatrix(await read(layer), layer);
        const weight: WeightMatrix = { values, outputs: layer.outputs, inputs: layer.inputs };
        const seen = placesFirst(statistics?.get(layer.key), layer);
        const done = await solveOne(layer, weight, gridOf(layer), seen, options);
        solved.set(layer.key, done);
        await options.onSolved?.(layer, done);
        bytesDone += values.byteLength;
        onLayer?.(done.report, solved.size, layers.length);
      }
    }
    // All layers of a stage see the same prefix, in however many parts they are collected.
    for (const { key } of stage) replaced.set(key, solved.get(key)!.values);
  }
  return solved;
}

function stagesOf(layers: readonly Layer[], method: Method): Layer[][] {
  if (!method.sequential) return layers.length === 0 ? [] : [[...layers]];
  const stages = new Map<number, Layer[]>();
  for (const layer of layers) stages.set(layer.stage, [...(stages.get(layer.stage) ?? []), layer]);
  return [...stages].sort(([a], [b]) => a - b).map(([, stage]) => stage);
}

async function solveOne(
  layer: Layer,
  weight: WeightMatrix,
  grid: LayerGrid,
  statistics: InputStatistics | undefined,
  { method, baseline }: SolveOptions,
): Promise<SolvedLayer> {
  const solution =
    'levels' in grid
      ? await solveCodebook(weight, grid, statistics, method)
      : await solveGroups(layer, weight, grid, statistics, method);
  const { quantized, damping, instead } = solution;
  const restored = solution.effective ?? dequantizeCoded(quantized);
  const before = dequantizeCoded('levels' in grid ? roundToCodebook(weight, grid) : baseline(weight, grid));
  const algebra = await algebraKernels();
  const [errorBefore = 0, errorAfter = 0] = relativeErrors(weight, [before, restored], statistics, algebra);
  return {
    quantized,
    values: fromMatrix(restored, layer),
    report: {
      layer: layer.name,
      algorithm: instead?.algorithm ?? method.name,
      bits: 'levels' in grid ? Math.ceil(Math.log2(grid.levels.length)) : grid.bits,
      groupSize: 'levels' in grid ? grid.blockSize : grid.groupSize,
      errorBefore,
      errorAfter,
      damping,
      deadInputs: method.needs.includes('gram') ? deadInputs(statistics) : undefined,
      rows: statistics?.rows,
      note: instead?.reason,
    },
  };
}

/** f32 [outputs, inputs]. */
export function dequantizeCoded(coded: CodedWeight): Float32Array {
  return 'levels' in coded ? dequantizeCodebook(coded) : dequantizeMatrix(coded);
}

function solveCodebook(
  weight: WeightMatrix,
  codebook: CodebookOptions,
  statistics: InputStatistics | undefined,
  method: Method,
): Solution<CodebookMatrix> | Promise<Solution<CodebookMatrix>> {
  if (method.solveCodebook !== undefined) return method.solveCodebook(weight, codebook, statistics);
  const reason = `${method.name} has no form for code books; scales were fitted`;
  return { quantized: fitCodebook(weight, codebook), instead: { algorithm: 'fit', reason } };
}

function deadInputs(statistics: InputStatistics | undefined): number {
  return statistics?.squares.reduce((count, square) => count + (square === 0 ? 1 : 0), 0) ?? 0;
}

/** A grouped convolution is one problem for each group: its outputs see inputs of their own. */
async function solveGroups(
  { groups }: Layer,
  weight: WeightMatrix,
  grid: GridOptions,
  statistics: InputStatistics | undefined,
  method: Method,
): Promise<Solution> {
  if (groups <= 1) return method.solve(weight, grid, statistics);
  const rows = weight.outputs / groups;
  const solutions: Solution[] = [];
  for (let group = 0; group < groups; group++) {
    const values = weight.values.subarray(group * rows * weight.inputs, (group + 1) * rows * weight.inputs);
    const part: WeightMatrix = { values, outputs: rows, inputs: weight.inputs };
    solutions.push(await method.solve(part, grid, statistics && groupStatistics(statistics, group, groups)));
  }
  return joinSolutions(solutions, weight);
}

function groupStatistics(statistics: InputStatistics, group: number, groups: number): InputStatistics {
  const slice = <A extends Float32Array | Float64Array>(array: A | undefined): A | undefined => {
    if (array === undefined) return undefined;
    const size = array.length / groups;
    return cut(array, group * size, (group + 1) * size);
  };
  return {
    inputs: statistics.inputs,
    rows: statistics.rows,
    squares: slice(statistics.squares) ?? statistics.squares,
    magnitudes: slice(statistics.magnitudes),
    sums: slice(statistics.sums),
    peaks: slice(statistics.peaks),
    gram: slice(statistics.gram),
    cross: slice(statistics.cross),
  };
}

function cut<A extends Float32Array | Float64Array>(array: A, start: number, end: number): A;
function cut(array: Float32Array | Float64Array, start: number, end: number): Float32Array | Float64Array {
  return array.subarray(start, end);
}

function joinSolutions(solutions: readonly Solution[], weight: WeightMatrix): Solution {
  const first = solutions[0]!;
  const { bits, groupSize, symmetric } = first.quantized;
  const codes = new Uint8Array(weight.values.length);
  const count = solutions.reduce((sum, { quantized }) => sum + quantized.scales.length, 0);
  const scales = new Float32Array(count);
  const zeroPoints = new Float32Array(count);
  let code = 0;
  let scale = 0;
  for (const { quantized } of solutions) {
    codes.set(quantized.codes, code);
    scales.set(quantized.scales, scale);
    zeroPoints.set(quantized.zeroPoints, scale);
    code += quantized.codes.length;
    scale += quantized.scales.length;
  }
  const effective = new Float32Array(codes.length);
  for (const [group, solution] of solutions.entries())
    if (solution.effective !== undefined)
      effective.set(solution.effective, group * solution.effective.length);
  const dampings = solutions.flatMap(({ damping }) => damping ?? []);
  return {
    quantized: {
      outputs: weight.outputs,
      inputs: weight.inputs,
      bits,
      groupSize,
      symmetric,
      codes,
      scales,
      zeroPoints,
    },
    effective: first.effective && effective,
    damping: dampings.length === 0 ? undefined : Math.max(...dampings),
    instead: solutions.find(({ instead }) => instead !== undefined)?.instead,
  };
}
