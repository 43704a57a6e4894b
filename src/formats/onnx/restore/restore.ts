/**
 * A graph with stored (quantized) weights → the plain float graph, on a copy: patterns give way to MatMul, Conv, Gather, LSTM with
 * float initializers, whose bytes are promised (pending) and computed by restorations; where activations were rounded a Clip to
 * their range stays. What nothing reads any more goes; names of inputs and outputs stay; weights that were tied stay tied.
 *
 * In f32, a graph that computes in f16 is widened as a whole (widen.ts). In f16, a weight that is read in f32 is stored as f16 and
 * cast where it stood.
 */

import { WhittleError } from '../../../errors.ts';
import {
  type DequantizeOperation,
  type DequantizeTask,
  dequantizedPart,
  type ValueDType,
} from '../../../numerics/dequantize-operation.ts';
import type { PartRole } from '../../../numerics/operation.ts';
import type { TensorBytes } from '../../layout.ts';
import { allGraphs, definedNames, namesUsedBy } from '../graph.ts';
import type { GraphProto, ModelProto, NodeProto, TensorProto } from '../messages.ts';
import { type OnnxModel, pruneUnused, uniqueName } from '../model.ts';
import { makeCast, makeNode, pendingTensor } from '../rewrite/build.ts';
import { subgraphs } from '../rewrite/uses.ts';
import { clipActivations, findActivationPairs } from './activation-clips.ts';
import { findStoredWeights, preparedForRestore } from './find.ts';
import { remainingNotes } from './notes.ts';
import type { RestoreEmitter, StoredUse, StoredWeight } from './stored-weight.ts';
import { canWiden, widenGraph } from './widen.ts';

export interface RestoredWeight {
  readonly name: string;
  readonly shape: readonly number[];
  /** How it was stored: "int4 blocks of 32", "f16". */
  readonly form: string;
  /** Operator that read the stored form; '' for a weight that was only widened. */
  readonly opType: string;
}

export interface RestoredGraph {
  readonly proto: ModelProto;
  readonly restorations: readonly DequantizeTask<TensorBytes>[];
  readonly weights: readonly RestoredWeight[];
  readonly notes: readonly string[];
}

const ROLES = ['data', 'packed', 'scales', 'scale', 'zeroPoints', 'zeroPoint', 'absmax'] as const;

/** Where the bytes of the parts are. @throws WhittleError as `tensorBytes` */
export async function partSources(
  model: OnnxModel,
  parts: StoredWeight['parts'],
): Promise<Partial<Record<PartRole, TensorBytes>>> {
  const sources: Partial<Record<PartRole, TensorBytes>> = {};
  for (const role of ROLES) {
    const part = parts[role];
    if (part !== undefined) sources[role] = await model.tensorBytes(part);
  }
  return sources;
}

/**
 * Restores all stored weights of `model` as `to`, and its activations.
 * @throws WhittleError E_NOTHING_TO_DO where nothing is quantized; what `tensorBytes` throws
 */
export async function restoreGraph(
  model: OnnxModel,
  { to }: { readonly to: ValueDType },
): Promise<RestoredGraph> {
  const proto = preparedForRestore(model.proto);
  const found = findStoredWeights(proto);
  // A weight of 16 bits is f16 enough.
  const wanted = (weight: StoredWeight): boolean =>
    to === 'f32' || weight.operation.kind !== 'cast' || weight.operation.from !== 'bf16';
  const uses = found.uses.filter((use) => use.weights.every(wanted));
  const weights = found.weights.filter(wanted);
  const widens = to === 'f32' && canWiden(proto);
  const pairs = await findActivationPairs(model, proto, found.lookup);
  if (weights.length === 0 && pairs.length === 0 && !widens)
    throw nothingToDo(model, to, remainingNotes(proto, found.refusals));

  const restorations: DequantizeTask<TensorBytes>[] = [];
  const edit = createEdit(proto, uses, { to, widens, index: found.lookup.index });
  const restored: RestoredWeight[] = [];
  for (const weight of weights) {
    const operation: DequantizeOperation = { ...weight.operation, to };
    const id = restorations.length;
    const name = edit.place(weight, operation, id);
    const { shape, form, opType } = weight;
    restored.push({ name, shape, form, opType });
    restorations.push({ id, tensor: name, operation, sources: await partSources(model, weight.parts) });
  }
  edit.apply();
  const freed = clipActivations(proto, pairs, uniqueName(proto));
  const left = [...uses.flatMap(({ pattern }) => pattern), ...freed];
  const stored = weights.flatMap(({ parts }) => ROLES.flatMap((role) => parts[role] ?? []));
  cleanUp(proto, left, [...stored, ...pairs.flatMap(({ parts }) => parts)]);
  const notes: string[] = [];
  if (freed.length > 0) {
    notes.push(
      `Activations in ${freed.length} ${freed.length === 1 ? 'place' : 'places'} are float again, held to the ranges they had (Clip): outputs change by the rounding that is gone.`,
    );
  }
  if (uses.some(({ dynamic }) => dynamic)) {
    notes.push(
      'Activations that were quantized while the model ran are float again: outputs change by that.',
    );
  }
  if (widens) {
    const widened = await widenGraph(model, proto, restorations.length);
    restorations.push(...widened.restorations);
    restored.push(...widened.weights);
    notes.push(...widened.notes);
  }
  notes.push(...remainingNotes(proto, found.refusals));
  return { proto, restorations, weights: restored, notes };
}

function nothingToDo(model: OnnxModel, to: ValueDType, notes: readonly string[]): WhittleError {
  return new WhittleError('E_NOTHING_TO_DO', `the model has no weights to bring back to ${to}`, {
    file: model.file,
    expected: 'quantized weights (MatMulNBits, DequantizeLinear, MatMulInteger, …)',
    found: notes.length === 0 ? 'float weights only' : notes.join(' '),
    hint: to === 'f16' ? 'To make float weights f16, use: whittle quantize --to fp16.' : undefined,
  });
}

interface EditOptions {
  readonly to: ValueDType;
  readonly widens: boolean;
  readonly index: ReturnType<typeof findStoredWeights>['lookup']['index'];
}

interface Edit {
  /** Puts the float weight beside its parts; gives the name under which nodes read it. */
  place(weight: StoredWeight, operation: DequantizeOperation, task: number): string;
  apply(): void;
}

function createEdit(proto: ModelProto, uses: readonly StoredUse[], options: EditOptions): Edit {
  const { to, widens, index } = options;
  const allocate = uniqueName(proto);
  const values = new Map<StoredWeight, string>();
  const turned = new Map<StoredWeight, string>();
  const heads = new Map<GraphProto, NodeProto[]>();
  const definitions = countDefinitions(proto);
  const prepend = (graph: GraphProto, node: NodeProto): void => {
    heads.set(graph, [...(heads.get(graph) ?? []), node]);
  };
  /** The name of the weight where it is free, or becomes so because the node that made it goes. */
  const nameOf = (weight: StoredWeight): string => {
    const freed = uses.some(
      ({ replace, weights, node, graph }) =>
        replace === 'value' &&
        weights.includes(weight) &&
        node.output[0] === weight.name &&
        !index.isOutput(graph, weight.name),
    );
    const sole = definitions.get(weight.name) === 1;
    if (sole && (freed || moveAside(weight))) return weight.name;
    return allocate(weight.name);
  };
  return {
    place(weight, operation, task) {
      const value = nameOf(weight);
      values.set(weight, value);
      const part = dequantizedPart(operation);
      // A graph that is widened afterwards reads f32 everywhere.
      const cast = to !== weight.dtype && !widens;
      const name = cast ? allocate(`${value}_${to}`) : value;
      const pending = { kind: 'pending', length: part.bytes, task, role: part.role } as const;
      weight.graph.initializer.push(pendingTensor(name, part.dtype, weight.shape, pending));
      if (cast) prepend(weight.graph, makeCast(name, value, weight.dtype, allocate(`${value}_cast`)));
      return value;
    },

    apply() {
      const replacements = new Map<NodeProto, () => NodeProto[]>();
      for (const use of uses) {
        const { weights, node, graph, replace } = use;
        const floatName = (i: number): string => {
          const weight = weights[i];
          return (weight && values.get(weight)) ?? '';
        };
        if (replace === 'value') {
          replacements.set(node, () => renameValue(graph, node.output[0] ?? '', floatName(0)));
          continue;
        }
        const emit: RestoreEmitter = {
          value: floatName,
          uniqueName: allocate,
          transposed(i) {
            const weight = weights[i];
            if (weight === undefined) return '';
            const known = turned.get(weight);
            if (known !== undefined) return known;
            const name = allocate(`${floatName(i)}_transposed`);
            turned.set(weight, name);
            prepend(
              weight.graph,
              makeNode('Transpose', [floatName(i)], [name], { name: allocate(`${name}_node`) }),
            );
            return name;
          },
        };
        replacements.set(node, () => replace(emit));
      }
      // Readers of restored values are renamed before any pattern copies the names of its inputs.
      const made = new Map<NodeProto, NodeProto[]>();
      for (const { node, replace } of uses) {
        if (replace === 'value') made.set(node, replacements.get(node)?.() ?? []);
      }
      for (const { node, replace } of uses) {
        if (replace !== 'value') made.set(node, replacements.get(node)?.() ?? []);
      }
      if (proto.graph !== undefined) rebuild(proto.graph, made, heads);
    },
  };

  /** Where the stored data have the name that the float weight wants, they take another: they are on their way out. */
  function moveAside({ name, parts, graph }: StoredWeight): boolean {
    const data = parts.data ?? parts.packed;
    if (data === undefined || data.name !== name || index.isOutput(graph, name)) return false;
    if (graph.input.some((input) => input.name === name)) return false;
    data.name = allocate(`${name}_stored`);
    for (const { node, input } of index.consumers(graph, name)) node.input[input] = data.name;
    return true;
  }

  /** Readers of `from` read `to`; an output keeps its name. Gives the nodes that must remain. */
  function renameValue(graph: GraphProto, from: string, to: string): NodeProto[] {
    if (from === to) return [];
    if (index.isOutput(graph, from)) return [makeNode('Identity', [to], [from])];
    for (const { node, input } of index.consumers(graph, from)) node.input[input] = to;
    return [];
  }
}

function countDefinitions(proto: ModelProto): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { graph } of allGraphs(proto)) {
    for (const name of definedNames(graph)) counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return counts;
}

/** Transposes and casts of weights go to the head of the graph, replaced nodes where they stood. */
function rebuild(
  graph: GraphProto,
  made: ReadonlyMap<NodeProto, readonly NodeProto[]>,
  heads: ReadonlyMap<GraphProto, readonly NodeProto[]>,
): void {
  for (const node of graph.node) for (const inner of subgraphs(node)) rebuild(inner, made, heads);
  graph.node = [...(heads.get(graph) ?? []), ...graph.node.flatMap((node) => made.get(node) ?? [node])];
}

/** Removes what only served the stored forms: nodes, initializers, inputs that named them, value infos. */
function cleanUp(proto: ModelProto, nodes: readonly NodeProto[], tensors: readonly TensorProto[]): void {
  removeDead(proto, new Set(nodes));
  const parts = new Set(tensors);
  // Old exporters list every initializer as an input; a part that goes takes its input along.
  for (const { graph } of allGraphs(proto)) {
    const used = new Set(graph.node.flatMap((node) => [...namesUsedBy(node)]));
    const gone = new Set(
      graph.initializer
        .filter((tensor) => parts.has(tensor) && !used.has(tensor.name ?? ''))
        .map(({ name }) => name),
    );
    if (gone.size > 0) graph.input = graph.input.filter(({ name }) => !gone.has(name));
  }
  pruneUnused(proto);
  for (const { graph } of allGraphs(proto)) {
    const defined = definedNames(graph);
    graph.valueInfo = graph.valueInfo.filter(({ name }) => defined.has(name ?? ''));
  }
}

function removeDead(proto: ModelProto, candidates: ReadonlySet<NodeProto>): void {
  for (let removed = candidates.size > 0; removed; ) {
    removed = false;
    for (const { graph } of allGraphs(proto)) {
      const used = new Set<string>(graph.output.map((output) => output.name ?? ''));
      const kept: NodeProto[] = [];
      for (const node of graph.node.toReversed()) {
        if (candidates.has(node) && node.output.every((name) => name === '' || !used.has(name))) {
          removed = true;
          continue;
        }
        for (const name of namesUsedBy(node)) used.add(name);
        kept.push(node);
      }
      graph.node = kept.reverse();
    }
  }
}
