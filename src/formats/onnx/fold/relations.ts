/**
 * What one operator does with channels: where a value of it is divided by a factor for each channel, which other values must be divided
 * as well, and which constants take the factor up, so that everything else stays what it is. Exact in real numbers for every factor
 * above zero; operators that are not here let nothing pass.
 */

import type { NodeProto, TensorProto } from '../messages.ts';
import { CONTRIB, isDefaultDomain, readFloat, readInt, readInts } from '../rewrite/build.ts';
import type { FoldFacts } from './facts.ts';
import { axesOf } from './facts.ts';
import { alongAxis, type ChannelLayout, reshaped, splitTable, transposed } from './layout.ts';

/** A value of a node: one of its inputs or outputs. */
export interface Port {
  readonly side: 'input' | 'output';
  readonly index: number;
}

/** A constant that takes factors up. */
export interface ChannelEnd {
  readonly node: NodeProto;
  /** Index in `node.input`. */
  readonly input: number;
  readonly tensor: TensorProto;
  /** Axes of the tensor, from the last. */
  readonly layout: ChannelLayout;
  /** 'gives': its channels make those of the value, and are divided; 'takes': they meet them, and are multiplied. */
  readonly side: 'gives' | 'takes';
  /** The matrix or filter of a product; else a vector (norm, bias, factor). */
  readonly isWeight: boolean;
}

export interface Relation {
  readonly values: readonly (readonly [name: string, layout: ChannelLayout])[];
  /** Values that must stay as they are. */
  readonly fixed: readonly string[];
  readonly ends: readonly ChannelEnd[];
}

const NOTHING: Relation = { values: [], fixed: [], ends: [] };

type Rule = (facts: FoldFacts, node: NodeProto, port: Port, layout: ChannelLayout) => readonly Relation[];

/**
 * The ways in which `node` bears that its value at `port` is divided, the preferred one first; none where it does not.
 */
export function relations(
  facts: FoldFacts,
  node: NodeProto,
  port: Port,
  layout: ChannelLayout,
): readonly Relation[] {
  const rules = isDefaultDomain(node) ? RULES : node.domain === CONTRIB ? CONTRIB_RULES : undefined;
  return rules?.get(node.opType ?? '')?.(facts, node, port, layout) ?? [];
}

/** f(c·x) = c·f(x) for c > 0, element by element or within a channel: first input to first output. */
const passes: Rule = (_facts, node, port, layout) =>
  port.index === 0 ? [{ ...NOTHING, values: firstToFirst(node, layout) }] : [];

function firstToFirst(node: NodeProto, layout: ChannelLayout, after = layout): Relation['values'] {
  return [
    [node.input[0] ?? '', layout],
    [node.output[0] ?? '', after],
  ];
}

/** Pooling leaves channels alone where they lie on axis 1; what it reduces comes behind. */
const poolingPasses: Rule = (facts, node, port, layout) =>
  [...layout.keys()].length === 1 && [...layout.keys()][0]! <= -2 ? passes(facts, node, port, layout) : [];

/** Scales and shifts each channel after whatever it does before. */
function norm(scale: number, bias: number | undefined, axis: (layout: ChannelLayout) => boolean): Rule {
  return (facts, node, port, layout) => {
    if (port.side !== 'output' || port.index !== 0 || !axis(layout)) return [];
    const ends: ChannelEnd[] = [];
    for (const input of bias === undefined ? [scale] : [scale, bias]) {
      const name = node.input[input] ?? '';
      if (name === '' && input !== scale) continue;
      const end = vectorEnd(facts, node, input, layout);
      if (end === undefined) return [];
      ends.push(end);
    }
    return [{ ...NOTHING, ends }];
  };
}

/** A constant of one dimension that holds a number for each channel. */
function vectorEnd(
  facts: FoldFacts,
  node: NodeProto,
  input: number,
  layout: ChannelLayout,
): ChannelEnd | undefined {
  const tensor = facts.constant(node.input[input] ?? '');
  const [table] = layout.values();
  if (tensor === undefined || table === undefined || layout.size !== 1) return undefined;
  if (tensor.dims.length !== 1 || tensor.dims[0] !== table.length) return undefined;
  return { node, input, tensor, layout: new Map([[-1, table]]), side: 'gives', isWeight: false };
}

const isLast = (layout: ChannelLayout): boolean => layout.size === 1 && layout.has(-1);
const isInner = (layout: ChannelLayout): boolean => layout.size === 1 && !layout.has(-1);

/** Adds: a constant is divided as well, of two values both are. */
const sum: Rule = (facts, node, _port, layout) => {
  const [a = '', b = ''] = node.input;
  const values: [string, ChannelLayout][] = [[node.output[0] ?? '', layout]];
  const ends: ChannelEnd[] = [];
  for (const [input, name] of [a, b].entries()) {
    const tensor = facts.constant(name);
    if (tensor === undefined) {
      values.push([name, layout]);
      continue;
    }
    const end = broadcastEnd(node, input, tensor, layout);
    if (end === undefined) return [];
    ends.push(end);
  }
  return [{ values, fixed: [], ends }];
};

/** A constant operand that has the channels on its axes. */
function broadcastEnd(
  node: NodeProto,
  input: number,
  tensor: TensorProto,
  layout: ChannelLayout,
): ChannelEnd | undefined {
  for (const [axis, table] of layout) if (tensor.dims.at(axis) !== table.length) return undefined;
  if ([...layout.keys()].some((axis) => -axis > tensor.dims.length)) return undefined;
  return { node, input, tensor, layout, side: 'gives', isWeight: false };
}

/** Factors: from behind, a constant takes the division up, or one of two values; from before, it passes. */
const product: Rule = (facts, node, port, layout) => {
  const [a = '', b = ''] = node.input;
  const output = node.output[0] ?? '';
  const constants = [a, b].map((name) => facts.constant(name));
  if (port.side === 'input') {
    const other = port.index === 0 ? b : a;
    if (other === (node.input[port.index] ?? '')) return [];
    const values: Relation['values'] = [
      [node.input[port.index] ?? '', layout],
      [output, layout],
    ];
    return [{ values, fixed: [other], ends: [] }];
  }
  if (a === b) return [];
  const ways: Relation[] = [];
  for (const [input, tensor] of constants.entries()) {
    const end = tensor && broadcastEnd(node, input, tensor, layout);
    const other = input === 0 ? b : a;
    if (end !== undefined) ways.push({ values: [[output, layout]], fixed: [other], ends: [end] });
  }
  for (const [input, name] of [a, b].entries()) {
    if (constants[input] !== undefined) continue;
    const values: Relation['values'] = [
      [output, layout],
      [name, layout],
    ];
    ways.push({ values, fixed: [input === 0 ? b : a], ends: [] });
  }
  return ways;
};

/** A dividend passes; a divisor does not. */
const quotient: Rule = (_facts, node, port, layout) => {
  const [a = '', b = ''] = node.input;
  if (a === b || (port.side === 'input' && port.index !== 0)) return [];
  return [{ values: firstToFirst(node, layout), fixed: [b], ends: [] }];
};

const matmul: Rule = (facts, node, port, layout) => {
  const [a = '', b = ''] = node.input;
  const weight = facts.constant(b);
  const [table] = layout.values();
  if (weight !== undefined && weight.dims.length === 2) {
    if (table === undefined || !isLast(layout)) return [];
    const [rows, columns] = weight.dims;
    if (port.side === 'output') {
      if (table.length !== columns) return [];
      const end: ChannelEnd = { node, input: 1, tensor: weight, layout, side: 'gives', isWeight: true };
      return [{ values: [[node.output[0] ?? '', layout]], fixed: [], ends: [end] }];
    }
    if (port.index !== 0 || table.length !== rows) return [];
    const meets: ChannelLayout = new Map([[-2, table]]);
    const end: ChannelEnd = { node, input: 1, tensor: weight, layout: meets, side: 'takes', isWeight: true };
    return [{ values: [[a, layout]], fixed: [], ends: [end] }];
  }
  // Probabilities times values: the last axis of the values, and heads before the matrix, come out where they were.
  const isRight = port.side === 'output' || port.index === 1;
  if (!isRight || weight !== undefined || facts.constant(a) !== undefined || layout.has(-2)) return [];
  const values: Relation['values'] = [
    [b, layout],
    [node.output[0] ?? '', layout],
  ];
  return a === b ? [] : [{ values, fixed: [a], ends: [] }];
};

const gemm: Rule = (facts, node, port, layout) => {
  const [a = '', b = '', c = ''] = node.input;
  const weight = facts.constant(b);
  const [table] = layout.values();
  if (weight === undefined || weight.dims.length !== 2 || table === undefined || !isLast(layout)) return [];
  const turned = readInt(node, 'transB', 0) === 1;
  const [inputs, outputs] = turned ? [weight.dims[1], weight.dims[0]] : weight.dims;
  const output = node.output[0] ?? '';
  if (port.side === 'output') {
    if (table.length !== outputs) return [];
    const own: ChannelLayout = new Map([[turned ? -2 : -1, table]]);
    const ends: ChannelEnd[] = [
      { node, input: 1, tensor: weight, layout: own, side: 'gives', isWeight: true },
    ];
    if (c !== '') {
      const bias = facts.constant(c);
      const end = bias && broadcastEnd(node, 2, bias, layout);
      if (end === undefined) return [];
      ends.push(end);
    }
    return [{ values: [[output, layout]], fixed: [], ends }];
  }
  if (port.index !== 0 || readInt(node, 'transA', 0) === 1 || table.length !== inputs) return [];
  const own: ChannelLayout = new Map([[turned ? -1 : -2, table]]);
  const end: ChannelEnd = { node, input: 1, tensor: weight, layout: own, side: 'takes', isWeight: true };
  return [{ values: [[a, layout]], fixed: [], ends: [end] }];
};

/** Filters [M, C / groups, …kernel]; those of a ConvTranspose [C, M / groups, …kernel], followed in one group only. */
function convolution(outputAxis: 0 | 1): Rule {
  return (facts, node, port, layout) => {
    const [input = '', w = '', b = ''] = node.input;
    const weight = facts.constant(w);
    const rank = weight?.dims.length ?? 0;
    const [table] = layout.values();
    if (weight === undefined || rank < 3 || table === undefined) return [];
    if (layout.size !== 1 || !layout.has(1 - rank)) return [];
    const groups = readInt(node, 'group', 1);
    if (outputAxis === 1 && groups !== 1) return [];
    const output = node.output[0] ?? '';
    const axisOf = (axis: number): number => axis - rank;
    if (port.side === 'output') {
      if (table.length !== weight.dims[outputAxis]) return [];
      const own: ChannelLayout = new Map([[axisOf(outputAxis), table]]);
      const ends: ChannelEnd[] = [
        { node, input: 1, tensor: weight, layout: own, side: 'gives', isWeight: true },
      ];
      if (b !== '') {
        const end = vectorEnd(facts, node, 2, layout);
        if (end === undefined) return [];
        ends.push(end);
      }
      return [{ values: [[output, layout]], fixed: [], ends }];
    }
    if (port.index !== 0) return [];
    const own = inputLayout(table, weight.dims, groups, outputAxis, rank);
    if (own === undefined) return [];
    const end: ChannelEnd = { node, input: 1, tensor: weight, layout: own, side: 'takes', isWeight: true };
    return [{ values: [[input, layout]], fixed: [], ends: [end] }];
  };
}

function inputLayout(
  table: Int32Array,
  dims: readonly number[],
  groups: number,
  outputAxis: 0 | 1,
  rank: number,
): ChannelLayout | undefined {
  const [first = 0, second = 0] = dims;
  if (outputAxis === 1) return table.length === first ? new Map([[-rank, table]]) : undefined;
  if (table.length !== second * groups || first % groups !== 0) return undefined;
  if (groups === 1) return new Map([[1 - rank, table]]);
  const parts = splitTable(table, groups);
  if (parts === undefined) return undefined;
  const each = first / groups;
  const byOutput = Int32Array.from({ length: first }, (_, o) => parts[0][Math.floor(o / each)]!);
  return new Map([
    [-rank, byOutput],
    [1 - rank, parts[1]],
  ]);
}

const transpose: Rule = (_facts, node, port, layout) => {
  const perm = readInts(node, 'perm');
  if (perm === undefined) return [];
  const isBefore = port.side === 'input';
  const other = transposed(layout, perm, !isBefore);
  if (other.size !== layout.size) return [];
  const values = isBefore ? firstToFirst(node, layout, other) : firstToFirst(node, other, layout);
  return [{ ...NOTHING, values }];
};

/** Followed forwards; backwards only where the other side's dimensions are known from it. */
const reshape: Rule = (facts, node, port, layout) => {
  if (port.side === 'output' || port.index !== 0) return [];
  const after = reshaped(layout, facts.shape(node.input[1] ?? ''));
  return after === undefined ? [] : [{ ...NOTHING, values: firstToFirst(node, layout, after) }];
};

/** Bounds of 0 and infinity only. */
const clip: Rule = (facts, node, port, layout) => {
  const bound = (input: number, name: string, otherwise: number): number | undefined => {
    const given = node.input[input] ?? '';
    return given === '' ? readFloat(node, name, otherwise) : facts.numbers(given)?.[0];
  };
  const least = bound(1, 'min', Number.NEGATIVE_INFINITY);
  const most = bound(2, 'max', Number.POSITIVE_INFINITY);
  const isScaleFree = (least === 0 || least === Number.NEGATIVE_INFINITY) && (most ?? 0) >= 3.4028234e38;
  return isScaleFree ? passes(facts, node, port, layout) : [];
};

/** Over axes without channels, which stay. */
const reduction: Rule = (facts, node, port, layout) => {
  const axes = axesOf(facts, node, 1);
  const keeps = readInt(node, 'keepdims', 1) === 1;
  if (!keeps || axes === undefined || axes.some((axis) => axis >= 0 || layout.has(axis))) return [];
  return passes(facts, node, port, layout);
};

/** Only dimensions are read. */
const reads: Rule = (_facts, _node, port) => (port.side === 'input' ? [NOTHING] : []);

const RULES: ReadonlyMap<string, Rule> = new Map<string, Rule>(
  Object.entries({
    Relu: passes,
    LeakyRelu: passes,
    Identity: passes,
    Dropout: passes,
    Neg: passes,
    Abs: passes,
    MaxPool: poolingPasses,
    AveragePool: poolingPasses,
    GlobalAveragePool: poolingPasses,
    GlobalMaxPool: poolingPasses,
    PRelu: (facts, node, port, layout) =>
      facts.constant(node.input[1] ?? '') === undefined ? [] : passes(facts, node, port, layout),
    Clip: clip,
    ReduceMean: reduction,
    ReduceSum: reduction,
    ReduceMax: reduction,
    ReduceMin: reduction,
    Shape: reads,
    Size: reads,
    Add: sum,
    Sub: sum,
    Mul: product,
    Div: quotient,
    MatMul: matmul,
    Gemm: gemm,
    Conv: convolution(0),
    ConvTranspose: convolution(1),
    Transpose: transpose,
    Reshape: reshape,
    LayerNormalization: norm(1, 2, isLast),
    RMSNormalization: norm(1, undefined, isLast),
    SimplifiedLayerNormalization: norm(1, undefined, isLast),
    InstanceNormalization: norm(1, 2, isInner),
    BatchNormalization: norm(1, 2, isInner),
  }),
);

const CONTRIB_RULES: ReadonlyMap<string, Rule> = new Map<string, Rule>(
  Object.entries({
    SimplifiedLayerNormalization: norm(1, undefined, isLast),
    SkipLayerNormalization: norm(2, 3, isLast),
    SkipSimplifiedLayerNormalization: norm(2, undefined, isLast),
  }),
);

/**
 * Outputs of which channels can be given, with where they lie: where the search for places starts. Passes of a factor are no
 * start.
 */
export function starts(facts: FoldFacts, node: NodeProto): readonly (readonly [string, ChannelLayout])[] {
  const output = node.output[0] ?? '';
  if (output === '') return [];
  return node.input.flatMap((name, input) => {
    const tensor = facts.constant(name);
    return (tensor === undefined ? [] : candidates(node, input, tensor)).flatMap((layout) => {
      const ways = relations(facts, node, { side: 'output', index: 0 }, layout);
      const gives = ways.some(({ ends }) => ends.some((end) => end.input === input));
      return gives ? [[output, layout] as const] : [];
    });
  });
}

function candidates(node: NodeProto, input: number, { dims }: TensorProto): ChannelLayout[] {
  const rank = dims.length;
  const sized = (axis: number, size: number | undefined): ChannelLayout[] =>
    size === undefined || size < 2 ? [] : [alongAxis(axis, size)];
  switch (node.opType) {
    case 'Conv':
      return input === 1 ? sized(1 - rank, dims[0]) : [];
    case 'ConvTranspose':
      return input === 1 ? sized(1 - rank, dims[1]) : [];
    case 'MatMul':
      return input === 1 ? sized(-1, dims[1]) : [];
    case 'Gemm':
      return input === 1 ? sized(-1, dims[readInt(node, 'transB', 0) === 1 ? 0 : 1]) : [];
    case 'Mul': {
      const axis = dims.findIndex((size) => size > 1);
      return dims.filter((size) => size > 1).length === 1 ? sized(axis - rank, dims[axis]) : [];
    }
    case 'InstanceNormalization':
    case 'BatchNormalization':
      // The rank of the value is not known here: pictures, then sequences.
      return [...sized(-3, dims[0]), ...sized(-2, dims[0])];
    case 'LayerNormalization':
    case 'RMSNormalization':
    case 'SimplifiedLayerNormalization':
    case 'SkipLayerNormalization':
    case 'SkipSimplifiedLayerNormalization':
      return rank === 1 ? sized(-1, dims[0]) : [];
    default:
      return [];
  }
}
