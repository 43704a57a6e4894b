/**
 * QuantizeLinear → DequantizeLinear around an activation → Clip. The pair rounds, and holds values within what its type can
 * say; quantizers rely on the second (a Relu or Clip ahead of it is dropped, since the range ends where it would cut), so
 * removing the pair would change what the model computes. Clip keeps the ends of the range, and only the rounding goes.
 *
 * Pairs with one scale for the tensor, in integers of 8 and 16 bits, whose values go to DequantizeLinear only. A pair over a
 * constant is a weight that is rounded while the model runs, and stays.
 */

import type { DType } from '../../../core/dtype.ts';
import { f16BitsToF32, f32ToF16Bits } from '../../../core/floats.ts';
import type { ScaleDType } from '../../../numerics/operation.ts';
import type { GraphProto, ModelProto, NodeProto, TensorProto } from '../messages.ts';
import type { OnnxModel } from '../model.ts';
import { opsetVersion } from '../model-versions.ts';
import { CONTRIB, floatAttribute, isDefaultDomain, makeNode, rawTensor, readInt } from '../rewrite/build.ts';
import { inferElementTypes } from '../types.ts';
import type { Constant, Lookup } from './lookup.ts';
import { isScale } from './stored-weight.ts';

/** What an activation is held to. */
interface Range {
  readonly dtype: ScaleDType;
  readonly low: number;
  readonly high: number;
}

export interface ActivationPair extends Range {
  readonly quantize: NodeProto;
  readonly dequantize: NodeProto;
  /** The graph of `dequantize`. */
  readonly graph: GraphProto;
  /** Scales and zero points. */
  readonly parts: readonly TensorProto[];
}

const INTEGERS: Readonly<Partial<Record<DType, readonly [number, number]>>> = {
  uint8: [0, 255],
  int8: [-128, 127],
  uint16: [0, 65535],
  int16: [-32768, 32767],
};

/** From this version on the ends of a Clip are inputs. */
const CLIP_INPUTS = 11;

/** Every pair that a Clip can stand for. @param proto - as `preparedForRestore` gives it, and `lookup` is over it */
export async function findActivationPairs(
  model: OnnxModel,
  proto: ModelProto,
  lookup: Lookup,
): Promise<ActivationPair[]> {
  const types = inferElementTypes(proto);
  const pairs: ActivationPair[] = [];
  for (const graph of lookup.index.graphs) {
    for (const quantize of graph.node) {
      if (!isQuantizer(quantize, 'QuantizeLinear')) continue;
      const [input = '', output = ''] = [quantize.input[0], quantize.output[0]];
      if (lookup.constant(graph, input) !== undefined || lookup.index.isOutput(graph, output)) continue;
      const own = await readGrid(model, lookup, graph, quantize);
      if (own === undefined || types.typeOf(graph, input) !== own.range.dtype) continue;
      const readers = lookup.index.consumers(graph, output);
      const found: ActivationPair[] = [];
      for (const { node, graph: home, input: place } of readers) {
        if (place !== 0 || !isQuantizer(node, 'DequantizeLinear')) break;
        const other = await readGrid(model, lookup, home, node);
        if (other === undefined || other.text !== own.text) break;
        found.push({
          ...own.range,
          quantize,
          dequantize: node,
          graph: home,
          parts: [...own.parts, ...other.parts],
        });
      }
      if (found.length === readers.length) pairs.push(...found);
    }
  }
  return pairs;
}

/** Puts the Clips in; gives the nodes that nothing reads any more. */
export function clipActivations(
  proto: ModelProto,
  pairs: readonly ActivationPair[],
  allocate: (base: string) => string,
): NodeProto[] {
  const byInputs = (opsetVersion(proto, '') ?? 0) >= CLIP_INPUTS;
  const ends = new Map<GraphProto, Map<string, string>>();
  const end = (graph: GraphProto, dtype: ScaleDType, value: number): string => {
    const known = ends.get(graph) ?? new Map<string, string>();
    ends.set(graph, known);
    const name = known.get(`${dtype} ${value}`) ?? allocate('range_end');
    if (!known.has(`${dtype} ${value}`)) graph.initializer.push(scalar(name, dtype, value));
    known.set(`${dtype} ${value}`, name);
    return name;
  };
  const clips = new Map<NodeProto, NodeProto>();
  for (const { quantize, dequantize, graph, dtype, low, high } of pairs) {
    const [input = '', output = ''] = [quantize.input[0], dequantize.output[0]];
    const name = allocate(`${output}_clip`);
    clips.set(
      dequantize,
      byInputs
        ? makeNode('Clip', [input, end(graph, dtype, low), end(graph, dtype, high)], [output], { name })
        : makeNode('Clip', [input], [output], {
            name,
            attributes: [floatAttribute('min', low), floatAttribute('max', high)],
          }),
    );
  }
  for (const graph of new Set(pairs.map((pair) => pair.graph))) {
    graph.node = graph.node.map((node) => clips.get(node) ?? node);
  }
  return [...new Set(pairs.map(({ quantize }) => quantize))];
}

function isQuantizer(node: NodeProto, opType: string): boolean {
  return node.opType === opType && (isDefaultDomain(node) || node.domain === CONTRIB);
}

/** The range of a node with one constant scale, and its parameters as text; undefined for all others. */
async function readGrid(
  model: OnnxModel,
  lookup: Lookup,
  graph: GraphProto,
  node: NodeProto,
): Promise<{ range: Range; text: string; parts: TensorProto[] } | undefined> {
  const scale = lookup.constant(graph, node.input[1]);
  const zeroName = node.input[2] ?? '';
  const zero = lookup.constant(graph, zeroName);
  if (!isScale(scale) || scale.count !== 1 || (zero !== undefined && zero.count !== 1)) return undefined;
  // Without a zero point the type may stand in an attribute; such pairs are rare and stay.
  if (zeroName !== '' && zero === undefined) return undefined;
  if (zero === undefined && readInt(node, 'output_dtype', 0) !== 0) return undefined;
  const dtype = zero?.dtype ?? 'uint8';
  const limits = INTEGERS[dtype];
  if (limits === undefined) return undefined;
  const step = await readFloat(model, scale);
  const zeroPoint = zero === undefined ? 0 : await readInteger(model, zero);
  const [low, high] = limits.map((limit) => rounded(scale.dtype, (limit - zeroPoint) * step));
  if (low === undefined || high === undefined || !(low < high)) return undefined;
  return {
    range: { dtype: scale.dtype, low, high },
    text: `${scale.dtype} ${step} ${dtype} ${zeroPoint}`,
    parts: zero === undefined ? [scale.tensor] : [scale.tensor, zero.tensor],
  };
}

function rounded(dtype: ScaleDType, value: number): number {
  return dtype === 'f32' ? Math.fround(value) : f16BitsToF32(f32ToF16Bits(value));
}

async function viewOf(model: OnnxModel, { tensor }: Constant): Promise<DataView> {
  const bytes = await model.readTensor(tensor);
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

async function readFloat(model: OnnxModel, constant: Constant): Promise<number> {
  const view = await viewOf(model, constant);
  return constant.dtype === 'f32' ? view.getFloat32(0, true) : f16BitsToF32(view.getUint16(0, true));
}

async function readInteger(model: OnnxModel, constant: Constant): Promise<number> {
  const view = await viewOf(model, constant);
  if (constant.dtype === 'uint8') return view.getUint8(0);
  if (constant.dtype === 'int8') return view.getInt8(0);
  return constant.dtype === 'uint16' ? view.getUint16(0, true) : view.getInt16(0, true);
}

function scalar(name: string, dtype: ScaleDType, value: number): TensorProto {
  const bytes = new Uint8Array(dtype === 'f32' ? 4 : 2);
  const view = new DataView(bytes.buffer);
  if (dtype === 'f32') view.setFloat32(0, value, true);
  else view.setUint16(0, f32ToF16Bits(value), true);
  return rawTensor(name, dtype, [], bytes);
}
