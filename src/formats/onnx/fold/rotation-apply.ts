/**
 * Rotates a residual stream that rotation.ts found: its writers and addends on their outputs, its readers on their inputs, with the
 * constants of the norms between. Each value is computed in f64 and rounded once.
 *
 * A constant that is read in several ways (an embedding that is the head as well, behind a norm with a scale) becomes one constant for
 * each way, and the file grows by it.
 */

import { byteLength } from '../../../core/dtype.ts';
import { elementCount } from '../../../core/shape.ts';
import type { NodeProto, TensorProto } from '../messages.ts';
import { readFloat, readInt } from '../rewrite/build.ts';
import { type FoldableGraph, readersOf, sumBehind } from './batchnorm.ts';
import { type ConstantUse, constantUses } from './constant-uses.ts';
import type { ResidualStream, RotatedMatrix } from './rotation-walk.ts';

/** x → x R for every row of f64 [rows, channels], in place. */
export type RotateRows = (rows: Float64Array) => void;

export interface RotatedTensor {
  /** Name of the constant. */
  readonly name: string;
  /** max |w| / rms before and after: how far a grid has to reach beyond what is common. */
  readonly before: number;
  readonly after: number;
}

export interface RotationApplied {
  readonly tensors: readonly RotatedTensor[];
  /** Constants that had to be copied, and the bytes of that. */
  readonly copies: readonly { readonly name: string; readonly bytes: number }[];
  /** Additions that take up the offsets of norms. */
  readonly additions: number;
}

/** Edits the graph in place; what is not read any more is left for pruning. */
export async function applyRotation(
  model: FoldableGraph,
  stream: ResidualStream,
  rotate: RotateRows,
): Promise<RotationApplied> {
  const { graph, read } = model;
  const scales = new Map<TensorProto, Float32Array>();
  for (const { scale } of stream.norms) {
    if (scale === undefined || scales.has(scale.tensor)) continue;
    scales.set(scale.tensor, await read(scale.tensor));
  }
  const all = constantUses(graph, model.constant);
  const edits = new Map<TensorProto, Map<string, Edit>>();
  for (const matrix of stream.matrices) addEdit(edits, matrix.use, matrixSteps(matrix, scales));
  for (const use of stream.addends)
    addEdit(edits, use, [{ axis: use.tensor.dims.length - 1, scale: undefined }]);
  const offsets = await readerOffsets(model, stream, rotate);
  const tensors: RotatedTensor[] = [];
  const copies: { name: string; bytes: number }[] = [];
  for (const [tensor, ways] of edits) {
    const others = usesOf(tensor.name ?? '', graph, all);
    const edited = [...ways.values()].flatMap(({ uses }) => uses);
    const shared = others === undefined || others.length > edited.length;
    const original = await read(tensor);
    for (const [i, { steps, uses }] of [...ways.values()].entries()) {
      const values = original.slice();
      for (const { axis, scale } of steps)
        rotateAxis(values, tensor.dims, axis, scale && scales.get(scale), rotate);
      tensors.push({ name: tensor.name ?? '', before: reach(original), after: reach(values) });
      if (i === 0 && !shared) {
        await model.write(tensor, values);
        continue;
      }
      copies.push(await placeCopies(model, tensor, values, uses));
    }
  }
  await neutralize(model, stream, scales);
  return { tensors, copies, additions: await placeOffsets(model, offsets, all) };
}

/** One axis of a stored tensor, with the scale that goes before the rotation. */
interface Step {
  readonly axis: number;
  readonly scale: TensorProto | undefined;
}

/** What happens to a tensor for some of its uses. */
interface Edit {
  readonly steps: readonly Step[];
  readonly uses: ConstantUse[];
}

function addEdit(edits: Map<TensorProto, Map<string, Edit>>, use: ConstantUse, steps: readonly Step[]): void {
  const ways = edits.get(use.tensor) ?? new Map<string, Edit>();
  edits.set(use.tensor, ways);
  const key = steps.map(({ axis, scale }) => `${axis} ${scale?.name ?? ''}`).join('\n');
  const known = ways.get(key);
  if (known === undefined) ways.set(key, { steps, uses: [use] });
  else known.uses.push(use);
}

function isTurned({ node, turned }: ConstantUse): boolean {
  return turned !== (node.opType === 'Gemm' && readInt(node, 'transB', 0) === 1);
}

function matrixSteps(
  { use, reads, writes }: RotatedMatrix,
  scales: ReadonlyMap<TensorProto, Float32Array>,
): Step[] {
  if (use.node.opType === 'Gather') return [{ axis: 1, scale: undefined }];
  const input = isTurned(use) ? 1 : 0;
  const scale = reads?.scale?.tensor;
  const isOne = scale === undefined || scales.get(scale)?.every((value) => value === 1) === true;
  return [
    ...(reads === undefined ? [] : [{ axis: input, scale: isOne ? undefined : scale }]),
    ...(writes ? [{ axis: 1 - input, scale: undefined }] : []),
  ];
}

/** All that read an initializer, through the nodes between; undefined where a subgraph or the caller does. */
function usesOf(
  name: string,
  graph: FoldableGraph['graph'],
  all: ReadonlyMap<NodeProto, ReadonlyMap<number, ConstantUse>>,
): ConstantUse[] | undefined {
  if (graph.output.some((output) => output.name === name)) return undefined;
  const readers = readersOf(graph);
  const main = new Set(graph.node);
  const found = new Set<ConstantUse>();
  const visit = (value: string): boolean =>
    (readers.get(value) ?? []).every((node) => {
      if (!main.has(node) || !node.input.includes(value)) return false;
      if (CHAIN.has(node.opType ?? '')) return visit(node.output[0] ?? '');
      for (const [index, input] of node.input.entries()) {
        const use = input === value ? all.get(node)?.get(index) : undefined;
        if (use !== undefined) found.add(use);
      }
      return true;
    });
  return visit(name) ? [...found] : undefined;
}

const CHAIN: ReadonlySet<string> = new Set(['Transpose', 'Cast', 'Identity']);

/** A constant of its own for some uses, in the form in which their nodes read it. */
async function placeCopies(
  { add }: FoldableGraph,
  tensor: TensorProto,
  values: Float32Array,
  uses: readonly ConstantUse[],
): Promise<{ name: string; bytes: number }> {
  const [rows = 1, columns = 1] = tensor.dims;
  const made = new Map<string, string>();
  let bytes = 0;
  for (const { node, input, turned, dtype } of uses) {
    const key = `${turned} ${dtype}`;
    const dims = turned ? [columns, rows] : tensor.dims;
    let name = made.get(key);
    if (name === undefined) {
      const copy = await add(
        `${tensor.name ?? ''}_rotated`,
        dims,
        turned ? transpose(values, rows, columns) : values,
        dtype,
      );
      name = copy.name ?? '';
      made.set(key, name);
      bytes += byteLength(dtype, elementCount(dims) ?? 0);
    }
    node.input = node.input.with(input, name);
  }
  return { name: tensor.name ?? '', bytes };
}

function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  const turned = new Float32Array(values.length);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++)
      turned[column * rows + row] = values[row * columns + column]!;
  return turned;
}

/** Lines of a tensor that are held at once. */
const LINES = 32;

/** Rotates all lines along `axis`, scaled first. */
export function rotateAxis(
  values: Float32Array,
  dims: readonly number[],
  axis: number,
  scale: Float32Array | undefined,
  rotate: RotateRows,
): void {
  const size = dims[axis] ?? 1;
  const inner = dims.slice(axis + 1).reduce((product, dim) => product * dim, 1);
  const outer = values.length / (size * inner);
  const lines = new Float64Array(LINES * size);
  for (let block = 0; block < outer; block++) {
    for (let from = 0; from < inner; from += LINES) {
      const count = Math.min(LINES, inner - from);
      const start = block * size * inner + from;
      const part = lines.subarray(0, count * size);
      for (let i = 0; i < size; i++) {
        const factor = scale?.[i] ?? 1;
        for (let line = 0; line < count; line++)
          part[line * size + i] = values[start + i * inner + line]! * factor;
      }
      rotate(part);
      for (let i = 0; i < size; i++) {
        for (let line = 0; line < count; line++) values[start + i * inner + line] = part[line * size + i]!;
      }
    }
  }
}

/** max |w| / rms. */
function reach(values: Float32Array): number {
  let most = 0;
  let squares = 0;
  for (const value of values) {
    most = Math.max(most, Math.abs(value));
    squares += value * value;
  }
  return squares === 0 ? 0 : most / Math.sqrt(squares / values.length);
}

/** Scales of norms become 1, offsets 0: both went into the readers. */
async function neutralize(
  { add }: FoldableGraph,
  { norms }: ResidualStream,
  scales: ReadonlyMap<TensorProto, Float32Array>,
): Promise<void> {
  const made = new Map<string, string>();
  const replace = async ({ node, input, tensor, dtype, name }: ConstantUse, value: 0 | 1) => {
    const key = `${value} ${dtype} ${tensor.dims.join()}`;
    const filled = new Float32Array(elementCount(tensor.dims) ?? 0).fill(value);
    const own = made.get(key) ?? (await add(`${name}_folded`, tensor.dims, filled, dtype)).name ?? '';
    made.set(key, own);
    node.input = node.input.with(input, own);
  };
  for (const { scale, offset } of norms) {
    if (scale !== undefined && scales.get(scale.tensor)?.every((value) => value === 1) !== true)
      await replace(scale, 1);
    if (offset !== undefined) await replace(offset, 0);
  }
}

interface ReaderOffset {
  readonly use: ConstantUse;
  readonly values: Float32Array;
  readonly writes: boolean;
}

/** βᵀW of every reader behind a norm with an offset, rotated where the reader writes the stream as well. */
async function readerOffsets(
  { read }: FoldableGraph,
  { matrices }: ResidualStream,
  rotate: RotateRows,
): Promise<ReaderOffset[]> {
  const offsets: ReaderOffset[] = [];
  for (const { use, reads, writes } of matrices) {
    if (reads?.offset === undefined) continue;
    const beta = await read(reads.offset.tensor);
    if (beta.every((value) => value === 0)) continue;
    const weight = await read(use.tensor);
    const turned = isTurned(use);
    const [rows = 0, columns = 0] = use.tensor.dims;
    const alpha = use.node.opType === 'Gemm' ? readFloat(use.node, 'alpha', 1) : 1;
    const sums = new Float64Array(turned ? rows : columns);
    for (let i = 0; i < weight.length; i++) {
      const row = Math.floor(i / columns);
      const column = i - row * columns;
      sums[turned ? row : column]! += alpha * weight[i]! * beta[turned ? column : row]!;
    }
    if (writes) rotate(sums);
    offsets.push({ use, values: Float32Array.from(sums), writes });
  }
  return offsets;
}

/** Puts offsets into the biases behind the products, or adds them. Gives the number of additions that are new. */
async function placeOffsets(
  { graph, add, read, uniqueName }: FoldableGraph,
  offsets: readonly ReaderOffset[],
  all: ReadonlyMap<NodeProto, ReadonlyMap<number, ConstantUse>>,
): Promise<number> {
  const readers = readersOf(graph);
  const outputs = new Set(graph.output.map(({ name }) => name ?? ''));
  const added = new Map<NodeProto, NodeProto>();
  for (const { use, values, writes } of offsets) {
    const { node, dtype } = use;
    const [output = ''] = node.output;
    const found = readers.get(output) ?? [];
    const [next] = found;
    const isAlone = found.length === 1 && !outputs.has(output) && next?.opType === 'Add' && !writes;
    const constant =
      isAlone && next !== undefined ? all.get(next)?.get(next.input[0] === output ? 1 : 0) : undefined;
    const { dims } = constant?.tensor ?? { dims: [] };
    if (next !== undefined && constant !== undefined && dims.length === 1 && dims[0] === values.length) {
      const own = await read(constant.tensor);
      const sum = own.map((value, i) => value + values[i]!);
      const tensor = await add(`${constant.name}_folded`, dims, sum, dtype);
      next.input = next.input.with(constant.input, tensor.name ?? '');
      continue;
    }
    const tensor = await add(`${use.name}_offset`, [values.length], values, dtype);
    added.set(node, sumBehind(node, tensor, output, uniqueName));
  }
  graph.node = graph.node.flatMap((node) => {
    const behind = added.get(node);
    return behind === undefined ? [node] : [node, behind];
  });
  return added.size;
}
