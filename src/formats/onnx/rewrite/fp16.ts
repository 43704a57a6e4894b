/**
 * The whole graph in half precision, by the rules of float16.py (docs/onnx.md 1b): every f32 value becomes f16, magnitudes of constants
 * are moved into [1e-7, 1e4], operators that are blocked stay in f32 between casts, float32 inputs and outputs stay.
 *
 * Element types come from types.ts, so each value is either f32 on purpose (made by a blocked node, or an input that
 * keeps its type) or f16; a reader that wants the other one reads a Cast, made once right behind the producer. Subgraphs
 * hand over f16 only, so both branches of an If and all turns of a Loop agree.
 */

import { elementCount } from '../../../core/shape.ts';
import type { Operation } from '../../../numerics/operation.ts';
import { dtypeOfNumber, numberOfDtype } from '../data-types.ts';
import { allGraphs } from '../graph.ts';
import type { GraphProto, NodeProto, TensorProto, ValueInfoProto } from '../messages.ts';
import type { OnnxModel } from '../model.ts';
import { opsetVersion } from '../model-versions.ts';
import { inferElementTypes } from '../types.ts';
import { makeCast, pendingTensor } from './build.ts';
import type { RewriteContext } from './context.ts';
import { BLOCKED_OPS, type BlockOptions, isBlocked, retype } from './fp16-blocked.ts';
import { type GraphIndex, indexGraph } from './uses.ts';

export interface HalfSettings {
  readonly keepIoTypes: boolean;
  readonly blockedOps?: readonly string[] | undefined;
}

export interface HalfAbilities {
  readonly nbitsF16: readonly number[];
  readonly targets: readonly string[];
}

type Precision = 'f16' | 'f32';

/** Below this, a constant that readers want in both types is stored twice; above, it is stored once and cast. */
const SMALL = 1024;

interface State {
  readonly context: RewriteContext;
  readonly index: GraphIndex;
  readonly block: BlockOptions;
  readonly keepIoTypes: boolean;
  /** f32 by the types before the conversion. */
  readonly isFloat: (graph: GraphProto, name: string) => boolean;
  /** What every f32 value is afterwards, by defining graph and name. */
  readonly precision: Map<GraphProto, Map<string, Precision>>;
  /** Names under which a value is found in the other precision. */
  readonly casts: Map<GraphProto, Map<string, string>>;
  /** Cast nodes to insert behind a producer, or at the head of a graph. */
  readonly behind: Map<NodeProto, NodeProto[]>;
  readonly heads: Map<GraphProto, NodeProto[]>;
  readonly producers: Map<GraphProto, Map<string, NodeProto>>;
  readonly pending: { readonly graph: GraphProto; readonly tensor: TensorProto; readonly name: string }[];
}

/** Converts `context.proto`. Gives the number of constants that changed. */
export async function convertToHalf(
  context: RewriteContext,
  model: OnnxModel,
  settings: HalfSettings,
  abilities: HalfAbilities,
): Promise<{ converted: number }> {
  const { proto } = context;
  const main = proto.graph;
  if (main === undefined) return { converted: 0 };
  const types = inferElementTypes(proto);
  await keepWideNorms(context, model);
  const state: State = {
    context,
    index: indexGraph(proto),
    block: {
      blockedOps: new Set(settings.blockedOps ?? BLOCKED_OPS),
      floatNodes: context.floatNodes,
      opset: opsetVersion(proto, '') ?? 0,
      nbitsF16: abilities.nbitsF16,
      functions: new Set(proto.functions.map(({ domain, name }) => `${domain ?? ''}:${name ?? ''}`)),
    },
    keepIoTypes: settings.keepIoTypes,
    isFloat: (graph, name) => name !== '' && types.typeOf(graph, name) === 'f32',
    precision: new Map(),
    casts: new Map(),
    behind: new Map(),
    heads: new Map(),
    producers: new Map(),
    pending: [],
  };
  // Graphs before the types change: what is f32 now is answered by `types`, which does not move.
  for (const graph of state.index.graphs) fixPrecision(state, graph, graph === main);
  for (const graph of state.index.graphs) rewireGraph(state, graph, graph === main);
  for (const graph of state.index.graphs) insertCasts(state, graph);
  let converted = 0;
  for (const { graph, tensor, name } of state.pending) {
    if (await halve(context, model, graph, tensor, name)) converted++;
  }
  noteIslands(state, abilities);
  return { converted };
}

/** Largest magnitude that float16.py leaves as it is. */
const WIDEST = 1e4;

/**
 * BatchNormalization whose statistics do not fit would be computed with clipped ones (PaddleOCR's detector has variances of 1e8):
 * it stays in f32, and so does the product in front of it, whose results are as large as the statistics say.
 */
async function keepWideNorms(context: RewriteContext, model: OnnxModel): Promise<void> {
  let kept = 0;
  for (const { graph } of allGraphs(context.proto)) {
    const constants = new Map(graph.initializer.map((tensor) => [tensor.name ?? '', tensor]));
    const producers = new Map(graph.node.flatMap((node) => node.output.map((name) => [name, node] as const)));
    for (const node of graph.node) {
      if (node.opType !== 'BatchNormalization') continue;
      let wide = false;
      for (const name of node.input.slice(1)) {
        const tensor = constants.get(name);
        if (
          tensor === undefined ||
          tensor.rawData?.kind === 'pending' ||
          dtypeOfNumber(tensor.dataType) !== 'f32'
        )
          continue;
        const bytes = await model.readTensor(tensor);
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        for (let i = 0; i + 4 <= bytes.length && !wide; i += 4)
          wide = Math.abs(view.getFloat32(i, true)) > WIDEST;
      }
      if (!wide) continue;
      kept++;
      context.floatNodes.add(node);
      const before = producers.get(node.input[0] ?? '');
      if (before !== undefined) context.floatNodes.add(before);
    }
  }
  if (kept > 0) {
    context.notes.add(
      `${kept} BatchNormalization with statistics beyond ${WIDEST} stay in float32 (f16 would clip them).`,
    );
  }
}

function setOf<K, V>(map: Map<GraphProto, Map<K, V>>, graph: GraphProto): Map<K, V> {
  const known = map.get(graph) ?? new Map<K, V>();
  map.set(graph, known);
  return known;
}

/** Decides the precision of every f32 value that `graph` defines. */
function fixPrecision(state: State, graph: GraphProto, isMain: boolean): void {
  const own = setOf(state.precision, graph);
  const producers = setOf(state.producers, graph);
  for (const { name = '' } of graph.input) {
    if (state.isFloat(graph, name)) own.set(name, isMain && state.keepIoTypes ? 'f32' : 'f16');
  }
  for (const tensor of graph.initializer) {
    const name = tensor.name ?? '';
    if (dtypeOfNumber(tensor.dataType) !== 'f32') continue;
    const wants = wantedPrecisions(state, graph, name);
    // A constant that is itself an output has no node behind which its type could be changed back.
    const handedOut = isMain && state.keepIoTypes && state.index.isOutput(graph, name);
    const onlyBlocked = (wants.has('f32') && !wants.has('f16')) || (handedOut && large(tensor));
    const both = wants.has('f32') && wants.has('f16');
    if (onlyBlocked) {
      own.set(name, 'f32');
    } else if (both && !large(tensor)) {
      own.set(name, 'f32');
      const half = state.context.uniqueName(`${name}_f16`);
      setOf(state.casts, graph).set(name, half);
      state.pending.push({ graph, tensor, name: half });
    } else {
      own.set(name, 'f16');
      state.pending.push({ graph, tensor, name });
    }
  }
  for (const node of graph.node) {
    const blocked = isBlocked(node, state.block);
    for (const name of node.output) {
      if (name === '') continue;
      producers.set(name, node);
      if (state.isFloat(graph, name)) own.set(name, blocked ? 'f32' : 'f16');
    }
  }
}

function large(tensor: TensorProto): boolean {
  return (elementCount(tensor.dims) ?? 0) > SMALL || tensor.rawData?.kind === 'pending';
}

/** Precisions in which the readers of a value want it. */
function wantedPrecisions(state: State, graph: GraphProto, name: string): Set<Precision> {
  const wants = new Set<Precision>();
  for (const { node } of state.index.consumers(graph, name))
    wants.add(isBlocked(node, state.block) ? 'f32' : 'f16');
  if (state.index.isOutput(graph, name))
    wants.add(state.keepIoTypes && graph === state.index.graphs[0] ? 'f32' : 'f16');
  return wants;
}

/** The name under which `graph` finds `name` in precision `want`; makes the Cast where it is not there yet. */
function nameIn(state: State, graph: GraphProto, name: string, want: Precision): string {
  const home = state.index.definingGraph(graph, name);
  const present = home && state.precision.get(home)?.get(name);
  if (home === undefined || present === undefined || present === want) return name;
  const casts = setOf(state.casts, home);
  const known = casts.get(name);
  if (known !== undefined) return known;
  const made = state.context.uniqueName(`${name}_${want}`);
  casts.set(name, made);
  const cast = makeCast(name, made, want, state.context.uniqueName(`${name}_to_${want}`));
  const producer = state.producers.get(home)?.get(name);
  if (producer === undefined) state.heads.set(home, [...(state.heads.get(home) ?? []), cast]);
  else state.behind.set(producer, [...(state.behind.get(producer) ?? []), cast]);
  return made;
}

function rewireGraph(state: State, graph: GraphProto, isMain: boolean): void {
  for (const node of graph.node) {
    const blocked = isBlocked(node, state.block);
    if (!blocked) retype(node);
    node.input = node.input.map((name) =>
      state.isFloat(graph, name) ? nameIn(state, graph, name, blocked ? 'f32' : 'f16') : name,
    );
  }
  for (const value of [...graph.input, ...graph.valueInfo]) {
    if (state.precision.get(graph)?.get(value.name ?? '') === 'f16') setHalf(value);
  }
  for (const value of graph.output) rewireOutput(state, graph, value, isMain);
}

function rewireOutput(state: State, graph: GraphProto, value: ValueInfoProto, isMain: boolean): void {
  const name = value.name ?? '';
  if (!state.isFloat(graph, name)) return;
  const want: Precision = isMain && state.keepIoTypes ? 'f32' : 'f16';
  if (want === 'f16') setHalf(value);
  const home = state.index.definingGraph(graph, name);
  const present = home && state.precision.get(home)?.get(name);
  if (present === undefined || present === want) return;
  if (!isMain) {
    // Outputs of subgraphs are known by position, so another name will do.
    value.name = nameIn(state, graph, name, want);
    return;
  }
  renameOutput(state, graph, name, present, want);
}

/** An output of the model keeps its name: the value behind it takes another one, and a Cast gives the output. */
function renameOutput(
  state: State,
  graph: GraphProto,
  name: string,
  present: Precision,
  want: Precision,
): void {
  const producer = state.producers.get(graph)?.get(name);
  if (producer === undefined) return;
  const inner = state.context.uniqueName(`${name}_${present}`);
  producer.output = producer.output.map((output) => (output === name ? inner : output));
  const known = state.casts.get(graph)?.get(name);
  const cast = makeCast(inner, name, want, state.context.uniqueName(`${name}_to_${want}`));
  const behind = state.behind.get(producer) ?? [];
  // Readers that already got a Cast to the wanted type read the output itself.
  state.behind.set(producer, [cast, ...behind.filter((node) => node.output[0] !== known)]);
  for (const { node, graph: where } of state.index.consumers(graph, name)) {
    const blocked = isBlocked(node, state.block);
    node.input = node.input.map((input) => {
      if (input === known) return name;
      return input === name && (blocked ? 'f32' : 'f16') === present ? inner : input;
    });
    if (where !== graph) renameInnerOutputs(where, name, inner);
  }
  graph.valueInfo = graph.valueInfo.filter((info) => info.name !== name);
}

function renameInnerOutputs(graph: GraphProto, from: string, to: string): void {
  for (const output of graph.output) if (output.name === from) output.name = to;
}

function setHalf(value: ValueInfoProto): void {
  const tensor = value.type?.tensorType;
  if (tensor?.elemType === numberOfDtype('f32')) tensor.elemType = numberOfDtype('f16');
}

function insertCasts(state: State, graph: GraphProto): void {
  const nodes: NodeProto[] = [...(state.heads.get(graph) ?? [])];
  for (const node of graph.node) nodes.push(node, ...(state.behind.get(node) ?? []));
  graph.node = nodes;
}

/** Makes a constant f16: a scale of a task changes its type, any other tensor becomes a conversion task. */
async function halve(
  context: RewriteContext,
  model: OnnxModel,
  graph: GraphProto,
  tensor: TensorProto,
  name: string,
): Promise<boolean> {
  const payload = tensor.rawData;
  if (payload?.kind === 'pending') {
    if (!context.halveScale(payload.task)) return false;
    tensor.dataType = numberOfDtype('f16');
    tensor.rawData = { ...payload, length: payload.length / 2 };
    return true;
  }
  const operation: Operation = { kind: 'convert', from: 'f32', to: 'f16', shape: tensor.dims, clip: 'fp16' };
  const elements = elementCount(tensor.dims) ?? 0;
  const place = graph.initializer.indexOf(tensor);
  const length = elements * 2;
  if (elements === 0) {
    const empty = pendingTensor(name, 'f16', tensor.dims, {
      kind: 'pending',
      length: 0,
      task: 0,
      role: 'data',
    });
    const bare: TensorProto = { ...empty, rawData: { kind: 'inline', bytes: new Uint8Array(0) } };
    if (name === tensor.name) graph.initializer[place] = bare;
    else graph.initializer.push(bare);
    return true;
  }
  const task = context.addConversion(graph, tensor.name ?? '', await model.tensorBytes(tensor), operation);
  const half = pendingTensor(name, 'f16', tensor.dims, { kind: 'pending', length, task, role: 'data' });
  const kept: TensorProto = { ...half, docString: tensor.docString, metadataProps: tensor.metadataProps };
  if (name === tensor.name) graph.initializer[place] = kept;
  else graph.initializer.push(half);
  return true;
}

function noteIslands(state: State, { nbitsF16, targets }: HalfAbilities): void {
  const kept = new Map<string, number>();
  for (const graph of state.index.graphs) {
    for (const node of graph.node) {
      if (!isBlocked(node, state.block) || node.opType === 'Constant' || node.opType === 'ConstantOfShape')
        continue;
      kept.set(node.opType ?? '', (kept.get(node.opType ?? '') ?? 0) + 1);
    }
  }
  const nbits = kept.get('MatMulNBits');
  if (nbits !== undefined) {
    state.context.notes.add(
      `${nbits} MatMulNBits keep float32 scales between casts: ${targets.join(', ')} runs only ${nbitsF16.join(' and ')} bits in f16.`,
    );
  }
  kept.delete('MatMulNBits');
  if (kept.size > 0) {
    const list = [...kept].map(([op, count]) => `${count} ${op}`).join(', ');
    state.context.notes.add(`Kept in float32 between casts: ${list}.`);
  }
}
