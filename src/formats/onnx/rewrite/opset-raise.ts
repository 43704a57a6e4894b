/**
 * Raising the ai.onnx opset of a model without changing what it computes.
 *
 * One row per operator and version at which its signature or meaning changed incompatibly (ONNX Changelog.md, versions
 * 7 to 21). Where the change only moved attributes to inputs, or a rule about attributes tells that the meaning is
 * the same, the node is brought over; else the opset stays, and the reason names the operator. Operators that are not in the table
 * only gained types, inputs or attributes.
 */

import { numberOfDtype } from '../data-types.ts';
import { allGraphs, findAttribute, subgraphsOf } from '../graph.ts';
import type { GraphProto, ModelProto, NodeProto, TensorProto } from '../messages.ts';
import { opsetVersion, requireOpset } from '../model-versions.ts';
import { inferRanks } from '../types-rank.ts';
import { floatScalar, int64Tensor, intAttribute, isDefaultDomain, makeNode, readInt } from './build.ts';

interface Change {
  readonly op: string;
  readonly version: number;
  /** Attributes that became inputs from index 1 on, in order. */
  readonly toInputs?: readonly {
    readonly attribute: string;
    readonly kind: 'ints' | 'floats' | 'int' | 'float';
  }[];
  /** Whether the node means the same on both sides. */
  readonly same?: (node: NodeProto, rank: () => number | undefined) => boolean;
  /** Nodes that mean the same where `same` says no. */
  readonly expand?: (node: NodeProto, uniqueName: (base: string) => string) => NodeProto[];
  /** Any other change that keeps the meaning. */
  readonly adapt?: (node: NodeProto) => void;
}

const axesInput = [{ attribute: 'axes', kind: 'ints' }] as const;
/** Softmax over the last axis flattens nothing, so both meanings agree. */
const lastAxis: Change['same'] = (node, rank) => {
  const axis = readInt(node, 'axis', 1);
  return axis === -1 || axis + 1 === rank();
};
/** The default axis was 1 and is -1. */
const stateAxis: Change['adapt'] = (node) => {
  if (findAttribute(node, 'axis') === undefined) node.attribute.push(intAttribute('axis', 1));
};
const none =
  (...names: string[]) =>
  (node: NodeProto): boolean =>
    names.every((name) => findAttribute(node, name) === undefined);

const CHANGES: readonly Change[] = [
  { op: 'Upsample', version: 9 },
  { op: 'Upsample', version: 10 },
  { op: 'Scan', version: 9 },
  {
    op: 'BatchNormalization',
    version: 9,
    same: (node) => readInt(node, 'spatial', 1) === 1,
    adapt: drop('spatial'),
  },
  {
    op: 'Slice',
    version: 10,
    toInputs: [
      { attribute: 'starts', kind: 'ints' },
      { attribute: 'ends', kind: 'ints' },
      { attribute: 'axes', kind: 'ints' },
    ],
  },
  { op: 'TopK', version: 10, toInputs: [{ attribute: 'k', kind: 'int' }] },
  { op: 'Dropout', version: 10, same: (node) => (node.output[1] ?? '') === '' },
  { op: 'Resize', version: 11 },
  {
    op: 'Pad',
    version: 11,
    toInputs: [
      { attribute: 'pads', kind: 'ints' },
      { attribute: 'value', kind: 'float' },
    ],
  },
  {
    op: 'Clip',
    version: 11,
    toInputs: [
      { attribute: 'min', kind: 'float' },
      { attribute: 'max', kind: 'float' },
    ],
  },
  {
    op: 'Scatter',
    version: 11,
    adapt: (node) => {
      node.opType = 'ScatterElements';
    },
  },
  { op: 'Dropout', version: 12, adapt: drop('ratio') },
  ...['Softmax', 'LogSoftmax', 'Hardmax'].map(
    (op): Change => ({ op, version: 13, same: lastAxis, adapt: stateAxis, expand: flattened }),
  ),
  ...['Squeeze', 'Unsqueeze', 'ReduceSum'].map((op): Change => ({ op, version: 13, toInputs: axesInput })),
  { op: 'Split', version: 13, toInputs: [{ attribute: 'split', kind: 'ints' }] },
  {
    op: 'BatchNormalization',
    version: 14,
    same: (node) => node.output.slice(1).every((name) => name === ''),
  },
  { op: 'RoiAlign', version: 16 },
  ...['L1', 'L2', 'LogSum', 'LogSumExp', 'Max', 'Mean', 'Min', 'Prod', 'SumSquare'].map(
    (kind): Change => ({ op: `Reduce${kind}`, version: 18, toInputs: axesInput }),
  ),
  { op: 'Split', version: 18, adapt: addNumOutputs },
  { op: 'GridSample', version: 20 },
  { op: 'DFT', version: 20, same: none('axis', 'onesided', 'inverse') },
  { op: 'GroupNormalization', version: 21 },
];

/** Up to opset 12, Softmax works on the matrix that is flattened at the axis: Shape, Flatten, Softmax, Reshape. */
function flattened(node: NodeProto, uniqueName: (base: string) => string): NodeProto[] {
  const [input = ''] = node.input;
  const [output = ''] = node.output;
  const [shape, flat, soft] = ['shape', 'flat', 'soft'].map((part) => uniqueName(`${output}_${part}`));
  if (shape === undefined || flat === undefined || soft === undefined) return [node];
  const axis = readInt(node, 'axis', 1);
  return [
    makeNode('Shape', [input], [shape], { name: uniqueName(`${shape}_node`) }),
    makeNode('Flatten', [input], [flat], {
      name: uniqueName(`${flat}_node`),
      attributes: [intAttribute('axis', axis)],
    }),
    { ...node, input: [flat], output: [soft], attribute: [intAttribute('axis', -1)] },
    makeNode('Reshape', [soft, shape], [output], { name: uniqueName(`${output}_reshape`) }),
  ];
}

function drop(name: string): (node: NodeProto) => void {
  return (node) => {
    node.attribute = node.attribute.filter((attribute) => attribute.name !== name);
  };
}

function addNumOutputs(node: NodeProto): void {
  if ((node.input[1] ?? '') !== '' || findAttribute(node, 'num_outputs') !== undefined) return;
  node.attribute.push(intAttribute('num_outputs', node.output.length));
}

/** Below this opset broadcasting and recurrent operators had other rules; such models are never raised. */
const OLDEST = 7;

function* nodesOf(graph: GraphProto): Generator<{ node: NodeProto; graph: GraphProto }> {
  for (const node of graph.node) {
    yield { node, graph };
    for (const inner of subgraphsOf(node)) yield* nodesOf(inner.graph);
  }
}

function changesBetween(node: NodeProto, from: number, to: number): Change[] {
  if (!isDefaultDomain(node)) return [];
  return CHANGES.filter(
    (change) => change.op === node.opType && change.version > from && change.version <= to,
  );
}

/** Why the model cannot be raised to `version`; undefined where it can (or is there already). */
export function raiseProblem(proto: ModelProto, version: number): string | undefined {
  const from = opsetVersion(proto, '') ?? 0;
  if (from >= version || proto.graph === undefined) return undefined;
  if (from < OLDEST) return `opset ${from} is too old to be raised`;
  if (proto.functions.length > 0) return 'the model has local functions with their own opset';
  const halfModel = proto.graph.initializer.some((tensor) => tensor.dataType === numberOfDtype('f16'));
  const ranks = inferRanks(proto);
  for (const { node, graph } of nodesOf(proto.graph)) {
    for (const change of changesBetween(node, from, version)) {
      const carried =
        change.toInputs !== undefined || change.adapt !== undefined || change.same !== undefined;
      const same = change.same?.(node, () => ranks.rankOf(graph, node.input[0] ?? '')) ?? true;
      // A moved number becomes an f32 tensor, which an f16 node would not take.
      const typed = (change.toInputs ?? []).some(({ attribute, kind }) => {
        return kind === 'float' && halfModel && findAttribute(node, attribute) !== undefined;
      });
      if (carried && (same || change.expand !== undefined) && !typed) continue;
      return `${node.opType} means something else from opset ${change.version} on`;
    }
  }
  return undefined;
}

/** Raises the opset and brings the nodes over. Only where `raiseProblem` found nothing. */
export function raiseOpset(proto: ModelProto, version: number, uniqueName: (base: string) => string): void {
  const from = opsetVersion(proto, '') ?? 0;
  if (from >= version || proto.graph === undefined) return;
  const ranks = inferRanks(proto);
  for (const { graph } of [...allGraphs(proto)]) {
    graph.node = graph.node.flatMap((node) => {
      for (const change of changesBetween(node, from, version)) {
        const same = change.same?.(node, () => ranks.rankOf(graph, node.input[0] ?? '')) ?? true;
        if (!same && change.expand !== undefined) return change.expand(node, uniqueName);
        change.adapt?.(node);
        if (change.toInputs !== undefined) moveToInputs(node, change, graph, uniqueName);
      }
      return [node];
    });
  }
  requireOpset(proto, '', version);
}

function moveToInputs(
  node: NodeProto,
  { toInputs = [] }: Change,
  graph: GraphProto,
  uniqueName: (base: string) => string,
): void {
  const inputs: string[] = [];
  for (const { attribute: name, kind } of toInputs) {
    const attribute = findAttribute(node, name);
    if (attribute === undefined) {
      inputs.push('');
      continue;
    }
    const tensorName = uniqueName(`${node.output[0] ?? node.opType}_${name}`);
    const tensor: TensorProto =
      kind === 'ints'
        ? int64Tensor(tensorName, attribute.ints.map(Number))
        : kind === 'int'
          ? int64Tensor(tensorName, [Number(attribute.i ?? 0n)])
          : floatScalar(tensorName, attribute.f ?? 0);
    graph.initializer.push(tensor);
    inputs.push(tensorName);
    drop(name)(node);
  }
  while (inputs.at(-1) === '') inputs.pop();
  node.input = [...node.input.slice(0, 1), ...inputs];
}
