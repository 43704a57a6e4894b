/**
 * Where a quantized model can take back a shift of means: products of quantized weights with a constant that is added to each channel of
 * their output, as an input of the operator or by the addition behind it. Found in the model as it will be written, so every form
 * counts: MatMulNBits, MatMulInteger, DequantizeLinear in front of MatMul, Gemm or Conv. The constant may be int32 behind a
 * DequantizeLinear (static quantization).
 */

import { readersOf } from '../../formats/onnx/fold/batchnorm.ts';
import { topologicalOrder } from '../../formats/onnx/graph.ts';
import type { GraphProto, ModelProto, NodeProto, TensorProto } from '../../formats/onnx/messages.ts';

export interface BiasSite {
  /** Value whose mean is corrected, in the quantized model and in the float one. */
  readonly value: string;
  /** The same value in the float model: in front of a Relu or Clip that became the end of a quantized range. */
  readonly floatValue: string;
  /** The constant that is added. */
  readonly bias: TensorProto;
  /** Steps of an int32 constant, one or one for each channel. */
  readonly scale?: TensorProto | undefined;
  readonly channels: number;
  /** Axes behind the channels, which are axis 1 of a convolution's output; 0 where channels are the last axis. */
  readonly spatial: number;
  /** Number of other sites on the longest path to it. */
  readonly stage: number;
}

const QUANTIZED: ReadonlySet<string> = new Set([
  'ConvInteger',
  'DynamicQuantizeMatMul',
  'MatMulBnb4',
  'MatMulInteger',
  'MatMulIntegerToFloat',
  'MatMulNBits',
]);
const PRODUCTS: ReadonlySet<string> = new Set(['Conv', 'ConvTranspose', 'Gemm', 'MatMul']);
/** Between a product and its addition. */
const BETWEEN: ReadonlySet<string> = new Set(['Cast', 'Identity', 'Mul']);
const FLOATS: ReadonlySet<number | undefined> = new Set([1, 10, 11, 16]);
const INT32 = 6;

/**
 * Sites of the main graph in the order of their stages.
 * @param proto - as written: constants are initializers
 */
export function findBiasSites(proto: ModelProto, float: ModelProto): BiasSite[] {
  const { graph } = proto;
  if (graph === undefined || float.graph === undefined) return [];
  const facts = factsOf(graph);
  const others = producersOf(float.graph);
  const found: Omit<BiasSite, 'stage'>[] = [];
  const owners = new Map<NodeProto, number>();
  const nodes = topologicalOrder(graph) ?? graph.node;
  for (const node of nodes) {
    const site = siteOf(node, facts);
    const value = node.output[0] ?? '';
    const twin = others.get(value);
    if (site === undefined || twin === undefined) continue;
    const isCut = (twin.opType === 'Relu' || twin.opType === 'Clip') && node.opType !== twin.opType;
    owners.set(node, found.length);
    found.push({ ...site, value, floatValue: isCut ? (twin.input[0] ?? '') : value });
  }
  const stages = stagesOf(nodes, owners);
  return found.map((site, i) => ({ ...site, stage: stages[i] ?? 0 })).sort((a, b) => a.stage - b.stage);
}

interface Facts {
  readonly constants: ReadonlyMap<string, TensorProto>;
  readonly producers: ReadonlyMap<string, NodeProto>;
  readonly readers: ReadonlyMap<string, readonly NodeProto[]>;
}

function factsOf(graph: GraphProto): Facts {
  const inputs = new Set(graph.input.map(({ name }) => name));
  return {
    constants: new Map(
      graph.initializer.filter(({ name }) => !inputs.has(name)).map((tensor) => [tensor.name ?? '', tensor]),
    ),
    producers: producersOf(graph),
    readers: readersOf(graph),
  };
}

function producersOf(graph: GraphProto): Map<string, NodeProto> {
  return new Map(graph.node.flatMap((node) => node.output.map((name) => [name, node] as const)));
}

type Found = Omit<BiasSite, 'stage' | 'value' | 'floatValue'>;

function siteOf(node: NodeProto, facts: Facts): Found | undefined {
  const { opType = '' } = node;
  if (opType === 'Add') {
    for (const at of [0, 1]) {
      const constant = constantOf(node.input[at] ?? '', facts);
      if (constant !== undefined && isQuantized(node.input[1 - at] ?? '', facts, 0)) return constant;
    }
    return undefined;
  }
  if (!PRODUCTS.has(opType) || opType === 'MatMul') return undefined;
  const rank = codesRank(node, facts);
  const constant = constantOf(node.input[2] ?? '', facts);
  if (rank === undefined || constant === undefined) return undefined;
  return { ...constant, spatial: opType === 'Gemm' ? 0 : rank - 2 };
}

/** A constant for each channel that nothing else reads. */
function constantOf(name: string, { constants, producers, readers }: Facts): Found | undefined {
  if ((readers.get(name) ?? []).length !== 1) return undefined;
  const bias = constants.get(name);
  if (bias !== undefined) return FLOATS.has(bias.dataType) ? shaped(bias) : undefined;
  const dequantize = producers.get(name);
  if (dequantize?.opType !== 'DequantizeLinear') return undefined;
  const [codes, scale] = dequantize.input.map((input) => constants.get(input));
  const isAlone = readers.get(dequantize.input[0] ?? '')?.length === 1;
  if (codes?.dataType !== INT32 || scale?.dataType !== 1 || !isAlone) return undefined;
  const site = shaped(codes);
  return site && { ...site, scale };
}

function shaped(bias: TensorProto): Found | undefined {
  const { dims } = bias;
  const channels = dims.reduce((product, dim) => product * dim, 1);
  const at = dims.findIndex((dim) => dim !== 1);
  if (channels < 2 || dims[at] !== channels) return undefined;
  if (at === dims.length - 1) return { bias, channels, spatial: 0 };
  return at === 1 ? { bias, channels, spatial: dims.length - 2 } : undefined;
}

/** Whether a value is a product of codes, but for factors behind it. */
function isQuantized(name: string, facts: Facts, steps: number): boolean {
  const node = facts.producers.get(name);
  if (node === undefined || steps > 4 || (facts.readers.get(name) ?? []).length !== 1) return false;
  const { opType = '' } = node;
  if (QUANTIZED.has(opType) || (PRODUCTS.has(opType) && codesRank(node, facts) !== undefined)) return true;
  return BETWEEN.has(opType) && node.input.some((input) => isQuantized(input, facts, steps + 1));
}

/** Rank of the weight of a product, where that is stored as codes. */
function codesRank(node: NodeProto, { producers, constants }: Facts): number | undefined {
  let weight = producers.get(node.input[1] ?? '');
  for (let steps = 0; steps < 4; steps++) {
    if (weight === undefined) return undefined;
    const [input = ''] = weight.input;
    if (weight.opType === 'DequantizeLinear') return constants.get(input)?.dims.length;
    if (!['Cast', 'Identity', 'Transpose'].includes(weight.opType ?? '')) return undefined;
    weight = producers.get(input);
  }
  return undefined;
}

function stagesOf(nodes: readonly NodeProto[], owners: ReadonlyMap<NodeProto, number>): number[] {
  const stages: number[] = [];
  const depth = new Map<string, number>();
  for (const node of nodes) {
    const reached = Math.max(0, ...node.input.map((name) => depth.get(name) ?? 0));
    const site = owners.get(node);
    if (site !== undefined) stages[site] = reached;
    for (const name of node.output) depth.set(name, site === undefined ? reached : reached + 1);
  }
  return stages;
}
