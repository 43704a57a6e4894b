/**
 * Planned modes of one model, with an algorithm and data → the same plans with the bytes of the solved weights in place.
 *
 * The layout of a plan stays: the size of an encoded weight follows from its operation, whoever chooses the codes. So a solved
 * weight's parts become segments with bytes (or with a range of a spool file, where there are many), its task goes, and everything
 * behind (execution, journal, resume, proof) sees an ordinary set of files.
 */

import { collectInputStatistics } from '../../calibration/collect/collect-inputs.ts';
import type { Dataset } from '../../calibration/data/dataset.ts';
import { isWeightDType } from '../../core/dtype.ts';
import type { RunOptions } from '../../core/progress.ts';
import { WhittleError } from '../../errors.ts';
import type { OutputFile, Segment } from '../../formats/layout.ts';
import type { OnnxModel } from '../../formats/onnx/model.ts';
import { type Kernels, selectKernels } from '../../kernels/index.ts';
import { measureError } from '../../numerics/error.ts';
import type { PartRole } from '../../numerics/operation.ts';
import {
  type PackableOperation,
  packMatrix,
  type StoredGrid,
  storedGrid,
} from '../../numerics/pack-matrix.ts';
import type { Planned } from '../../planning/plan-onnx.ts';
import { onnxruntimeNode } from '../../runtime/onnxruntime-node.ts';
import type { WeightError } from '../options.ts';
import { floatReader } from '../stored-values.ts';
import { findLayers, type Layer } from './layers.ts';
import { roundToNearest } from './methods.ts';
import type { CollectStatistics, LayerReport, Method, SolvedLayer } from './solve.ts';
import { solveLayers } from './solve.ts';
import type { Spool } from './spool.ts';
import { storable } from './storable.ts';
import { substituteWeights } from './substitute.ts';

export interface ApplyOptions extends RunOptions {
  readonly method: Method;
  readonly dataset?: Dataset | undefined;
  readonly threads?: number | undefined;
  /** Holds the parts until the files are written. */
  readonly spool: Spool;
}

export interface Applied {
  /** The plan with solved weights in place; tasks that are left keep their numbers. */
  readonly planned: Pick<Planned, 'files' | 'tasks'>;
  readonly layers: readonly LayerReport[];
  readonly weights: readonly WeightError[];
  readonly notes: readonly string[];
}

interface Target {
  readonly layer: Layer;
  readonly grid: StoredGrid;
  readonly task: number;
  readonly operation: PackableOperation;
}

/** @throws WhittleError E_NONFINITE for weights that are, E_MISSING_PEER without onnxruntime-node, and what solving throws */
export async function applyAlgorithm(
  model: OnnxModel,
  planned: Planned,
  options: ApplyOptions,
): Promise<Applied> {
  const { method, dataset, spool, signal, onProgress } = options;
  const kernels = await selectKernels();
  const { targets, left } = targetsOf(model, planned);
  const notes: string[] = [...left];
  if (targets.length === 0) {
    const why = `${method.name} found no weight whose form it can choose the codes of; they were rounded to nearest.`;
    return { planned, layers: [], weights: [], notes: [...notes, why] };
  }
  const byKey = new Map(targets.map((target) => [target.layer.key, target]));
  const solved = await solveLayers(
    targets.map(({ layer }) => layer),
    {
      method: storable(method),
      baseline: roundToNearest,
      gridOf: ({ key }) => byKey.get(key)!.grid,
      read: (layer) => readFinite(model, layer, kernels),
      collect: dataset && collector(model, dataset, kernels, options),
      signal,
      onProgress,
    },
  );
  const weights: WeightError[] = [];
  const parts = new Map<number, ReadonlyMap<PartRole, Segment>>();
  for (const { layer, task, operation } of targets) {
    const result = solved.get(layer.key);
    if (result === undefined) continue;
    const bytes = packMatrix(operation, result.quantized, layer.turned);
    parts.set(task, await spool.keep(bytes));
    weights.push(errorOf(layer, await readFinite(model, layer, kernels), result, kernels));
  }
  const reports = [...solved.values()].map(({ report }) => report);
  notes.push(...remarks(reports, layersByName(targets), dataset));
  return {
    planned: {
      files: planned.files.map((file) => withParts(file, parts)),
      tasks: planned.tasks.filter(({ id }) => !parts.has(id)),
    },
    layers: reports,
    weights,
    notes,
  };
}

/** Weights whose codes an algorithm can choose, and why others of the plan are left to the encoder. */
function targetsOf(model: OnnxModel, planned: Planned): { targets: Target[]; left: string[] } {
  const targets: Target[] = [];
  const weightTasks = planned.weightTasks ?? new Map<string, readonly number[]>();
  const wanted = new Set(weightTasks.keys());
  const layers = new Map(findLayers(model.proto, wanted).map((layer) => [layer.key, layer]));
  let others = 0;
  for (const [key, tasks] of weightTasks) {
    const layer = layers.get(key);
    const [id] = tasks;
    const task = tasks.length === 1 && id !== undefined ? planned.tasks[id] : undefined;
    const grid = layer && task && storedGrid(task.operation, layer.turned);
    if (layer === undefined || task === undefined || grid === undefined || !fits(layer, grid)) {
      others++;
      continue;
    }
    const { operation } = task;
    if (operation.kind === 'matmul-nbits' || operation.kind === 'qdq-block' || operation.kind === 'affine')
      targets.push({ layer, grid, task: task.id, operation });
  }
  const left =
    others === 0 || targets.length === 0
      ? []
      : [
          `${others} of ${weightTasks.size} weights are no plain products (tables, branches): rounded to nearest.`,
        ];
  return { targets, left };
}

function fits({ outputs, inputs }: Layer, grid: StoredGrid): boolean {
  return outputs === grid.outputs && inputs === grid.inputs;
}

function layersByName(targets: readonly Target[]): ReadonlyMap<string, Layer> {
  return new Map(targets.map(({ layer }) => [layer.name, layer]));
}

async function readFinite(model: OnnxModel, { weight }: Layer, kernels: Kernels): Promise<Float32Array> {
  const count = weight.shape.reduce((product, size) => product * size, 1);
  const values = new Float32Array(count);
  if (!isWeightDType(weight.dtype)) return values;
  const read = await floatReader(model, weight.tensor, weight.dtype, kernels);
  await read(0, values);
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    throw new WhittleError('E_NONFINITE', 'an algorithm cannot weigh errors of values that are not finite', {
      file: model.file,
      tensor: weight.name,
      expected: 'finite weights',
      found: `${values[bad]} at element ${bad}`,
      hint: 'Leave the weight out with --exclude, or quantize without --algorithm.',
    });
  }
  return values;
}

function collector(
  model: OnnxModel,
  dataset: Dataset,
  kernels: Kernels,
  { threads, signal, onProgress }: ApplyOptions,
): CollectStatistics {
  const resolve: OnnxModel['tensorBytes'] = (tensor) => model.tensorBytes(tensor);
  const reference = { proto: model.proto, resolve };
  return (products, replaced, collect) =>
    collectInputStatistics(
      { proto: substituteWeights(model.proto, replaced, kernels), resolve },
      dataset,
      products,
      { runtime: onnxruntimeNode(), collect, reference, threads, signal, onProgress },
    );
}

function errorOf(layer: Layer, original: Float32Array, solved: SolvedLayer, kernels: Kernels): WeightError {
  const { sqnr, maxAbs, count } = measureError(original, solved.values, { kernels });
  return { tensor: layer.name, count, nonFinite: 0, sqnr, maxAbs };
}

function withParts(file: OutputFile, parts: ReadonlyMap<number, ReadonlyMap<PartRole, Segment>>): OutputFile {
  return {
    ...file,
    segments: file.segments.map((segment) => {
      const held = segment.kind === 'part' ? parts.get(segment.task)?.get(segment.role) : undefined;
      return held === undefined ? segment : { ...held, offset: segment.offset };
    }),
  };
}

/** What GPTQ adds to the diagonal of H, as a share of its mean, unless that does not suffice. */
const DAMPING = 0.01;

/** What the user should know of the run as a whole. */
function remarks(
  reports: readonly LayerReport[],
  layers: ReadonlyMap<string, Layer>,
  dataset: Dataset | undefined,
): string[] {
  const notes: string[] = [...(dataset?.notes ?? [])];
  const few = reports.filter(
    ({ layer, rows }) => rows !== undefined && rows < (layers.get(layer)?.inputs ?? 0),
  );
  if (few.length > 0) {
    const least = Math.min(...few.map(({ rows }) => rows ?? 0));
    notes.push(
      `Too few samples: ${few.length} of ${reports.length} layers have more inputs than the ${least} rows they saw. Give more data (--samples).`,
    );
  }
  const dead = reports.filter(({ deadInputs = 0 }) => deadInputs > 0);
  if (dead.length > 0) {
    const count = dead.reduce((sum, { deadInputs = 0 }) => sum + deadInputs, 0);
    notes.push(
      `${count} inputs of ${dead.length} layers (${dead[0]?.layer}${dead.length > 1 ? ', …' : ''}) were zero in all samples; their weights were rounded to nearest.`,
    );
  }
  const raised = reports.filter(({ damping = 0 }) => damping > DAMPING);
  if (raised.length > 0) {
    const most = Math.max(...raised.map(({ damping }) => damping ?? 0));
    notes.push(
      `The Gram matrix of ${raised.length} layers (${raised[0]?.layer}${raised.length > 1 ? ', …' : ''}) is not positive definite: damping was raised to up to ${most} of its mean diagonal. More, and more varied data helps.`,
    );
  }
  for (const note of new Set(reports.flatMap(({ note }) => note ?? []))) {
    const of = reports.filter((report) => report.note === note);
    notes.push(`${of.map(({ layer }) => layer).join(', ')}: ${note}`);
  }
  return notes;
}
