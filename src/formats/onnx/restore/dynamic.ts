/**
 * Dynamic int8 (docs/onnx.md 3.6) → float operators: DynamicQuantizeLinear + MatMulInteger or ConvInteger + Cast + Mul by both
 * scales, the fused forms of com.microsoft (MatMulIntegerToFloat, DynamicQuantizeMatMul), and DynamicQuantizeLSTM. With the weights
 * the activations become float too, so the outputs are those of the float model with these weights.
 */

import type { DequantizeAffine } from '../../../numerics/dequantize-operation.ts';
import { dtypeOfNumber } from '../data-types.ts';
import type { GraphProto, NodeProto } from '../messages.ts';
import { isDefaultDomain, makeNode, readInt, readInts } from '../rewrite/build.ts';
import { productNodes } from './blocks.ts';
import type { Constant, Lookup } from './lookup.ts';
import { broadcastAxis } from './narrow.ts';
import { type Found, originalNodeName, refusal, type StoredWeight, storedWeight } from './stored-weight.ts';

const TRANSPOSE: ReadonlySet<string> = new Set(['Transpose']);

/** The stored side of an integer product: its constant, and whether a Transpose stands between. */
interface IntegerWeight {
  readonly data: Constant;
  readonly transposed: boolean;
}

function integerWeight(
  lookup: Lookup,
  graph: GraphProto,
  name: string | undefined,
): IntegerWeight | undefined {
  const data = lookup.constant(graph, name, TRANSPOSE);
  if (data === undefined) return undefined;
  const turns = data.through.filter(({ opType }) => opType === 'Transpose');
  const [turn] = turns;
  if (turn === undefined) return { data, transposed: false };
  const perm = readInts(turn, 'perm') ?? [1, 0];
  const exchange = turns.length === 1 && data.shape.length === 2 && perm[0] === 1 && perm[1] === 0;
  return exchange ? { data, transposed: true } : undefined;
}

/** The node that quantizes an activation, where all three of its results are the ones that are read. */
function activation(
  lookup: Lookup,
  graph: GraphProto,
  quantized: string | undefined,
  zeroPoint: string | undefined,
): NodeProto | undefined {
  const made = lookup.producer(graph, quantized);
  if (made?.node.opType !== 'DynamicQuantizeLinear' || made.node.output[0] !== quantized) return undefined;
  const same = made.node.output[2] === zeroPoint && lookup.producer(graph, zeroPoint)?.node === made.node;
  return same ? made.node : undefined;
}

const STATIC = 'its activations are not quantized by DynamicQuantizeLinear';
const NOT_CONSTANT = 'its weight is no constant';

export function matchIntegerProduct(lookup: Lookup, graph: GraphProto, node: NodeProto): Found {
  const conv = node.opType === 'ConvInteger';
  const quantize = activation(lookup, graph, node.input[0], node.input[2]);
  if (quantize === undefined) return refusal(node, STATIC);
  const stored = integerWeight(lookup, graph, node.input[1]);
  if (stored === undefined || (conv && stored.transposed)) return refusal(node, NOT_CONSTANT);
  const scaling = scalesBehind(lookup, graph, node, quantize.output[1] ?? '');
  if (scaling === undefined) return refusal(node, 'its result is not scaled back in a known way');
  const weight = integerOperand(lookup, graph, node, stored, scaling.scale, node.input[3] ?? '', conv);
  if (typeof weight === 'string') return refusal(node, weight);
  const bias = conv ? biasBehind(lookup, graph, scaling.last, weight.shape[0] ?? 0) : undefined;
  const last = bias?.add ?? scaling.last;
  const output = last.output[0] ?? '';
  return {
    kind: 'use',
    weights: [weight],
    node: last,
    graph,
    pattern: [node, quantize, ...scaling.nodes, ...stored.data.through, ...(bias?.nodes ?? [])],
    dynamic: true,
    replace: (emit) => {
      const input = quantize.input[0] ?? '';
      const b = stored.transposed ? emit.transposed(0) : emit.value(0);
      const place: NodeProto = { ...node, output: [output] };
      if (!conv) return productNodes(emit, place, input, b, '');
      const wanted = originalNodeName(node);
      const name = wanted === '' ? '' : emit.uniqueName(wanted);
      const inputs = [input, b, ...(bias === undefined ? [] : [bias.name])];
      return [makeNode('Conv', inputs, [output], { name, attributes: node.attribute })];
    },
  };
}

/** MatMulIntegerToFloat: A, B, scale of A, scale of B, zero point of A, zero point of B, bias. */
export function matchMatMulIntegerToFloat(lookup: Lookup, graph: GraphProto, node: NodeProto): Found {
  const quantize = activation(lookup, graph, node.input[0], node.input[4]);
  if (quantize === undefined || quantize.output[1] !== node.input[2]) return refusal(node, STATIC);
  const [, b, , scale = '', , zero = '', bias = ''] = node.input;
  return fusedProduct(lookup, graph, node, [quantize], { b, scale, zero, bias });
}

/** DynamicQuantizeMatMul: A (float), B, scale of B, zero point of B, bias. */
export function matchDynamicQuantizeMatMul(lookup: Lookup, graph: GraphProto, node: NodeProto): Found {
  const [, b, scale = '', zero = '', bias = ''] = node.input;
  return fusedProduct(lookup, graph, node, [], { b, scale, zero, bias });
}

function fusedProduct(
  lookup: Lookup,
  graph: GraphProto,
  node: NodeProto,
  pattern: readonly NodeProto[],
  inputs: {
    readonly b: string | undefined;
    readonly scale: string;
    readonly zero: string;
    readonly bias: string;
  },
): Found {
  const stored = integerWeight(lookup, graph, inputs.b);
  const scale = lookup.constant(graph, inputs.scale);
  if (stored === undefined || scale === undefined) return refusal(node, NOT_CONSTANT);
  const weight = integerOperand(lookup, graph, node, stored, scale, inputs.zero, false);
  if (typeof weight === 'string') return refusal(node, weight);
  return {
    kind: 'use',
    weights: [weight],
    node,
    graph,
    pattern: [...pattern, ...stored.data.through],
    dynamic: true,
    replace: (emit) => {
      const b = stored.transposed ? emit.transposed(0) : emit.value(0);
      const a = pattern[0]?.input[0] ?? node.input[0] ?? '';
      return productNodes(emit, node, a, b, inputs.bias);
    },
  };
}

function integerOperand(
  lookup: Lookup,
  graph: GraphProto,
  node: NodeProto,
  { data, transposed }: IntegerWeight,
  scale: Constant,
  zeroName: string,
  conv: boolean,
): StoredWeight | string {
  const zeroPoint = lookup.constant(graph, zeroName);
  if (zeroName !== '' && zeroPoint === undefined) return 'its zero point is no constant';
  if (data.dtype !== 'int8' && data.dtype !== 'uint8') return `its weight is ${data.dtype}`;
  if (data.count === 0) return 'its weight is empty';
  if (scale.dtype !== 'f32') return `its scale is ${scale.dtype}`;
  if (zeroPoint !== undefined && (zeroPoint.count !== scale.count || zeroPoint.dtype !== data.dtype)) {
    return 'its zero points do not fit its scales';
  }
  const axis = channelAxis(data, scale, transposed, conv);
  if (axis === undefined) return 'its scales do not fit';
  const operation: DequantizeAffine = {
    kind: 'affine',
    shape: data.shape,
    type: data.dtype,
    axis,
    scaleType: 'f32',
    zeroPoint: zeroPoint !== undefined,
    to: 'f32',
  };
  return storedWeight({ node, data, dtype: 'f32', parts: { data, scale, zeroPoint }, operation });
}

/** Axis of `data` that the scales, broadcast over the product, belong to. */
function channelAxis(
  data: Constant,
  scale: Constant,
  transposed: boolean,
  conv: boolean,
): number | null | undefined {
  if (scale.count === 1) return null;
  const rank = data.shape.length;
  if (conv) {
    // Channels are axis 1 of the result [N, C, …], axis 0 of the weight.
    const result = [1, data.shape[0] ?? 0, ...data.shape.slice(2).map(() => 0)];
    return broadcastAxis(scale.shape, result) === 1 ? 0 : undefined;
  }
  const columns = transposed ? rank - 2 : rank - 1;
  const last = scale.shape.at(-1);
  return last === scale.count && last === data.shape[columns] ? columns : undefined;
}

interface Scaling {
  /** Scale of the weight. */
  readonly scale: Constant;
  /** The Mul that gives the float result. */
  readonly last: NodeProto;
  /** Cast and Muls in front of it. */
  readonly nodes: readonly NodeProto[];
}

/** Cast to f32 and products with the activation's and the weight's scale, in whatever order they are multiplied. */
function scalesBehind(
  lookup: Lookup,
  graph: GraphProto,
  node: NodeProto,
  activationScale: string,
): Scaling | undefined {
  const cast = lookup.soleConsumer(graph, node.output[0]);
  if (cast?.node.opType !== 'Cast' || !isDefaultDomain(cast.node)) return undefined;
  if (dtypeOfNumber(readInt(cast.node, 'to', 0)) !== 'f32') return undefined;
  const nodes: NodeProto[] = [cast.node];
  let scale: Constant | undefined;
  let activated = false;
  let last = cast.node;
  for (let step = 0; step < 2 && !(activated && scale !== undefined); step++) {
    const next = lookup.soleConsumer(graph, last.output[0]);
    if (next?.node.opType !== 'Mul' || !isDefaultDomain(next.node)) return undefined;
    last = next.node;
    nodes.push(last);
    const factor = last.input[1 - next.input] ?? '';
    const product = lookup.producer(graph, factor);
    const joined = product?.node.opType === 'Mul' && isDefaultDomain(product.node);
    if (joined) nodes.push(product.node);
    for (const name of joined ? product.node.input : [factor]) {
      const constant = lookup.constant(graph, name);
      if (constant !== undefined && scale === undefined) scale = constant;
      else if (name === activationScale && !activated) activated = true;
      else return undefined;
    }
  }
  if (!activated || scale === undefined) return undefined;
  return { scale, last, nodes: nodes.filter((each) => each !== last) };
}

interface Bias {
  readonly name: string;
  readonly add: NodeProto;
  readonly nodes: readonly NodeProto[];
}

/** Add of a vector that a Reshape spread over the channels: what a Conv takes as its third input. */
function biasBehind(lookup: Lookup, graph: GraphProto, last: NodeProto, channels: number): Bias | undefined {
  const reader = lookup.soleConsumer(graph, last.output[0]);
  if (reader?.node.opType !== 'Add' || !isDefaultDomain(reader.node)) return undefined;
  const reshape = lookup.producer(graph, reader.node.input[1 - reader.input])?.node;
  if (reshape?.opType !== 'Reshape' || !isDefaultDomain(reshape)) return undefined;
  const bias = lookup.constant(graph, reshape.input[0]);
  const shape = lookup.constant(graph, reshape.input[1]);
  if (bias?.shape.length !== 1 || bias.count !== channels || shape?.dtype !== 'int64') return undefined;
  const payload = shape.tensor.rawData;
  if (payload?.kind !== 'inline' || payload.bytes.length !== shape.count * 8) return undefined;
  const view = new DataView(payload.bytes.buffer, payload.bytes.byteOffset);
  const dims = Array.from({ length: shape.count }, (_, i) => Number(view.getBigInt64(i * 8, true)));
  const spread = dims.every((dim, i) => (i === 1 ? dim === channels || dim === -1 : dim === 1));
  return spread && dims.length > 2
    ? { name: reshape.input[0] ?? '', add: reader.node, nodes: [last, reshape] }
    : undefined;
}

/** DynamicQuantizeLSTM: X, W, R, B, lengths, h, c, P, then scale and zero point of W and R. */
export function matchDynamicQuantizeLstm(lookup: Lookup, graph: GraphProto, node: NodeProto): Found {
  const w = lstmWeight(lookup, graph, node, 1, 8, 9);
  const r = lstmWeight(lookup, graph, node, 2, 10, 11);
  if (typeof w === 'string') return refusal(node, w);
  if (typeof r === 'string') return refusal(node, r);
  return {
    kind: 'use',
    weights: [w, r],
    node,
    graph,
    pattern: [],
    dynamic: true,
    replace: (emit) => {
      const wanted = originalNodeName(node);
      const input = [node.input[0] ?? '', emit.value(0), emit.value(1), ...node.input.slice(3, 8)];
      while (input.at(-1) === '') input.pop();
      return [
        makeNode('LSTM', input, node.output, {
          name: wanted === '' ? '' : emit.uniqueName(wanted),
          attributes: node.attribute,
        }),
      ];
    },
  };
}

/** Stored [directions, inputs, 4·hidden], one scale for each direction or for each of its last axis. */
function lstmWeight(
  lookup: Lookup,
  graph: GraphProto,
  node: NodeProto,
  input: number,
  scaleInput: number,
  zeroInput: number,
): StoredWeight | string {
  const data = lookup.constant(graph, node.input[input]);
  const scale = lookup.constant(graph, node.input[scaleInput]);
  const zeroPoint = lookup.constant(graph, node.input[zeroInput]);
  if (data === undefined || scale === undefined) return NOT_CONSTANT;
  if (zeroPoint === undefined && (node.input[zeroInput] ?? '') !== '') return 'its zero point is no constant';
  if (data.dtype !== 'int8' && data.dtype !== 'uint8') return `its weight is ${data.dtype}`;
  if (scale.dtype !== 'f32') return `its scale is ${scale.dtype}`;
  const [directions = 0, inputs = 0, gates = 0] = data.shape;
  if (data.shape.length !== 3 || data.count === 0) return 'its weight is no stack of matrices';
  if (zeroPoint !== undefined && (zeroPoint.count !== scale.count || zeroPoint.dtype !== data.dtype)) {
    return 'its zero points do not fit its scales';
  }
  const perGate = scale.count === directions * gates;
  if (!perGate && scale.count !== directions) return 'its scales do not fit';
  const operation: DequantizeAffine = {
    kind: 'affine',
    shape: data.shape,
    type: data.dtype,
    // A scale for each direction and gate is one block along the inputs.
    ...(perGate ? { axis: 1, blockSize: inputs } : { axis: 0 }),
    scaleType: 'f32',
    zeroPoint: zeroPoint !== undefined,
    swapped: true,
    to: 'f32',
  };
  return storedWeight({ node, data, dtype: 'f32', parts: { data, scale, zeroPoint }, operation });
}
