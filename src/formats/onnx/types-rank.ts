/**
 * Ranks of values, as far as they follow from what is declared (inputs, value_info, constants) and from operators whose
 * rank is plain. Enough to tell whether an axis is the last one; unknown where the graph does not say.
 */

import { findAttribute, subgraphsOf } from './graph.ts';
import type { GraphProto, ModelProto, NodeProto, ValueInfoProto } from './messages.ts';

export interface Ranks {
  rankOf(graph: GraphProto, name: string): number | undefined;
}

const ELEMENTWISE: ReadonlySet<string> = new Set([
  'Add',
  'Sub',
  'Mul',
  'Div',
  'Pow',
  'Where',
  'Max',
  'Min',
  'Sum',
  'Mean',
]);

const UNARY: ReadonlySet<string> = new Set([
  ...[
    'Abs',
    'AveragePool',
    'BatchNormalization',
    'Cast',
    'Ceil',
    'Clip',
    'Concat',
    'Conv',
    'ConvTranspose',
    'Dropout',
  ],
  ...['Elu', 'Erf', 'Exp', 'Floor', 'Gelu', 'GlobalAveragePool', 'GlobalMaxPool', 'HardSigmoid', 'HardSwish'],
  ...[
    'Identity',
    'InstanceNormalization',
    'LayerNormalization',
    'LeakyRelu',
    'Log',
    'LogSoftmax',
    'LRN',
    'MaxPool',
  ],
  ...[
    'Neg',
    'PRelu',
    'Pad',
    'Reciprocal',
    'Relu',
    'Resize',
    'Round',
    'Selu',
    'Sigmoid',
    'Slice',
    'Softmax',
    'Softplus',
  ],
  ...['Split', 'Sqrt', 'Tanh', 'Tile', 'Transpose', 'Upsample'],
]);

/** Ranks in `proto`; nodes must be in topological order. */
export function inferRanks(proto: ModelProto): Ranks {
  const ranks = new Map<GraphProto, Map<string, number | undefined>>();
  const parents = new Map<GraphProto, GraphProto>();
  const rankOf = (graph: GraphProto, name: string): number | undefined => {
    for (let scope: GraphProto | undefined = graph; scope !== undefined; scope = parents.get(scope)) {
      const own = ranks.get(scope);
      if (own?.has(name)) return own.get(name);
    }
    return undefined;
  };
  const visit = (graph: GraphProto): void => {
    const own = new Map<string, number | undefined>();
    ranks.set(graph, own);
    const lengths = new Map<string, number>();
    const declared = new Map<string, number>();
    for (const value of [...graph.valueInfo, ...graph.output]) {
      const rank = declaredRank(value);
      if (rank !== undefined) declared.set(value.name ?? '', rank);
    }
    for (const value of graph.input) own.set(value.name ?? '', declaredRank(value));
    for (const tensor of graph.initializer) {
      own.set(tensor.name ?? '', tensor.dims.length);
      if (tensor.dims.length === 1) lengths.set(tensor.name ?? '', tensor.dims[0] ?? 0);
    }
    for (const node of graph.node) {
      for (const { graph: inner } of subgraphsOf(node)) {
        parents.set(inner, graph);
        visit(inner);
      }
      const inferred = outputRank(node, (name) => rankOf(graph, name), lengths);
      const length = inferred === 1 ? outputLength(node, (name) => rankOf(graph, name), lengths) : undefined;
      if (length !== undefined) lengths.set(node.output[0] ?? '', length);
      for (const name of node.output) own.set(name, declared.get(name) ?? inferred);
    }
  };
  if (proto.graph !== undefined) visit(proto.graph);
  return { rankOf };
}

function declaredRank({ type }: ValueInfoProto): number | undefined {
  return type?.tensorType?.shape?.dim.length;
}

function outputRank(
  node: NodeProto,
  rankOf: (name: string) => number | undefined,
  lengths: ReadonlyMap<string, number>,
): number | undefined {
  const op = node.opType ?? '';
  const first = rankOf(node.input[0] ?? '');
  if (UNARY.has(op)) return first;
  if (ELEMENTWISE.has(op)) return highest(node.input.map(rankOf));
  switch (op) {
    case 'MatMul': {
      const second = rankOf(node.input[1] ?? '');
      // Vectors lose a dimension; matrices and batches broadcast.
      return first === undefined || second === undefined || first < 2 || second < 2
        ? undefined
        : Math.max(first, second);
    }
    case 'Gemm':
    case 'Flatten':
      return 2;
    case 'Shape':
      return 1;
    case 'ReduceL2':
    case 'ReduceMax':
    case 'ReduceMean':
    case 'ReduceMin':
    case 'ReduceSum':
    case 'ReduceSumSquare':
      return findAttribute(node, 'keepdims')?.i === 0n ? undefined : first;
    case 'RMSNormalization':
    case 'SimplifiedLayerNormalization':
    case 'SkipLayerNormalization':
    case 'SkipSimplifiedLayerNormalization':
      return first;
    case 'Gather': {
      const indices = rankOf(node.input[1] ?? '');
      return first === undefined || indices === undefined ? undefined : first + indices - 1;
    }
    case 'Reshape':
    case 'Expand':
      return op === 'Reshape' ? lengths.get(node.input[1] ?? '') : undefined;
    case 'Squeeze':
    case 'Unsqueeze': {
      const axes = findAttribute(node, 'axes')?.ints.length ?? lengths.get(node.input[1] ?? '');
      if (first === undefined || axes === undefined) return undefined;
      return op === 'Squeeze' ? first - axes : first + axes;
    }
    default:
      return undefined;
  }
}

/** Number of elements of a vector: what shapes are put together from. */
function outputLength(
  node: NodeProto,
  rankOf: (name: string) => number | undefined,
  lengths: ReadonlyMap<string, number>,
): number | undefined {
  switch (node.opType) {
    case 'Shape': {
      const cut = findAttribute(node, 'start') ?? findAttribute(node, 'end');
      return cut === undefined ? rankOf(node.input[0] ?? '') : undefined;
    }
    case 'Unsqueeze':
      return rankOf(node.input[0] ?? '') === 0 ? 1 : undefined;
    case 'Cast':
    case 'Identity':
      return lengths.get(node.input[0] ?? '');
    case 'Concat': {
      let total = 0;
      for (const name of node.input) {
        const length = lengths.get(name);
        if (length === undefined) return undefined;
        total += length;
      }
      return total;
    }
    default:
      return undefined;
  }
}

function highest(ranks: readonly (number | undefined)[]): number | undefined {
  let result = 0;
  for (const rank of ranks) {
    if (rank === undefined) return undefined;
    result = Math.max(result, rank);
  }
  return result;
}
