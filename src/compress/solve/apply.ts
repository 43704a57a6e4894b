/**
 * Planned modes of one model, with an algorithm and data → the same plans with the bytes of the solved weights in place.
 *
 * The layout of a plan stays: the size of an encoded weight follows from its operation, whoever chooses the codes. So a solved
 * weight's parts become segments with bytes (or with a range of a spool file, where there are many), its task goes, and everything
 * behind (execution, journal, resume, proof) sees an ordinary set of files.
 */

import type { Dataset } from '../../calibration/data/dataset.ts';
import { amount } from '../../core/amount.ts';
import { isWeightDType } from '../../core/dtype.ts';
import type { RunOptions } from '../../core/progress.ts';
import { WhittleError } from '../../errors.ts';
import type { OutputFile, Segment } from '../../formats/layout.ts';
import type { OnnxModel } from '../../formats/onnx/model.ts';
import { type Kernels, selectKernels } from '../../kernels/index.ts';
import { measureError } from '../../numerics/error.ts';
import type { PartRole } from '../../numerics/operation.ts';
import { packCodebook, packMatrix } from '../../numerics/pack-matrix.ts';
import type { Planned } from '../../planning/plan-onnx.ts';
import { onnxruntimeNode } from '../../runtime/onnxruntime-node.ts';
import type { WeightError } from '../options.ts';
import { floatReader } from '../stored-values.ts';
import { digestOf, takeOver } from './apply-solution.ts';
import { type Collector, createCollector } from './collector.ts';
import type { Layer } from './layers.ts';
import { roundToNearest, WITHOUT_DATA } from './methods.ts';
import type { SolvedWeight } from './solution-file.ts';
import type { Solution } from './solution-reader.ts';
import type { CodedWeight, LayerGrid, LayerReport, Method, SolvedLayer } from './solve.ts';
import { solveLayers } from './solve.ts';
import type { Spool } from './spool.ts';
import { storable } from './storable.ts';
import { findTargets, type Target } from './targets.ts';

export interface ApplyOptions extends RunOptions {
  /** Absent: only what the solution holds, the rest is left to the encoders. */
  readonly method?: Method | undefined;
  /** Weights that were solved before; of two that have one the first counts. */
  readonly solutions?: readonly Solution[] | undefined;
  /** Gets each weight once it is solved. */
  readonly keep?: ((solved: SolvedWeight) => Promise<void>) | undefined;
  /** Gets what was solved, and taken over, before anything is written. */
  readonly save?: ((solved: readonly SolvedWeight[]) => Promise<void>) | undefined;
  readonly dataset?: Dataset | undefined;
  readonly threads?: number | undefined;
  /** As in `SolveOptions`. */
  readonly matrixBytes?: number | undefined;
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

/** @throws WhittleError E_NONFINITE for weights that are, E_MISSING_PEER without onnxruntime-node, and what solving throws */
export async function applyAlgorithm(
  model: OnnxModel,
  planned: Planned,
  options: ApplyOptions,
): Promise<Applied> {
  const { method, solutions = [], dataset, spool } = options;
  const kernels = await selectKernels();
  const { targets, left } = findTargets(model, planned);
  const notes: string[] = [...left];
  if (targets.length === 0) {
    const why = `${method?.name ?? 'The solution'} found no weight whose form it can choose the codes of; they were rounded to nearest.`;
    return { planned, layers: [], weights: [], notes: [...notes, why] };
  }
  const read = (layer: Layer): Promise<Float32Array> => readFinite(model, layer, kernels);
  const known = new Map<string, SolvedLayer>();
  for (const solution of solutions) {
    const taken = await takeOver(targets, solution, read);
    notes.push(...taken.notes);
    for (const [key, layer] of taken.solved) if (!known.has(key)) known.set(key, layer);
  }
  const rest = targets.filter(({ layer }) => !known.has(layer.key));
  const solved = new Map<string, SolvedLayer>(known);
  if (method !== undefined) {
    const before = targets.flatMap((target): Known[] => {
      const values = known.get(target.layer.key)?.values;
      return values === undefined ? [] : [{ ...target, values }];
    });
    const found = await solveTargets(model, rest, before, method, kernels, options);
    for (const [key, layer] of found.solved) solved.set(key, layer);
    notes.push(...found.notes);
  } else if (rest.length > 0) {
    notes.push(`${amount(rest.length, 'weight is', 'weights are')} not in the solution: rounded to nearest.`);
  }
  const weights: WeightError[] = [];
  const parts = new Map<number, ReadonlyMap<PartRole, Segment>>();
  const saved: SolvedWeight[] = [];
  for (const { layer, task, operation } of targets) {
    const result = solved.get(layer.key);
    if (result === undefined) continue;
    const bytes = packCoded(operation, result.quantized, layer.turned);
    if (bytes === undefined) continue;
    parts.set(task, await spool.keep(bytes));
    const original = await read(layer);
    weights.push(errorOf(layer, original, result, kernels));
    if (options.save === undefined) continue;
    const { quantized: coded, report } = result;
    saved.push({ weight: layer.key, source: digestOf(original), coded, report, filters: layer.filters });
  }
  if (saved.length > 0) await options.save?.(saved);
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

interface Found {
  readonly solved: ReadonlyMap<string, SolvedLayer>;
  readonly notes: readonly string[];
}

interface Known extends Target {
  /** f32 in stored order. */
  readonly values: Float32Array;
}

/** @param known - what was solved before */
async function solveTargets(
  model: OnnxModel,
  targets: readonly Target[],
  known: readonly Known[],
  method: Method,
  kernels: Kernels,
  options: ApplyOptions,
): Promise<Found> {
  const { dataset, matrixBytes, signal, onProgress } = options;
  const byKey = new Map(targets.map((target) => [target.layer.key, target]));
  const gridOf = ({ key }: Layer): LayerGrid => byKey.get(key)!.grid;
  const read = (layer: Layer): Promise<Float32Array> => readFinite(model, layer, kernels);
  const onSolved =
    options.keep &&
    (async (layer: Layer, { quantized: coded, report }: SolvedLayer): Promise<void> => {
      const source = digestOf(await read(layer));
      await options.keep?.({ weight: layer.key, source, coded, report, filters: layer.filters });
    });
  const shared = { baseline: roundToNearest, gridOf, read, signal, onProgress, onSolved };
  // Of these only the values are known: they are settled first, as the model that the others are calibrated on has them.
  const plain = method.needs.length === 0 ? [] : targets.filter(({ informed }) => !informed);
  const alone = await solveLayers(
    plain.map(({ layer }) => layer),
    { ...shared, method: storable(WITHOUT_DATA) },
  );
  const before = method.sequential ? known : [];
  const settled = new Map<string, Float32Array>();
  for (const { layer, values, informed } of before) if (!informed) settled.set(layer.key, values);
  if (method.sequential) for (const [key, { values }] of alone) settled.set(key, values);
  const layers = targets.filter((target) => !plain.includes(target)).map(({ layer }) => layer);
  const staged = before.filter(({ informed }) => informed);
  // What depends on them is not final before their stage is done, but nothing more is asked of them.
  const held = staged.map(({ layer }): Layer => ({ ...layer, products: [] }));
  await using collector = dataset && collectorFor(model, dataset, [...layers, ...held], kernels, options);
  const solved = await solveLayers(layers, {
    ...shared,
    method: storable(method),
    matrixBytes,
    settled,
    known: staged,
    collect: collector?.collect,
  });
  const notes =
    alone.size === 0
      ? []
      : [
          `${alone.size} of ${amount(targets.length, 'weight')} ${alone.size === 1 ? 'is no plain product' : 'are no plain products'} (tables, subgraphs, recurrent cells): ${WITHOUT_DATA.name}, without data.`,
        ];
  return { solved: new Map([...solved, ...alone]), notes };
}

function layersByName(targets: readonly Target[]): ReadonlyMap<string, Layer> {
  return new Map(targets.map(({ layer }) => [layer.name, layer]));
}

function packCoded(
  operation: Target['operation'],
  coded: CodedWeight,
  turned: boolean,
): Map<PartRole, Uint8Array> | undefined {
  if (operation.kind === 'bnb4') return 'levels' in coded ? packCodebook(operation, coded) : undefined;
  return 'levels' in coded ? undefined : packMatrix(operation, coded, turned);
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

function collectorFor(
  model: OnnxModel,
  dataset: Dataset,
  layers: readonly Layer[],
  kernels: Kernels,
  { threads, signal, onProgress }: ApplyOptions,
): Collector {
  const float = { proto: model.proto, resolve: model.tensorBytes.bind(model) };
  return createCollector(float, dataset, layers, {
    runtime: onnxruntimeNode(),
    kernels,
    threads,
    signal,
    onProgress,
  });
}

function errorOf(layer: Layer, original: Float32Array, solved: SolvedLayer, kernels: Kernels): WeightError {
  const { sqnr, maxAbs, count } = measureError(original, solved.values, { kernels });
  return { tensor: layer.name, count, nonFinite: 0, sqnr, maxAbs };
}

/** The same file with parts of solved weights in the place of those that tasks would write. */
export function withParts(
  file: OutputFile,
  parts: ReadonlyMap<number, ReadonlyMap<PartRole, Segment>>,
): OutputFile {
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
export function remarks(
  reports: readonly LayerReport[],
  layers: ReadonlyMap<string, Pick<Layer, 'inputs'>>,
  dataset: Dataset | undefined,
): string[] {
  const notes: string[] = [...(dataset?.notes ?? [])];
  const few = reports.filter(
    ({ layer, rows }) => rows !== undefined && rows < (layers.get(layer)?.inputs ?? 0),
  );
  if (few.length > 0) {
    const least = Math.min(...few.map(({ rows }) => rows ?? 0));
    notes.push(
      `Too few samples: ${few.length} of ${amount(reports.length, 'layer')} ${few.length === 1 ? 'has' : 'have'} more inputs than the ${amount(least, 'row')} ${few.length === 1 ? 'it' : 'they'} saw. Give more data (--samples).`,
    );
  }
  const dead = reports.filter(({ deadInputs = 0 }) => deadInputs > 0);
  if (dead.length > 0) {
    const count = dead.reduce((sum, { deadInputs = 0 }) => sum + deadInputs, 0);
    notes.push(
      `${amount(count, 'input')} of ${amount(dead.length, 'layer')} (${dead[0]?.layer}${dead.length > 1 ? ', …' : ''}) ${count === 1 ? 'was' : 'were'} zero in all samples; their weights were rounded to nearest.`,
    );
  }
  const raised = reports.filter(({ damping = 0 }) => damping > DAMPING);
  if (raised.length > 0) {
    const most = Math.max(...raised.map(({ damping }) => damping ?? 0));
    notes.push(
      `The Gram matrix of ${amount(raised.length, 'layer')} (${raised[0]?.layer}${raised.length > 1 ? ', …' : ''}) is not positive definite: damping was raised to up to ${most} of its mean diagonal. More, and more varied data helps.`,
    );
  }
  for (const note of new Set(reports.flatMap(({ note }) => note ?? []))) {
    const of = reports.filter((report) => report.note === note);
    notes.push(`${of.map(({ layer }) => layer).join(', ')}: ${note}`);
  }
  return notes;
}
