/**
 * Which tensors static quantization touches, and how: the pure first half, which needs no ranges.
 *
 * Nodes are visited in graph order. Each marks its tensors by the rule of its operator, as onnxruntime's QDQ quantizer does
 * (docs/onnx.md 1a, 3.7): activations, weights (with the axis of their channels), biases (scale = input's × weight's), and outputs
 * that share the scale of an input because the operator only moves elements. A Relu or Clip behind a quantized tensor that nothing
 * else reads is dropped: its producer takes over its output, whose range ends where the Relu would cut.
 */

import { findAttribute } from '../../graph.ts';
import type { GraphProto, NodeProto, TensorProto } from '../../messages.ts';
import { readFloat, readInt } from '../build.ts';
import { MOVING_OPERATORS, type StaticSettings } from './settings.ts';

export type Marked =
  | { readonly kind: 'activation' }
  /** Scale and zero point are those of `provider`. */
  | { readonly kind: 'shared'; readonly provider: string }
  /** `axis` null: one scale. */
  | { readonly kind: 'weight'; readonly axis: number | null };

export interface MarkedBias {
  /** The initializer; a bias of two nodes stands here twice. */
  readonly bias: string;
  readonly node: NodeProto;
  /** Index of the bias in the node's inputs. */
  readonly at: number;
  readonly input: string;
  readonly weight: string;
  readonly beta: number;
}

export interface Selection {
  readonly tensors: ReadonlyMap<string, Marked>;
  readonly biases: readonly MarkedBias[];
  /** Output of a dropped Relu or Clip → its input: the producer gives the output itself. */
  readonly dropped: ReadonlyMap<NodeProto, { readonly input: string; readonly output: string }>;
  /** Nodes that marked something. */
  readonly nodes: ReadonlySet<NodeProto>;
}

export interface SelectFacts {
  readonly settings: StaticSettings;
  readonly opset: number;
  /** Whether a value is f32. */
  readonly isFloat: (name: string) => boolean;
  /** Nodes to leave in float. */
  readonly excludes: (node: NodeProto) => boolean;
  /** Constants that count as weights; others are activations. */
  readonly isWeight: (name: string) => boolean;
  /** Value of a constant of one element, for Pad; undefined where it is not known. */
  readonly scalarOf: (name: string) => number | undefined;
}

export function selectTensors(graph: GraphProto, facts: SelectFacts): Selection {
  const { settings, opset } = facts;
  const operators = new Set(settings.operators);
  const floatOutputs = new Set(settings.floatOutputs ?? []);
  const initializers = new Map<string, TensorProto>(
    graph.initializer.map((tensor) => [tensor.name ?? '', tensor]),
  );
  const outputs = new Set(graph.output.map(({ name }) => name ?? ''));
  const inputs = new Set(graph.input.map(({ name }) => name ?? ''));
  const readers = countReaders(graph);
  const tensors = new Map<string, Marked>();
  const biases: MarkedBias[] = [];
  const biasNames = new Set<string>();
  const dropped = new Map<NodeProto, { input: string; output: string }>();
  const nodes = new Set<NodeProto>();

  const isQuantized = (name: string): boolean => tensors.has(name) || biasNames.has(name);
  const activation = (name: string): void => {
    if (name !== '' && facts.isFloat(name) && !tensors.has(name)) tensors.set(name, { kind: 'activation' });
  };
  const share = (name: string, provider: string): void => {
    if (name !== '' && facts.isFloat(name)) tensors.set(name, { kind: 'shared', provider });
  };
  const isInitializer = (name: string): boolean => initializers.has(name) && facts.isWeight(name);
  /** A weight, or an activation that stands at a weight's place. */
  const weight = (name: string, axis: number): void => {
    if (!isInitializer(name) || !facts.isFloat(name)) {
      activation(name);
      return;
    }
    const rank = initializers.get(name)?.dims.length ?? 0;
    const valid = axis >= -rank && axis < rank;
    if (settings.perChannel && valid) {
      tensors.set(name, { kind: 'weight', axis: axis < 0 ? axis + rank : axis });
    } else if (!tensors.has(name)) tensors.set(name, { kind: 'weight', axis: null });
  };
  const bias = (node: NodeProto, at: number, beta = 1): void => {
    const name = node.input[at] ?? '';
    const [input = '', of = ''] = node.input;
    if (!isInitializer(name) || !facts.isFloat(name)) return;
    biasNames.add(name);
    biases.push({ bias: name, node, at, input, weight: of, beta });
  };

  const visit = (node: NodeProto): void => {
    const op = node.opType ?? '';
    const [input = '', second = ''] = node.input;
    const [output = ''] = node.output;
    const quantizesOutput = !floatOutputs.has(op);
    const activationOutputs = (): void => {
      if (quantizesOutput) for (const name of node.output) activation(name);
    };
    const movesFrom = (): void => {
      if (isQuantized(input) && quantizesOutput) share(output, input);
    };
    switch (op) {
      case 'Conv':
      case 'ConvTranspose':
        activation(input);
        activationOutputs();
        weight(second, op === 'Conv' ? 0 : 1);
        bias(node, 2);
        return;
      case 'Gemm':
        activation(input);
        activationOutputs();
        weight(second, readInt(node, 'transB', 0) > 0 ? 0 : 1);
        bias(node, 2, readFloat(node, 'beta', 1));
        return;
      case 'MatMul':
        for (const name of node.input) weight(name, 1);
        activationOutputs();
        return;
      case 'BatchNormalization':
      case 'InstanceNormalization':
      case 'LayerNormalization':
        activation(input);
        weight(second, 1);
        bias(node, 2);
        activationOutputs();
        return;
      case 'Relu':
      case 'Clip':
        if (!isQuantized(input)) return;
        if (mayDrop(input)) {
          tensors.delete(input);
          dropped.set(node, { input, output });
        } else activation(input);
        if (quantizesOutput) activation(output);
        return;
      case 'Split':
        if (!isQuantized(input)) activation(input);
        if (quantizesOutput) for (const name of node.output) share(name, input);
        return;
      case 'Where':
        if (isQuantized(second) && isQuantized(node.input[2] ?? '')) activationOutputs();
        return;
      case 'Gather':
      case 'GatherElements':
        if (isInitializer(input) && facts.isFloat(input)) {
          activation(input);
          share(output, input);
        } else if (isQuantized(input)) share(output, input);
        return;
      case 'Pad':
        for (const name of node.input) activation(name);
        if (!quantizesOutput) return;
        if (padsWithin(node, opset, facts.scalarOf)) share(output, input);
        else activation(output);
        return;
      case 'Resize':
        if (opset >= 11) movesFrom();
        return;
      case 'MaxPool':
        if (opset >= 12) movesFrom();
        return;
      default:
        if (MOVING_OPERATORS.has(op)) {
          movesFrom();
          return;
        }
        for (const name of node.input) activation(name);
        activationOutputs();
    }
  };

  const mayDrop = (input: string): boolean =>
    !settings.symmetricActivations &&
    !facts.isWeight(input) &&
    readers.get(input) === 1 &&
    !outputs.has(input) &&
    !inputs.has(input);

  for (const node of graph.node) {
    const op = node.opType ?? '';
    const known = node.domain === undefined || node.domain === '' || node.domain === 'ai.onnx';
    if (!known || !operators.has(op) || facts.excludes(node)) continue;
    const before = tensors.size + biases.length + dropped.size;
    visit(node);
    const marks = node.input.some(isQuantized) || node.output.some(isQuantized);
    if (marks || tensors.size + biases.length + dropped.size !== before) nodes.add(node);
  }
  return { tensors: withProviders(tensors), biases, dropped, nodes };
}

/** Readers of each value; a subgraph that reads it counts as one. */
function countReaders(graph: GraphProto): ReadonlyMap<string, number> {
  const readers = new Map<string, number>();
  const count = (name: string): unknown => name !== '' && readers.set(name, (readers.get(name) ?? 0) + 1);
  const visit = (inner: GraphProto): void => {
    for (const node of inner.node) {
      for (const name of node.input) count(name);
      for (const attribute of node.attribute) {
        if (attribute.g !== undefined) visitInner(attribute.g);
        for (const each of attribute.graphs) visitInner(each);
      }
    }
  };
  const visitInner = (inner: GraphProto): void => {
    visit(inner);
    for (const output of inner.output) count(output.name ?? '');
  };
  visit(graph);
  return readers;
}

/** Follows chains of shared scales to the tensor that has its own; a chain that ends nowhere has its own range. */
function withProviders(tensors: ReadonlyMap<string, Marked>): Map<string, Marked> {
  const settled = new Map<string, Marked>();
  for (const [name, mark] of tensors) {
    let found = mark;
    let provider = name;
    const seen = new Set<string>();
    while (found.kind === 'shared' && !seen.has(provider)) {
      seen.add(provider);
      provider = found.provider;
      found = tensors.get(provider) ?? { kind: 'activation' };
      if (!tensors.has(provider)) break;
    }
    const shares = mark.kind === 'shared' && provider !== name && tensors.has(provider);
    settled.set(
      name,
      mark.kind === 'shared' ? (shares ? { kind: 'shared', provider } : { kind: 'activation' }) : mark,
    );
  }
  return settled;
}

/** Whether padding adds nothing outside the range of the input: copies of it, or zeros. */
function padsWithin(node: NodeProto, opset: number, scalarOf: SelectFacts['scalarOf']): boolean {
  const raw = findAttribute(node, 'mode')?.s;
  const mode = raw === undefined ? 'constant' : new TextDecoder().decode(raw);
  if (mode !== 'constant') return true;
  if (opset < 11) return readFloat(node, 'value', 0) === 0;
  const name = node.input[2] ?? '';
  return name === '' || scalarOf(name) === 0;
}
