/**
 * A planned GGUF file with codes from data: the layers' inputs are collected on the ONNX file of the same model, or read from saved
 * statistics, and each weight's blocks are chosen by them. Types, layout and metadata stay those of the plan; what was a task is then a
 * copy. Stages go as for ONNX (compress/solve): each layer is calibrated on the inputs that the quantized prefix gives, with the values
 * that the GGUF types decode to. Saved statistics are of the float model, so all layers are solved on these.
 */

import { setImmediate } from 'node:timers/promises';
import { type BlockEncoder, feedBlocks } from '../../../algorithms/block-feedback.ts';
import type { WeightMatrix } from '../../../algorithms/matrix.ts';
import { collectInputStatistics } from '../../../calibration/collect/collect-inputs.ts';
import type { Collected } from '../../../calibration/collect/products.ts';
import type { Dataset } from '../../../calibration/data/dataset.ts';
import { toImatrix } from '../../../calibration/statistics/imatrix.ts';
import type { InputStatistics } from '../../../calibration/statistics/input-statistics.ts';
import { loadStatistics } from '../../../calibration/statistics/statistics-file.ts';
import { GGML_TYPES, isBlockType } from '../../../core/ggml-types.ts';
import { isWhittleError, WhittleError } from '../../../errors.ts';
import type { GgufModel } from '../../../formats/gguf/gguf.ts';
import type { Imatrix } from '../../../formats/gguf/imatrix-types.ts';
import type { Segment } from '../../../formats/layout.ts';
import { openOnnx } from '../../../formats/onnx/open.ts';
import { type AlgebraKernels, wasmAlgebraKernels } from '../../../kernels/algebra/index.ts';
import { type Kernels, selectKernels } from '../../../kernels/index.ts';
import { measureError } from '../../../numerics/error.ts';
import type { PartRole } from '../../../numerics/operation.ts';
import type { PlannedGguf, PlannedGgufTensor } from '../../../planning/gguf/options.ts';
import { onnxruntimeNode } from '../../../runtime/onnxruntime-node.ts';
import { openModelData } from '../../calibration-data.ts';
import type { SolvedMode, WeightError } from '../../options.ts';
import { remarks, withParts } from '../../solve/apply.ts';
import { fromMatrix, type Layer } from '../../solve/layers.ts';
import { relativeErrors } from '../../solve/relative-error.ts';
import type { LayerReport } from '../../solve/solve.ts';
import { createSpool, type Spool } from '../../solve/spool.ts';
import { substituteWeights } from '../../solve/substitute.ts';
import type { QuantizeGgufOptions } from '../options.ts';
import { tensorValues } from '../values.ts';
import { blockEncoder } from './encoder.ts';
import { statisticsImatrix } from './guide.ts';
import { type BlockMethod, blockMethod } from './names.ts';
import { findTwins, inTwinsOrder, type Twin, twinNames } from './twins.ts';

/** A plan whose weights have codes from data. */
export interface SolvedGguf {
  readonly plan: PlannedGguf;
  readonly solved: SolvedMode;
  /** By name in the output. */
  readonly errors: ReadonlyMap<string, WeightError>;
}

export interface GgufSolver extends AsyncDisposable {
  solve(plan: PlannedGguf): Promise<SolvedGguf>;
  /** Importance from the same data, for types that cannot do without. */
  imatrix(): Promise<Imatrix>;
}

/** Where statistics of layers come from. */
interface Source {
  readonly description: string;
  readonly dataset?: Dataset | undefined;
  /** Whether layers can be calibrated on the quantized prefix. */
  readonly sequential: boolean;
  collect(
    layers: readonly Layer[],
    replaced: ReadonlyMap<string, Float32Array>,
    needs: readonly Collected[],
  ): Promise<ReadonlyMap<string, InputStatistics>>;
}

type SolverOptions = Pick<
  QuantizeGgufOptions,
  'algorithm' | 'data' | 'statistics' | 'onnx' | 'threads' | 'signal' | 'onProgress'
>;

/**
 * undefined where no algorithm is asked for. Dispose of it when the files are written.
 * @throws WhittleError E_USAGE for options that do not go together; what opening the ONNX file, data and statistics throws
 */
export async function openSolver(model: GgufModel, options: SolverOptions): Promise<GgufSolver | undefined> {
  const method = chosenMethod(options);
  if (method === undefined || options.onnx === undefined) return undefined;
  const onnx = await openOnnx(options.onnx);
  const spool = createSpool();
  const close = async (): Promise<void> => {
    await spool[Symbol.asyncDispose]();
    await onnx.close();
  };
  try {
    const kernels = await selectKernels();
    const source = await openSource(onnx, method, kernels, options);
    const names = twinNames(onnx, model);
    const algebra = await wasmAlgebraKernels();
    return {
      solve: async (plan) => {
        const wanted = plan.tensors.filter(isSolvable);
        const twins = await findTwins(model, onnx, new Set(wanted.map((tensor) => tensor.source)), kernels);
        return solvePlan({ plan, wanted, twins, source, method, kernels, algebra, spool, options });
      },
      imatrix: async () => {
        const wanted = new Set(model.tensors.map(({ name }) => name));
        const layers = (await findTwins(model, onnx, wanted, kernels)).map(({ layer }) => layer);
        const entries = await source.collect(layers, new Map(), []);
        const samples = source.dataset?.count ?? 0;
        const set = { entries, datasets: [source.description], samples };
        return statisticsImatrix(toImatrix(set, names), source.description);
      },
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** @throws WhittleError E_USAGE */
function chosenMethod({ algorithm, data, statistics, onnx }: SolverOptions): BlockMethod | undefined {
  if (algorithm === undefined && data === undefined && statistics === undefined && onnx === undefined) {
    return undefined;
  }
  const method = blockMethod(algorithm);
  const informed = data !== undefined || statistics !== undefined;
  if (method === undefined) {
    if (!informed && onnx === undefined) return undefined;
    throw new WhittleError('E_USAGE', 'rtn is what the encoders do by themselves: it looks at no data', {
      hint: 'Leave --algorithm out, or take gptq.',
    });
  }
  if (data !== undefined && statistics !== undefined) {
    throw new WhittleError('E_USAGE', 'layers are calibrated on data or on saved statistics', {
      hint: 'Give --data or --statistics, not both.',
    });
  }
  if (!informed) {
    throw new WhittleError('E_USAGE', `${method.name} looks at what the layers see, and no data was given`, {
      expected: '--data with a text, or --statistics with the file of whittle calibrate --gram; and --onnx',
      hint: 'whittle quantize model-f16.gguf --to Q4_K_M --data text.txt --onnx model.onnx',
    });
  }
  if (onnx === undefined) {
    const why =
      data !== undefined
        ? 'data is run on the ONNX file of the same model'
        : 'the statistics speak of weights of an ONNX file';
    throw new WhittleError('E_USAGE', `${why}, and none was named`, {
      expected: '--onnx model.onnx',
      hint: 'GGUF files hold no graph. From llama.cpp itself there is llama-imatrix, for --imatrix.',
    });
  }
  return method;
}

async function openSource(
  onnx: Awaited<ReturnType<typeof openOnnx>>,
  method: BlockMethod,
  kernels: Kernels,
  { data, statistics, threads, signal, onProgress }: SolverOptions,
): Promise<Source> {
  if (statistics !== undefined) return savedSource(statistics, method);
  const dataset = await openModelData(onnx, data ?? { source: { kind: 'synthetic' } }, { threads, signal });
  const resolve: typeof onnx.tensorBytes = (tensor) => onnx.tensorBytes(tensor);
  const reference = { proto: onnx.proto, resolve };
  return {
    description: dataset.description,
    dataset,
    sequential: true,
    collect: (layers, replaced, collect) =>
      collectInputStatistics(
        { proto: substituteWeights(onnx.proto, replaced, kernels), resolve },
        dataset,
        layers.flatMap(({ products }) => products),
        { runtime: onnxruntimeNode(), collect, reference, threads, signal, onProgress },
      ),
  };
}

/** @throws WhittleError E_DATA where they lack what the method needs; when layers are asked for, where they are of another model */
async function savedSource(file: string, { name, needs }: BlockMethod): Promise<Source> {
  const set = await loadStatistics(file);
  const lacking = [...set.entries].flatMap(([weight, found]) =>
    needs.some((part) => (part === 'gram' || part === 'cross' ? found[part] === undefined : false))
      ? [weight]
      : [],
  );
  if (lacking.length > 0) {
    throw new WhittleError('E_DATA', `the statistics lack what ${name} needs`, {
      file,
      tensor: lacking[0],
      expected: needs.map((part) => (part === 'gram' ? 'Gram matrices' : part)).join(', '),
      found: 'sums of squares',
      hint: needs.includes('cross')
        ? 'They are collected while layers are solved: give --data instead.'
        : 'Make them with whittle calibrate --gram.',
    });
  }
  return {
    description: `${set.samples} samples: ${set.datasets.join('; ')}`,
    sequential: false,
    collect: async (layers) => {
      assertOwn(file, layers, set.entries);
      return set.entries;
    },
  };
}

/** @throws WhittleError E_DATA, E_SHAPE */
function assertOwn(
  file: string,
  layers: readonly Layer[],
  entries: ReadonlyMap<string, InputStatistics>,
): void {
  const hint = 'Make them of the ONNX file that --onnx names, with whittle calibrate --gram.';
  if (layers.length > 0 && !layers.some(({ key }) => entries.has(key))) {
    throw new WhittleError('E_DATA', 'the statistics are of another model: they know none of the layers', {
      file,
      expected: layers
        .slice(0, 3)
        .map(({ key }) => key)
        .join(', '),
      found: [...entries.keys()].slice(0, 3).join(', ') || 'no weight',
      hint,
    });
  }
  for (const { key, inputs } of layers) {
    const found = entries.get(key)?.inputs ?? inputs;
    if (found === inputs) continue;
    throw new WhittleError('E_SHAPE', 'the statistics are of another model', {
      file,
      tensor: key,
      expected: `${inputs} inputs`,
      found: `${found} inputs`,
      hint,
    });
  }
}

function isSolvable({ task, to, shape }: PlannedGgufTensor): boolean {
  return task !== undefined && isBlockType(to) && shape.slice(2).every((size) => size === 1);
}

interface Job {
  readonly plan: PlannedGguf;
  readonly wanted: readonly PlannedGgufTensor[];
  readonly twins: readonly Twin[];
  readonly source: Source;
  readonly method: BlockMethod;
  readonly kernels: Kernels;
  readonly algebra: AlgebraKernels | undefined;
  readonly spool: Spool;
  readonly options: SolverOptions;
}

async function solvePlan(job: Job): Promise<SolvedGguf> {
  const { plan, wanted, twins, source, method, spool, options } = job;
  const started = performance.now();
  const planned = new Map(wanted.map((tensor) => [tensor.source, tensor]));
  const replaced = new Map<string, Float32Array>();
  const parts = new Map<number, ReadonlyMap<PartRole, Segment>>();
  const reports: LayerReport[] = [];
  const errors = new Map<string, WeightError>();
  for (const stage of stagesOf(twins, source.sequential)) {
    const layers = stage.map(({ layer }) => layer);
    const statistics = await source.collect(layers, replaced, method.needs);
    for (const twin of stage) {
      await setImmediate();
      if (options.signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped on request');
      const tensor = planned.get(twin.tensor.name);
      const seen = statistics.get(twin.layer.key);
      if (tensor?.task === undefined || seen === undefined) continue;
      options.onProgress?.({
        phase: `${method.name}, layer ${reports.length + 1} of ${twins.length}`,
        bytesDone: reports.length,
        bytesTotal: twins.length,
        tensor: tensor.name,
      });
      const { blocks, values, report, error } = await solveTensor(job, twin, tensor, seen);
      parts.set(tensor.task, await spool.keep(new Map([['data', blocks]])));
      replaced.set(twin.layer.key, fromMatrix(inTwinsOrder(values, twin), twin.layer));
      reports.push(report);
      errors.set(tensor.name, error);
    }
  }
  const inputs = new Map(twins.map(({ tensor, layer }) => [tensor.name, layer]));
  return {
    plan: {
      ...plan,
      files: plan.files.map((file) => withParts(file, parts)),
      tasks: plan.tasks.filter(({ id }) => !parts.has(id)),
      notes: [...plan.notes, ...remarks(reports, inputs, source.dataset), ...leftNotes(plan, wanted, errors)],
    },
    solved: {
      algorithm: method.name,
      data: source.description,
      synthetic: source.dataset?.synthetic,
      layers: reports,
      seconds: (performance.now() - started) / 1000,
    },
    errors,
  };
}

function stagesOf(twins: readonly Twin[], sequential: boolean): Twin[][] {
  if (!sequential) return [[...twins]];
  const stages = new Map<number, Twin[]>();
  for (const twin of twins) stages.set(twin.layer.stage, [...(stages.get(twin.layer.stage) ?? []), twin]);
  return [...stages].sort(([a], [b]) => a - b).map(([, stage]) => stage);
}

async function solveTensor(
  { method, kernels, algebra }: Job,
  { tensor, layer }: Twin,
  planned: PlannedGgufTensor,
  statistics: InputStatistics,
) {
  const { to, name } = planned;
  if (!isBlockType(to)) throw new Error(`${name} was not to be solved`);
  const { inputs, outputs } = layer;
  const weight: WeightMatrix = { values: await tensorValues(tensor, kernels), outputs, inputs };
  const encoder = await blockEncoder(to, kernels);
  try {
    const { blocks, values, damping } = feedBlocks(weight, statistics, encoder, method.options, algebra);
    const restored = [plainValues(weight, encoder, statistics), values];
    const [errorBefore = 0, errorAfter = 0] = relativeErrors(weight, restored, statistics, algebra);
    const report: LayerReport = {
      layer: name,
      algorithm: method.name,
      bits: (8 * GGML_TYPES[to].bytes) / GGML_TYPES[to].size,
      groupSize: encoder.blockSize,
      errorBefore,
      errorAfter,
      damping,
      deadInputs: statistics.squares.reduce((count, square) => count + (square === 0 ? 1 : 0), 0),
      rows: statistics.rows,
    };
    const { sqnr, maxAbs, count } = measureError(weight.values, values, { kernels });
    return { blocks, values, report, error: { tensor: name, count, nonFinite: 0, sqnr, maxAbs } };
  } catch (error) {
    throw isWhittleError(error) && error.details.tensor === undefined ? error.with({ tensor: name }) : error;
  }
}

/** What the type's encoder makes of the weight alone; of E[x²] too, where it cannot do without. */
function plainValues(
  { values, inputs }: WeightMatrix,
  encoder: BlockEncoder,
  { squares }: InputStatistics,
): Float32Array {
  const importance = encoder.importance === 'required' ? Float32Array.from(squares) : undefined;
  return encoder.decode(encoder.encode(values, inputs, importance));
}

/** What became of quantized weights that the ONNX file says nothing about. */
function leftNotes(
  { tensors }: PlannedGguf,
  wanted: readonly PlannedGgufTensor[],
  solved: ReadonlyMap<string, WeightError>,
): string[] {
  const left = tensors.filter(
    ({ task, to, name }) => task !== undefined && isBlockType(to) && !solved.has(name),
  );
  if (left.length === 0) return [];
  const names = left.slice(0, 3).map(({ name }) => name);
  const more = left.length > names.length ? ` and ${left.length - names.length} more` : '';
  const several = left.some((tensor) => !wanted.includes(tensor));
  return [
    `${names.join(', ')}${more}: encoded as without data, for ${several ? 'experts and ' : ''}weights without a product of a known name in the ONNX file cannot be calibrated.`,
  ];
}
