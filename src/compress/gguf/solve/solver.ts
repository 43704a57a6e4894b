/**
 * A planned GGUF file with codes from data: the layers' inputs are collected on the ONNX file of the same model, or read from saved
 * statistics, and each weight's blocks are chosen by them. Types, layout and metadata stay those of the plan; what was a task is then a
 * copy. Stages go as for ONNX (compress/solve): each layer is calibrated on the inputs that the quantized prefix gives, with the values
 * that the GGUF types decode to. Saved statistics are of the float model, so all layers are solved on these.
 */

import { setImmediate } from 'node:timers/promises';
import { type BlockEncoder, feedBlocks } from '../../../algorithms/block-feedback.ts';
import type { WeightMatrix } from '../../../algorithms/matrix.ts';
import { toImatrix } from '../../../calibration/statistics/imatrix.ts';
import type { InputStatistics } from '../../../calibration/statistics/input-statistics.ts';
import { amount } from '../../../core/amount.ts';
import { GGML_TYPES, ggmlBytes, isBlockType } from '../../../core/ggml-types.ts';
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
import type { SolvedMode, WeightError } from '../../options.ts';
import { remarks, withParts } from '../../solve/apply.ts';
import { fromMatrix } from '../../solve/layers.ts';
import { inParts } from '../../solve/parts.ts';
import { relativeErrors } from '../../solve/relative-error.ts';
import type { LayerReport } from '../../solve/solve.ts';
import { createSpool, type Spool } from '../../solve/spool.ts';
import type { QuantizeGgufOptions } from '../options.ts';
import { tensorValues } from '../values.ts';
import { type BlocksJournal, openBlocksJournal } from './blocks-journal.ts';
import { blockEncoder } from './encoder.ts';
import { statisticsImatrix } from './guide.ts';
import type { KeptBlocks } from './kept-blocks.ts';
import { type BlockMethod, blockMethod } from './names.ts';
import { slowNote } from './slow.ts';
import { openSource, type Source } from './source.ts';
import { findTwins, inTwinsOrder, type Twin, twinNames } from './twins.ts';

/** A plan whose weights have codes from data. */
export interface SolvedGguf {
  readonly plan: PlannedGguf;
  readonly solved: SolvedMode;
  /** By name in the output. */
  readonly errors: ReadonlyMap<string, WeightError>;
}

export interface GgufSolver extends AsyncDisposable {
  /** Where the work will take long: what to know of it beforehand. */
  forewarn(plan: PlannedGguf): string | undefined;
  /**
   * @param output - beside which what is solved is kept until the files are there (solved-journal.ts)
   * @throws WhittleError E_RESUME where a run is to go on that was another one
   */
  solve(plan: PlannedGguf, output: string): Promise<SolvedGguf>;
  /** Importance from the same data, for types that cannot do without. */
  imatrix(): Promise<Imatrix>;
}

type SolverOptions = Pick<
  QuantizeGgufOptions,
  | ('algorithm' | 'data' | 'statistics' | 'onnx' | 'threads' | 'signal' | 'onProgress')
  | ('journal' | 'resume' | 'matrixBytes')
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
      forewarn: ({ tensors }) => slowNote(tensors.filter(isSolvable), method),
      solve: async (plan, output) => {
        const wanted = plan.tensors.filter(isSolvable);
        const twins = await findTwins(model, onnx, new Set(wanted.map((tensor) => tensor.source)), kernels);
        const journal = await openBlocksJournal(model, output, plan, wanted, {
          ...options,
          algorithm: method.name,
          seen: source.description,
        });
        return solvePlan({ plan, wanted, twins, source, method, kernels, algebra, spool, options, journal });
      },
      imatrix: async () => {
        const wanted = new Set(model.tensors.map(({ name }) => name));
        const layers = (await findTwins(model, onnx, wanted, kernels)).map(({ layer }) => layer);
        await using collecting = source.open(layers);
        const entries = await collecting.collect(layers, new Map(), []);
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
  readonly journal: BlocksJournal | undefined;
}

async function solvePlan(job: Job): Promise<SolvedGguf> {
  const { plan, wanted, twins, source, method, spool, options, journal } = job;
  const started = performance.now();
  const planned = new Map(wanted.map((tensor) => [tensor.source, tensor]));
  const replaced = new Map<string, Float32Array>();
  const parts = new Map<number, ReadonlyMap<PartRole, Segment>>();
  const reports: LayerReport[] = [];
  const errors = new Map<string, WeightError>();
  const before = new Map(journal?.parts.map((part) => [part.tensor, part]));
  const keptOf = (name: string): KeptBlocks | undefined => before.get(name);
  await using collecting = source.open(twins.map(({ layer }) => layer));
  for (const stage of stagesOf(twins, source.sequential)) {
    const settled = new Map<string, Float32Array>();
    for (const part of partsOf(stage, job, keptOf)) {
      const layers = part.filter(({ kept }) => kept === undefined || !source.sequential);
      const statistics =
        layers.length === 0
          ? new Map<string, InputStatistics>()
          : await collecting.collect(
              layers.map(({ twin }) => twin.layer),
              replaced,
              method.needs,
            );
      for (const { twin, kept } of part) {
        await setImmediate();
        if (options.signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped on request');
        const tensor = planned.get(twin.tensor.name);
        if (tensor?.task === undefined) continue;
        const seen = statistics.get(twin.layer.key);
        const settle =
          kept !== undefined
            ? () => restoreTensor(job, twin, tensor, kept)
            : seen && (() => solveTensor(job, twin, tensor, seen));
        if (settle === undefined) continue;
        options.onProgress?.({
          phase: `${method.name}, layer ${reports.length + 1} of ${twins.length}`,
          bytesDone: reports.length,
          bytesTotal: twins.length,
          tensor: tensor.name,
        });
        const { blocks, values, report, error } = await settle();
        if (kept === undefined)
          await journal?.keep({ tensor: twin.tensor.name, type: tensor.to, report, blocks });
        parts.set(tensor.task, await spool.keep(new Map([['data', blocks]])));
        settled.set(twin.layer.key, fromMatrix(inTwinsOrder(values, twin), twin.layer));
        reports.push(report);
        errors.set(tensor.name, error);
      }
    }
    // All layers of a stage see the same prefix, in however many parts they are collected.
    for (const [key, values] of settled) replaced.set(key, values);
  }
  const inputs = new Map(twins.map(({ tensor, layer }) => [tensor.name, layer]));
  const taken =
    before.size === 0
      ? []
      : [`${amount(before.size, 'layer was', 'layers were')} taken over from the run that was stopped.`];
  return {
    plan: {
      ...plan,
      files: plan.files.map((file) => withParts(file, parts)),
      tasks: plan.tasks.filter(({ id }) => !parts.has(id)),
      notes: [
        ...plan.notes,
        ...taken,
        ...remarks(reports, inputs, source.dataset),
        ...leftNotes(plan, wanted, errors),
      ],
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

interface Due {
  readonly twin: Twin;
  /** What is known of it from a run that was stopped. */
  readonly kept: KeptBlocks | undefined;
}

/** Layers of a stage, in parts whose matrices fit into memory. What saved statistics know is there already, and compared with all layers. */
function partsOf(
  stage: readonly Twin[],
  { source, method, options }: Job,
  keptOf: (name: string) => KeptBlocks | undefined,
): Due[][] {
  const due = stage.map((twin): Due => ({ twin, kept: keptOf(twin.tensor.name) }));
  if (!source.sequential) return [due];
  const known = due.filter(({ kept }) => kept !== undefined);
  const open = due.filter(({ kept }) => kept === undefined);
  const parts = inParts(open, ({ twin }) => twin.layer, method.needs, options.matrixBytes);
  return known.length > 0 ? [known, ...parts] : parts;
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

/** What was solved before the run was stopped. @throws WhittleError E_DATA where it does not fit the tensor */
async function restoreTensor(
  { kernels }: Job,
  { tensor, layer: { inputs, outputs } }: Twin,
  { to, name }: PlannedGgufTensor,
  { report, read }: KeptBlocks,
) {
  if (!isBlockType(to)) throw new Error(`${name} was not to be solved`);
  const blocks = await read(ggmlBytes(to, inputs * outputs));
  const values = (await blockEncoder(to, kernels)).decode(blocks);
  const { sqnr, maxAbs, count } = measureError(await tensorValues(tensor, kernels), values, { kernels });
  return { blocks, values, report, error: { tensor: name, count, nonFinite: 0, sqnr, maxAbs } };
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
