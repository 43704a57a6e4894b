/**
 * Element types of all values in a graph and its subgraphs.
 *
 * Most operators give the type of their first input; the table below holds those that do not (ONNX Operators.md,
 * ContribOperators.md). What the model declares (inputs, value_info) wins over what is inferred. A sequence counts as its element
 * type. Values whose type nobody tells stay unknown, and passes leave them alone.
 */

import type { DType } from '../../core/dtype.ts';
import { dtypeOfNumber } from './data-types.ts';
import { findAttribute, subgraphsOf } from './graph.ts';
import type { GraphProto, ModelProto, NodeProto, ValueInfoProto } from './messages.ts';

export interface ElementTypes {
  /** Type of the value that `name` means inside `graph`. */
  typeOf(graph: GraphProto, name: string): DType | undefined;
}

/** Type of each output: a fixed one, that of input `n`, or one that an attribute names. */
type Rule =
  | DType
  | { readonly input: number }
  | { readonly attribute: string; readonly otherwise: DType | { readonly input: number } };

const first: Rule = { input: 0 };

/** Types of outputs in order; outputs beyond the list are as the last. Operators that are not here: type of input 0. */
const RULES: Readonly<Record<string, readonly Rule[]>> = {
  ...all(
    [
      'Equal',
      'Greater',
      'GreaterOrEqual',
      'Less',
      'LessOrEqual',
      'And',
      'Or',
      'Xor',
      'Not',
      'IsNaN',
      'IsInf',
    ],
    ['bool'],
  ),
  ...all(['Shape', 'Size', 'NonZero', 'ArgMax', 'ArgMin', 'NonMaxSuppression', 'SequenceLength'], ['int64']),
  ...all(['MatMulInteger', 'ConvInteger'], ['int32']),
  ...all(['HasElement', 'OptionalHasElement'], ['bool']),
  ...all(['TopK', 'MaxPool'], [first, 'int64']),
  Dropout: [first, 'bool'],
  Unique: [first, 'int64'],
  Cast: [{ attribute: 'to', otherwise: first }],
  CastLike: [{ input: 1 }],
  ConstantOfShape: [{ attribute: 'value', otherwise: 'f32' }],
  Constant: [{ attribute: 'value', otherwise: 'f32' }],
  EyeLike: [{ attribute: 'dtype', otherwise: first }],
  ...all(['RandomNormal', 'RandomUniform', 'SequenceEmpty'], [{ attribute: 'dtype', otherwise: 'f32' }]),
  ...all(['RandomNormalLike', 'RandomUniformLike', 'Bernoulli'], [{ attribute: 'dtype', otherwise: first }]),
  Multinomial: [{ attribute: 'dtype', otherwise: 'int32' }],
  ...all(
    ['HannWindow', 'HammingWindow', 'BlackmanWindow', 'MelWeightMatrix'],
    [{ attribute: 'output_datatype', otherwise: 'f32' }],
  ),
  Where: [{ input: 1 }],
  OneHot: [{ input: 2 }],
  Compress: [first],
  LayerNormalization: [first, 'f32'],
  DynamicQuantizeLinear: ['uint8', 'f32', 'uint8'],
  QuantizeLinear: [{ input: 2 }],
  DequantizeLinear: [{ input: 1 }],
  QLinearMatMul: [{ input: 7 }],
  QLinearConv: [{ input: 7 }],
  // com.microsoft
  GatherBlockQuantized: [{ input: 2 }],
  MatMulIntegerToFloat: [{ input: 2 }],
  DynamicQuantizeMatMul: [first],
  EmbedLayerNormalization: [{ input: 2 }, 'int32', { input: 2 }],
  SkipLayerNormalization: [first, 'f32', 'f32', first],
  SkipSimplifiedLayerNormalization: [first, 'f32', 'f32', first],
  SimplifiedLayerNormalization: [first, 'f32'],
};

function all(operators: readonly string[], rules: readonly Rule[]): Record<string, readonly Rule[]> {
  return Object.fromEntries(operators.map((operator) => [operator, rules]));
}

/** Infers the element types of `proto`. Nodes must be in topological order. */
export function inferElementTypes(proto: ModelProto): ElementTypes {
  const types = new Map<GraphProto, Map<string, DType | undefined>>();
  const parents = new Map<GraphProto, GraphProto>();
  const typeOf = (graph: GraphProto, name: string): DType | undefined => {
    for (let scope: GraphProto | undefined = graph; scope !== undefined; scope = parents.get(scope)) {
      const own = types.get(scope);
      if (own?.has(name)) return own.get(name);
    }
    return undefined;
  };

  const visit = (graph: GraphProto, given: readonly (DType | undefined)[]): void => {
    const own = new Map<string, DType | undefined>();
    types.set(graph, own);
    const declared = new Map<string, DType | undefined>();
    for (const value of [...graph.valueInfo, ...graph.output])
      declared.set(value.name ?? '', declaredType(value));
    for (const [i, value] of graph.input.entries())
      own.set(value.name ?? '', declaredType(value) ?? given[i]);
    for (const tensor of graph.initializer) own.set(tensor.name ?? '', dtypeOfNumber(tensor.dataType));
    for (const node of graph.node) {
      const inner = subgraphsOf(node).map((subgraph) => subgraph.graph);
      for (const subgraph of inner) {
        parents.set(subgraph, graph);
        visit(
          subgraph,
          bodyInputs(node, (name) => typeOf(graph, name)),
        );
      }
      for (const [i, name] of node.output.entries()) {
        if (name === '') continue;
        const inferred =
          inner.length > 0
            ? controlType(node, inner, i, typeOf)
            : outputType(node, i, (input) => typeOf(graph, input));
        own.set(name, inferred ?? declared.get(name));
      }
    }
  };
  if (proto.graph !== undefined) visit(proto.graph, []);
  return { typeOf };
}

function declaredType({ type }: ValueInfoProto): DType | undefined {
  return dtypeOfNumber(type?.tensorType?.elemType);
}

/** Types that a Loop or Scan hands to its body: Loop adds iteration number and condition in front. */
function bodyInputs(node: NodeProto, typeOf: (name: string) => DType | undefined): (DType | undefined)[] {
  if (node.opType === 'Loop') return ['int64', 'bool', ...node.input.slice(2).map(typeOf)];
  if (node.opType === 'Scan' || node.opType === 'SequenceMap') return node.input.map(typeOf);
  return [];
}

function controlType(
  node: NodeProto,
  inner: readonly GraphProto[],
  output: number,
  typeOf: ElementTypes['typeOf'],
): DType | undefined {
  // A Loop's body gives its condition first.
  const index = node.opType === 'Loop' ? output + 1 : output;
  for (const graph of inner) {
    const type = typeOf(graph, graph.output[index]?.name ?? '');
    if (type !== undefined) return type;
  }
  return undefined;
}

function outputType(
  node: NodeProto,
  output: number,
  typeOf: (name: string) => DType | undefined,
): DType | undefined {
  const input = (i: number): DType | undefined => typeOf(node.input[i] ?? '');
  if (node.opType === 'QuantizeLinear' && (node.input[2] ?? '') === '') {
    return attributeType(node, 'output_dtype') ?? 'uint8';
  }
  const rules = RULES[node.opType ?? ''] ?? [first];
  const rule = rules[Math.min(output, rules.length - 1)] ?? first;
  if (typeof rule === 'string') return rule;
  if ('input' in rule) return input(rule.input);
  const named = attributeType(node, rule.attribute);
  if (named !== undefined) return named;
  return typeof rule.otherwise === 'string' ? rule.otherwise : input(rule.otherwise.input);
}

function attributeType(node: NodeProto, name: string): DType | undefined {
  const attribute = findAttribute(node, name);
  if (attribute?.t !== undefined) return dtypeOfNumber(attribute.t.dataType);
  return attribute?.i === undefined ? undefined : dtypeOfNumber(Number(attribute.i));
}
