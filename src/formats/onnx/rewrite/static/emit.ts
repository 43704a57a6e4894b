/**
 * Writes the selected tensors into the graph in QDQ form: activations get QuantizeLinear and DequantizeLinear right behind
 * their producer, weights are stored as codes behind a DequantizeLinear, biases as int32. Names are those of quantize_static.
 * Codes of weights are promised as tasks; only weights whose scales a bias enlarged, and biases, are computed here.
 */

import type { DType } from '../../../../core/dtype.ts';
import { roundHalfEven } from '../../../../numerics/affine.ts';
import type { GraphProto, NodeProto, TensorProto } from '../../messages.ts';
import type { Weight } from '../../model.ts';
import { CONTRIB, intAttribute, makeNode, rawTensor } from '../build.ts';
import type { RewriteContext } from '../context.ts';
import type { BiasParameters, ConstantValues, StaticParameters, TensorParameters } from './parameters.ts';
import type { Selection } from './select.ts';
import { NAMES } from './settings.ts';

export interface EmitFacts {
  readonly context: RewriteContext;
  readonly graph: GraphProto;
  readonly selection: Selection;
  readonly parameters: StaticParameters;
  readonly constants: ReadonlyMap<string, ConstantValues>;
  /** Weights of the main graph by name. */
  readonly weights: ReadonlyMap<string, Weight>;
  /** Q and DQ of com.microsoft: 16-bit types before opset 21. */
  readonly contrib: boolean;
}

/** Edits `graph`; gives the weights that are quantized now. */
export function emitStatic(facts: EmitFacts): Weight[] {
  const { context, graph, selection, parameters } = facts;
  if (facts.contrib) context.useDomain(CONTRIB);
  dropCuts(graph, selection);
  const quantized: Weight[] = [];
  const heads: NodeProto[] = [];
  const renamed = new Map<string, string>();
  for (const [name, found] of parameters.weights) {
    const weight = facts.weights.get(name);
    if (weight === undefined) continue;
    const output = context.uniqueName(NAMES.dequantizeOutput(name));
    heads.push(weightNode(facts, weight, found, output));
    renamed.set(name, output);
    quantized.push(weight);
  }
  const biasInputs = new Map<NodeProto, Map<number, string>>();
  for (const bias of parameters.biases) {
    const { node, at } = bias;
    const output = context.uniqueName(NAMES.dequantizeOutput(bias.bias));
    heads.push(biasNode(facts, bias, output));
    biasInputs.set(node, (biasInputs.get(node) ?? new Map<number, string>()).set(at, output));
  }
  const pairs = activationPairs(facts);
  const nodes: NodeProto[] = [...heads];
  const given = graph.input.map(({ name }) => name ?? '');
  const constant = graph.initializer.map(({ name }) => name ?? '');
  for (const name of [...given, ...constant]) nodes.push(...(pairs.get(name)?.nodes ?? []));
  for (const [name, { output }] of pairs) renamed.set(name, output);
  for (const node of graph.node) {
    const own = biasInputs.get(node);
    node.input = node.input.map((name, at) => own?.get(at) ?? renamed.get(name) ?? name);
    if (node.opType === 'Gemm' && own !== undefined)
      node.attribute = node.attribute.filter(({ name }) => name !== 'beta');
    const behind: NodeProto[] = [];
    node.output = node.output.map((name) => {
      const pair = pairs.get(name);
      if (pair === undefined) return name;
      behind.push(...pair.nodes);
      return pair.producer;
    });
    nodes.push(node, ...behind);
  }
  graph.node = nodes;
  return quantized;
}

/** Producers take over the outputs of the Relu and Clip nodes that are dropped; the nodes go. */
function dropCuts(graph: GraphProto, { dropped }: Selection): void {
  const takeOver = new Map([...dropped.values()].map(({ input, output }) => [input, output]));
  const final = (name: string): string => {
    let current = name;
    for (let next = takeOver.get(current); next !== undefined; next = takeOver.get(current)) current = next;
    return current;
  };
  graph.node = graph.node.filter((node) => !dropped.has(node));
  for (const node of graph.node) node.output = node.output.map(final);
  graph.valueInfo = graph.valueInfo.filter(({ name }) => !takeOver.has(name ?? ''));
}

interface Pair {
  readonly nodes: readonly NodeProto[];
  /** What the producer writes. */
  readonly producer: string;
  /** What readers read. */
  readonly output: string;
}

function activationPairs(facts: EmitFacts): Map<string, Pair> {
  const { context, graph, selection, parameters } = facts;
  const outputs = new Set(graph.output.map(({ name }) => name ?? ''));
  const made = new Map<string, { scale: string; zeroPoint: string }>();
  const initializers = (name: string): { scale: string; zeroPoint: string } | undefined => {
    const known = made.get(name);
    if (known !== undefined) return known;
    const found = parameters.activations.get(name);
    if (found === undefined) return undefined;
    const names = {
      scale: context.uniqueName(NAMES.scale(name)),
      zeroPoint: context.uniqueName(NAMES.zeroPoint(name)),
    };
    addParameters(context, graph, names, found);
    made.set(name, names);
    return names;
  };
  const pairs = new Map<string, Pair>();
  for (const [name, mark] of selection.tensors) {
    if (mark.kind === 'weight' || parameters.weights.has(name)) continue;
    const provider = mark.kind === 'shared' ? mark.provider : name;
    const names = initializers(provider) ?? weightNames(context, graph, provider, parameters, made);
    if (names === undefined) continue;
    const isOutput = outputs.has(name);
    const producer = isOutput ? context.uniqueName(NAMES.quantizeInput(name)) : name;
    const output = isOutput ? name : context.uniqueName(NAMES.dequantizeOutput(name));
    const codes = context.uniqueName(NAMES.quantizeOutput(name));
    const domain = facts.contrib ? { domain: CONTRIB } : {};
    const quantize = makeNode('QuantizeLinear', [producer, names.scale, names.zeroPoint], [codes], {
      name: context.uniqueName(NAMES.quantizeNode(name)),
      ...domain,
    });
    const dequantize = makeNode('DequantizeLinear', [codes, names.scale, names.zeroPoint], [output], {
      name: context.uniqueName(NAMES.dequantizeNode(name)),
      ...domain,
    });
    pairs.set(name, { nodes: [quantize, dequantize], producer, output });
  }
  return pairs;
}

/** Scale and zero point of a constant whose moved copy shares them (a looked-up table). */
function weightNames(
  context: RewriteContext,
  graph: GraphProto,
  name: string,
  parameters: StaticParameters,
  made: Map<string, { scale: string; zeroPoint: string }>,
): { scale: string; zeroPoint: string } | undefined {
  const found = parameters.weights.get(name);
  if (found === undefined || found.axis !== null) return undefined;
  const names = {
    scale: context.uniqueName(`${NAMES.scale(name)}_shared`),
    zeroPoint: context.uniqueName(`${NAMES.zeroPoint(name)}_shared`),
  };
  addParameters(context, graph, names, found);
  made.set(name, names);
  return names;
}

function addParameters(
  context: RewriteContext,
  graph: GraphProto,
  names: { readonly scale: string; readonly zeroPoint: string },
  { type, axis, scales, zeroPoints }: TensorParameters,
): void {
  const dims = axis === null ? [] : [scales.length];
  context.addInitializer(graph, rawTensor(names.scale, 'f32', dims, bytesOf(scales)));
  context.addInitializer(graph, rawTensor(names.zeroPoint, type, dims, codeBytes(zeroPoints, type)));
}

function weightNode(
  { context, graph, constants, contrib }: EmitFacts,
  weight: Weight,
  found: TensorParameters,
  output: string,
): NodeProto {
  const { name, shape } = weight;
  const { type, axis, symmetric, reduceRange } = found;
  let parts = { data: '', scale: '', zeroPoint: '' };
  const constant = constants.get(name);
  if (found.adjusted && constant !== undefined) {
    parts = {
      data: context.uniqueName(NAMES.quantized(name)),
      scale: context.uniqueName(NAMES.scale(name)),
      zeroPoint: context.uniqueName(NAMES.zeroPoint(name)),
    };
    addParameters(context, graph, parts, found);
    const codes = codesOf(constant, found);
    context.addInitializer(graph, rawTensor(parts.data, type, shape, codeBytes(codes, type)));
  } else {
    parts = context.addTask(
      weight,
      { kind: 'affine', from: 'f32', shape, type, axis, symmetric, reduceRange, scaleType: 'f32' },
      { data: NAMES.quantized(name), scale: NAMES.scale(name), zeroPoint: NAMES.zeroPoint(name) },
    );
  }
  return makeNode('DequantizeLinear', [parts.data, parts.scale, parts.zeroPoint], [output], {
    name: context.uniqueName(NAMES.dequantizeNode(name)),
    attributes: axis === null ? [] : [intAttribute('axis', axis)],
    ...(contrib && { domain: CONTRIB }),
  });
}

const LIMITS = {
  int8: [-128, 127],
  uint8: [0, 255],
  int16: [-32_768, 32_767],
  uint16: [0, 65_535],
} as const;

/** The formula of QuantizeLinear: clamp(roundEven(f32(x / s)) + z). */
function codesOf(
  { values, shape }: ConstantValues,
  { axis, scales, zeroPoints, type }: TensorParameters,
): Int32Array {
  const [low, high] = LIMITS[type];
  const inner = axis === null ? values.length : shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  return Int32Array.from(values, (value, i) => {
    const channel = axis === null ? 0 : Math.floor(i / inner) % scales.length;
    const code = roundHalfEven(Math.fround(value / scales[channel]!)) + zeroPoints[channel]!;
    return Math.min(high, Math.max(low, code));
  });
}

function biasNode(
  { context, graph, constants, contrib }: EmitFacts,
  bias: BiasParameters,
  output: string,
): NodeProto {
  const { scales, codes } = bias;
  const base = NAMES.quantized(bias.bias);
  const names = [base, NAMES.scale(base), NAMES.zeroPoint(base)].map(context.uniqueName);
  const [data = '', scale = '', zeroPoint = ''] = names;
  const zeros = new Int32Array(scales.length);
  const shared = scales.length > 1 ? [scales.length] : [];
  const dims = [...(constants.get(bias.bias)?.shape ?? [codes.length])];
  const tensors: TensorProto[] = [
    rawTensor(data, 'int32', dims, bytesOf(codes)),
    rawTensor(scale, 'f32', shared, bytesOf(scales)),
    rawTensor(zeroPoint, 'int32', shared, bytesOf(zeros)),
  ];
  for (const tensor of tensors) context.addInitializer(graph, tensor);
  return makeNode('DequantizeLinear', names, [output], {
    name: context.uniqueName(NAMES.dequantizeNode(bias.bias)),
    attributes: scales.length > 1 ? [intAttribute('axis', 0)] : [],
    ...(contrib && { domain: CONTRIB }),
  });
}

function bytesOf(values: Float32Array | Int32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength).slice();
}

function codeBytes(codes: Int32Array, type: DType): Uint8Array {
  if (type === 'uint16' || type === 'int16') return new Uint8Array(Uint16Array.from(codes).buffer);
  return Uint8Array.from(codes);
}
