/**
 * Adds nodes to a copy of a model that compute something from its inner values, and reduces the copy to what those nodes
 * need. Calibration so lets the runtime sum and multiply activations where they are: they never cross into JavaScript.
 *
 * Operators are emitted in the form that the model's own operator set has (axes of reductions moved from an attribute to
 * an input at 13 for ReduceSum and at 18 for the others: ONNX Changelog), so no version is raised and no node changes meaning.
 */

import type { DType } from '../../../core/dtype.ts';
import { WhittleError } from '../../../errors.ts';
import { numberOfDtype } from '../data-types.ts';
import {
  ATTRIBUTE_TYPE,
  type AttributeProto,
  type GraphProto,
  type ModelProto,
  type TensorProto,
  type ValueInfoProto,
} from '../messages.ts';
import { uniqueName } from '../model.ts';
import { IR_FREE_INITIALIZERS, opsetVersion, requireIr } from '../model-versions.ts';
import { int64Tensor, intAttribute, intsAttribute, makeNode, rawTensor } from '../rewrite/build.ts';
import { type ElementTypes, inferElementTypes } from '../types.ts';
import { pruneToOutputs } from './prune.ts';

const FLOAT = numberOfDtype('f32');

export type Reduction = 'ReduceSum' | 'ReduceMax' | 'ReduceMin';

export interface TapGraph {
  readonly proto: ModelProto;
  readonly graph: GraphProto;
  readonly opset: number;
  /** Adds a node of the default domain with one output; gives the output's name. */
  node(opType: string, inputs: readonly string[], attributes?: readonly AttributeProto[]): string;
  /** f32 input of the model, to be fed with every run; gives its name. */
  input(dims: readonly number[]): string;
  /** f32 constant. */
  floats(dims: readonly number[], values: Float32Array): string;
  /** One-dimensional int64 constant. */
  integers(values: readonly number[]): string;
  /** Over `axes`, all where absent; the reduced axes are dropped. */
  reduce(kind: Reduction, input: string, axes?: readonly number[]): string;
  concat(inputs: readonly string[], axis: number): string;
  transpose(input: string, perm: readonly number[]): string;
  /** 0 keeps a dimension, −1 takes what is left. */
  reshape(input: string, shape: readonly number[]): string;
  /** The part `from` … `to` along an axis. */
  slice(input: string, axis: number, from: number, to: number): string;
  /** `input` as f32: itself where that is its type. */
  asFloat(input: string): string;
  /** Element type of a value of the main graph, where it is known. */
  typeOf(name: string): DType | undefined;
  /** Makes `name`, which a node of the main graph or of this builder gives, an output of the result. */
  output(name: string): void;
  /** Reduces the model to what the outputs need. */
  finish(): ModelProto;
}

/**
 * @param proto Changed in place: give a copy (`cloneModel`).
 * @throws WhittleError E_UNSUPPORTED below ai.onnx 7, the oldest version that onnxruntime runs
 */
export function createTapGraph(proto: ModelProto): TapGraph {
  const { graph } = proto;
  const opset = opsetVersion(proto, '') ?? 0;
  if (graph === undefined || opset < 7) {
    throw new WhittleError('E_UNSUPPORTED', 'the model is too old to be calibrated', {
      expected: 'ai.onnx 7 or newer',
      found: `ai.onnx ${opset}`,
      hint: 'Convert it with the onnx version converter, or export it again.',
    });
  }
  requireIr(proto, IR_FREE_INITIALIZERS);
  const allocate = uniqueName(proto);
  const constants = new Map<string, string>();
  const casts = new Map<string, string>();
  const outputs = new Set<string>();
  let types: ElementTypes | undefined;
  const typeOf = (name: string): DType | undefined => {
    types ??= inferElementTypes(proto);
    return types.typeOf(graph, name);
  };
  const node: TapGraph['node'] = (opType, inputs, attributes = []) => {
    const output = allocate('whittle_tap');
    graph.node.push(makeNode(opType, inputs, [output], { attributes }));
    return output;
  };
  const constant = (key: string, make: (name: string) => TensorProto): string => {
    const known = constants.get(key);
    if (known !== undefined) return known;
    const name = allocate('whittle_tap_constant');
    graph.initializer.push(make(name));
    constants.set(key, name);
    return name;
  };
  const integers = (values: readonly number[]): string =>
    constant(values.join(), (name) => int64Tensor(name, values));
  return {
    proto,
    graph,
    opset,
    node,
    integers,
    typeOf,
    input(dims) {
      const name = allocate('whittle_tap_input');
      graph.input.push(floatValue(name, dims));
      return name;
    },
    floats(dims, values) {
      const name = allocate('whittle_tap_constant');
      const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
      graph.initializer.push(rawTensor(name, 'f32', dims, bytes));
      return name;
    },
    reduce(kind, input, axes) {
      const drop = intAttribute('keepdims', 0);
      if (axes === undefined) return node(kind, [input], [drop]);
      const asInput = opset >= (kind === 'ReduceSum' ? 13 : 18);
      return asInput
        ? node(kind, [input, integers(axes)], [drop])
        : node(kind, [input], [intsAttribute('axes', axes), drop]);
    },
    concat: (inputs, axis) => node('Concat', inputs, [intAttribute('axis', axis)]),
    transpose: (input, perm) => node('Transpose', [input], [intsAttribute('perm', perm)]),
    reshape: (input, shape) => node('Reshape', [input, integers(shape)]),
    slice(input, axis, from, to) {
      if (opset >= 10) {
        return node('Slice', [input, integers([from]), integers([to]), integers([axis])]);
      }
      const parts = { starts: from, ends: to, axes: axis };
      return node(
        'Slice',
        [input],
        Object.entries(parts).map(([name, value]) => intsAttribute(name, [value])),
      );
    },
    asFloat(input) {
      if (typeOf(input) === 'f32') return input;
      const known = casts.get(input);
      if (known !== undefined) return known;
      const cast = node('Cast', [input], [intAttribute('to', FLOAT)]);
      casts.set(input, cast);
      return cast;
    },
    output(name) {
      outputs.add(name);
    },
    finish() {
      pruneToOutputs(proto, [...outputs]);
      return proto;
    },
  };
}

function floatValue(name: string, dims: readonly number[]): ValueInfoProto {
  const dim = dims.map((size) => ({ dimValue: BigInt(size), unknown: [] }));
  const tensorType = { elemType: FLOAT, shape: { dim, unknown: [] }, unknown: [] };
  return { name, type: { tensorType, unknown: [] }, metadataProps: [], unknown: [] };
}

/** Attribute of kind string, such as auto_pad. */
export function textAttribute(name: string, value: string): AttributeProto {
  return { ...intsAttribute(name, []), type: ATTRIBUTE_TYPE.string, s: new TextEncoder().encode(value) };
}
