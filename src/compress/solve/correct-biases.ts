/**
 * Bias correction of a planned mode, whatever form its weights have: the model is written as it would be, float and quantized model run
 * on the data, and each bias takes up by how much the mean of its output moved, channel by channel (algorithms/bias-correction.ts;
 * E[W x] − E[Ŵ x̂], both measured at the output, so that quantized activations count as well).
 *
 * Stage by stage: what a bias takes back its successors do not see any more. The plan keeps its layout, for biases keep their
 * size.
 */

import { collectInputStatistics } from '../../calibration/collect/collect-inputs.ts';
import type { Product } from '../../calibration/collect/products.ts';
import type { Dataset } from '../../calibration/data/dataset.ts';
import type { InputStatistics } from '../../calibration/statistics/input-statistics.ts';
import { byteLength } from '../../core/dtype.ts';
import type { RunOptions } from '../../core/progress.ts';
import { WhittleError } from '../../errors.ts';
import { executeFiles } from '../../execution/execute.ts';
import type { OutputFile } from '../../formats/layout.ts';
import { dtypeOfNumber } from '../../formats/onnx/data-types.ts';
import { layoutModel } from '../../formats/onnx/layout.ts';
import type { TensorProto } from '../../formats/onnx/messages.ts';
import { cloneModel, type OnnxModel } from '../../formats/onnx/model.ts';
import { openOnnx } from '../../formats/onnx/open.ts';
import { createTemporaryFolder } from '../../io/temporary-folder.ts';
import { type Kernels, selectKernels } from '../../kernels/index.ts';
import type { Planned } from '../../planning/plan-onnx.ts';
import { onnxruntimeNode } from '../../runtime/onnxruntime-node.ts';
import type { CompressOptions } from '../options.ts';
import { type BiasSite, findBiasSites } from './bias-sites.ts';

/** How far the mean of an output was off. */
export interface BiasReport {
  /** Name of the constant. */
  readonly bias: string;
  /** Root mean square of the shift of its channels, as a share of the root mean square of the output. */
  readonly shiftBefore: number;
  readonly shiftAfter: number;
}

export interface CorrectedBiases {
  readonly planned: Pick<Planned, 'proto' | 'files' | 'tasks'>;
  readonly biases: readonly BiasReport[];
  readonly notes: readonly string[];
}

export interface CorrectOptions extends RunOptions {
  readonly dataset: Dataset;
  readonly threads?: number | undefined;
  /** As the files are written. */
  readonly nonFinite?: CompressOptions['nonFinite'];
}

/** @param model - what was planned for: of a prepared mode the prepared model */
export async function correctBiases(
  model: OnnxModel,
  planned: Planned,
  options: CorrectOptions,
): Promise<CorrectedBiases> {
  const folder = await createTemporaryFolder();
  try {
    const { files, tasks } = planned;
    const { threads, nonFinite, signal } = options;
    await executeFiles({
      files,
      tasks,
      target: { directory: folder.path('.') },
      threads,
      nonFinite,
      signal,
      journal: false,
    });
    await using written = await openOnnx(folder.path(files[0]?.name ?? ''));
    return await correct(model, written, planned, options);
  } finally {
    await folder.remove();
  }
}

async function correct(
  float: OnnxModel,
  written: OnnxModel,
  planned: Planned,
  options: CorrectOptions,
): Promise<CorrectedBiases> {
  const { dataset, threads, signal, onProgress } = options;
  const kernels = await selectKernels();
  const proto = cloneModel(written.proto);
  const found = findBiasSites(proto, float.proto);
  // Varints (half precision in `int32_data`) take more or fewer bytes with their values, and the plan says where everything stands.
  const sites = found.filter(({ bias }) => bias.int32Data === undefined);
  const left =
    sites.length === found.length
      ? []
      : [
          `Bias correction left ${found.length - sites.length} biases as they were: they are stored as int32_data, whose size depends on the values.`,
        ];
  if (sites.length === 0) {
    const none = 'Bias correction found no quantized product with a bias.';
    return { planned, biases: [], notes: found.length === 0 ? [none] : left };
  }
  const collect = (model: OnnxModel, products: readonly Product[]) =>
    collectInputStatistics(
      { proto: model.proto, resolve: (tensor) => model.tensorBytes(tensor) },
      dataset,
      products,
      {
        runtime: onnxruntimeNode(),
        collect: ['sums'],
        threads,
        signal,
      },
    );
  const quantized: OnnxModel = { ...written, proto };
  const tap = (of: readonly BiasSite[]): Product[] => of.map((site) => productOf(site, site.value));
  const stages = new Set(sites.map(({ stage }) => stage));
  const progress = (done: number): void =>
    onProgress?.({ phase: 'correcting biases', bytesDone: done, bytesTotal: stages.size + 3 });
  progress(0);
  const wanted = await collect(
    float,
    sites.map((site) => productOf(site, site.floatValue)),
  );
  progress(1);
  const before = await collect(quantized, tap(sites));
  let done = 2;
  for (const stage of stages) {
    progress(done++);
    const own = sites.filter((site) => site.stage === stage);
    const means = await collect(quantized, tap(own));
    for (const site of own) {
      const shift = shiftOf(wanted.get(site.value), means.get(site.value));
      await addToBias(quantized, site, shift, kernels);
    }
  }
  progress(done);
  const after = await collect(quantized, tap(sites));
  const biases = sites.map(({ value, bias }): BiasReport => {
    const target = wanted.get(value);
    return {
      bias: bias.name ?? '',
      shiftBefore: share(target, before.get(value)),
      shiftAfter: share(target, after.get(value)),
    };
  });
  const corrected = await withBiases(float, planned, quantized, sites, kernels);
  return { planned: corrected, biases, notes: [describe(biases), ...left] };
}

/** The channels of a value as inputs of a product: its rows, or its places. */
function productOf({ value, channels, spatial }: BiasSite, input: string): Product {
  const base = { weight: value, input, inputs: channels };
  if (spatial === 0) return { ...base, kind: 'rows' };
  const all = (count: number, of: number): number[] => Array.from({ length: count }, () => of);
  const ones = all(spatial, 1);
  const pads = all(2 * spatial, 0);
  return { ...base, kind: 'patches', kernel: ones, strides: ones, dilations: ones, pads, groups: 1 };
}

/** E[y] − E[ŷ] by channel. */
function shiftOf(wanted: InputStatistics | undefined, found: InputStatistics | undefined): Float64Array {
  const target = wanted?.sums ?? new Float64Array(0);
  return target.map(
    (sum, c) =>
      sum / Math.max(1, wanted?.rows ?? 1) - (found?.sums?.[c] ?? 0) / Math.max(1, found?.rows ?? 1),
  );
}

function share(wanted: InputStatistics | undefined, found: InputStatistics | undefined): number {
  const shift = shiftOf(wanted, found);
  const moved = shift.reduce((sum, value) => sum + value * value, 0);
  const squares = wanted?.squares.reduce((sum, value) => sum + value, 0) ?? 0;
  const power = squares / Math.max(1, wanted?.rows ?? 1);
  return power > 0 ? Math.sqrt(moved / power) : 0;
}

/** Adds to a bias of the model that runs, in the type in which it is stored. */
async function addToBias(
  model: OnnxModel,
  { bias, scale }: BiasSite,
  shift: Float64Array,
  kernels: Kernels,
): Promise<void> {
  const bytes = (await model.readTensor(bias)).slice();
  if (scale !== undefined) {
    const steps = new Float32Array((await model.readTensor(scale)).slice().buffer);
    const codes = new Int32Array(bytes.buffer);
    const step = (c: number): number => steps[steps.length === 1 ? 0 : c] ?? 1;
    const limit = 2 ** 31 - 1;
    for (const [c, value] of shift.entries())
      codes[c] = Math.min(limit, Math.max(-limit, codes[c]! + Math.round(value / step(c))));
    setBytes(bias, bytes);
    return;
  }
  const values = floatsOf(bias, bytes, kernels);
  for (const [c, value] of shift.entries()) values[c]! += value;
  const encoded = encode(bias, values, kernels);
  // What does not fit its type stays as it was.
  if (floatsOf(bias, encoded, kernels).every(Number.isFinite)) setBytes(bias, encoded);
}

function floatsOf(tensor: TensorProto, bytes: Uint8Array, kernels: Kernels): Float32Array {
  const dtype = dtypeOfNumber(tensor.dataType);
  if (dtype === 'f32') return new Float32Array(bytes.slice().buffer);
  if (dtype === 'f64') return Float32Array.from(new Float64Array(bytes.slice().buffer));
  const values = new Float32Array(bytes.length / 2);
  if (dtype === 'f16' || dtype === 'bf16')
    kernels.convert(dtype, 'f32', bytes, new Uint8Array(values.buffer), values.length);
  return values;
}

function encode(tensor: TensorProto, values: Float32Array, kernels: Kernels): Uint8Array {
  const dtype = dtypeOfNumber(tensor.dataType);
  if (dtype === 'f64') return new Uint8Array(Float64Array.from(values).buffer);
  const raw = new Uint8Array(values.slice().buffer);
  if (dtype !== 'f16' && dtype !== 'bf16') return raw;
  const narrow = new Uint8Array(byteLength(dtype, values.length));
  kernels.convert('f32', dtype, raw, narrow, values.length);
  return narrow;
}

function setBytes(tensor: TensorProto, bytes: Uint8Array): void {
  tensor.rawData = { kind: 'inline', bytes };
  tensor.floatData = undefined;
  tensor.doubleData = undefined;
  tensor.int32Data = undefined;
  tensor.externalData = [];
  tensor.dataLocation = undefined;
}

/** The plan with other biases; parts that were solved stay where they are. */
async function withBiases(
  model: OnnxModel,
  planned: Planned,
  corrected: OnnxModel,
  sites: readonly BiasSite[],
  kernels: Kernels,
): Promise<CorrectedBiases['planned']> {
  const proto = cloneModel(planned.proto);
  const tensors = new Map(proto.graph?.initializer.map((tensor) => [tensor.name ?? '', tensor]));
  const sources = new Map<number, Uint8Array>();
  for (const { bias } of sites) {
    const tensor = tensors.get(bias.name ?? '');
    if (tensor === undefined) continue;
    const bytes = await corrected.readTensor(bias);
    // A bias that a task converts is given to the task as it is before that.
    if (tensor.rawData?.kind !== 'pending') setBytes(tensor, bytes);
    else sources.set(tensor.rawData.task, new Uint8Array(floatsOf(bias, bytes, kernels).buffer));
  }
  const tasks = planned.tasks.map((task) => {
    const bytes = sources.get(task.id);
    const isFloat = 'from' in task.operation && task.operation.from === 'f32';
    return bytes === undefined || !isFloat ? task : { ...task, source: { kind: 'inline', bytes } as const };
  });
  const files = await layoutModel(proto, {
    fileName: planned.files[0]?.name ?? 'model.onnx',
    externalData: planned.files.length > 1 ? 'always' : 'never',
    sourceHadExternal: model.hasExternalData,
    resolve: (tensor) => model.tensorBytes(tensor),
  });
  return { proto, tasks, files: files.map((file, i) => withSolved(file, planned.files[i])) };
}

/** Parts at the places where the plan has what was solved. */
function withSolved(file: OutputFile, solved: OutputFile | undefined): OutputFile {
  if (solved?.size !== file.size)
    throw new WhittleError('E_GRAPH', 'the layout of a plan changed with its biases', { file: file.name });
  const known = new Map(solved.segments.map((segment) => [segment.offset, segment]));
  const segments = file.segments.map((segment) => {
    const held = segment.kind === 'part' ? known.get(segment.offset) : undefined;
    return held ?? segment;
  });
  return { ...file, segments };
}

function describe(biases: readonly BiasReport[]): string {
  const mean = (part: 'shiftBefore' | 'shiftAfter'): string =>
    `${((100 * biases.reduce((sum, bias) => sum + bias[part], 0)) / biases.length).toPrecision(2)} %`;
  return `Bias correction: ${biases.length} biases; means of outputs were off by ${mean('shiftBefore')} of their size, by ${mean('shiftAfter')} after.`;
}
