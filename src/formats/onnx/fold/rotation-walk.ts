/**
 * Walks one residual stream: from a value of it to what makes and reads that value, on to theirs, until all of it is known or something
 * is met that a rotation would change. What it stands on is in rotation.ts.
 */

import type { GraphProto, NodeProto, TensorProto } from '../messages.ts';
import { isDefaultDomain, readInt, readInts } from '../rewrite/build.ts';
import type { FoldableGraph } from './batchnorm.ts';
import type { ConstantUse } from './constant-uses.ts';

export interface RotatableGraph extends FoldableGraph {
  /** Values of an int64 or int32 constant. */
  readonly readInts: (tensor: TensorProto) => Promise<number[]>;
}

/** A matrix that makes or reads the stream, or does both. */
export interface RotatedMatrix {
  readonly use: ConstantUse;
  /** Input channels are those of the stream, scaled by the norm in front of it. */
  readonly reads?: Norm | undefined;
  /** Output channels are those of the stream. */
  readonly writes: boolean;
}

/** Constants of the norm that a value went through; absent where it has none. */
export interface Norm {
  readonly scale?: ConstantUse | undefined;
  readonly offset?: ConstantUse | undefined;
}

export interface ResidualStream {
  /** Name of the value from which it was found. */
  readonly name: string;
  readonly channels: number;
  readonly keepsMean: boolean;
  readonly matrices: readonly RotatedMatrix[];
  /** Vectors, and tables of positions, along the channels that are added to the stream. */
  readonly addends: readonly ConstantUse[];
  readonly norms: readonly Norm[];
}

export interface BlockedStream {
  readonly name: string;
  /** For people: what is in the way. */
  readonly reason: string;
}

/** What a walk knows of the graph. */
export interface WalkFacts {
  readonly model: RotatableGraph;
  readonly graph: GraphProto;
  readonly producers: ReadonlyMap<string, NodeProto>;
  readonly readers: ReadonlyMap<string, readonly NodeProto[]>;
  readonly outputs: ReadonlySet<string>;
  readonly main: ReadonlySet<NodeProto>;
  readonly constants: ReadonlyMap<NodeProto, ReadonlyMap<number, ConstantUse>>;
  /** Values whose last axis has one element. */
  readonly narrow: ReadonlySet<string>;
  /** Nodes that square their first input. */
  readonly squares: ReadonlySet<NodeProto>;
  readonly ints: (name: string) => Promise<number[] | undefined>;
}

export const NORMS: ReadonlySet<string> = new Set([
  'LayerNormalization',
  'SimplifiedLayerNormalization',
  'RMSNormalization',
  'SkipLayerNormalization',
  'SkipSimplifiedLayerNormalization',
]);
export const REDUCTIONS: ReadonlySet<string> = new Set(['ReduceMean', 'ReduceSum']);
const LENGTHS: ReadonlySet<string> = new Set(['ReduceSumSquare', 'ReduceL2']);
const PASSING: ReadonlySet<string> = new Set(['Identity', 'Cast', 'Dropout']);

/** What stops a walk; its message is for people. */
class Obstacle extends Error {}

export class StreamWalk {
  /** Values of the stream; behind a norm with its constants. */
  readonly values = new Map<string, Norm | undefined>();
  private readonly queue: string[] = [];
  /** A Reshape can be judged when the number of channels is known. */
  private readonly waiting: { readonly node: NodeProto; readonly name: string }[] = [];
  private readonly done = new Set<NodeProto>();
  private readonly matrices = new Map<ConstantUse, { reads?: Norm | undefined; writes: boolean }>();
  private readonly addends = new Set<ConstantUse>();
  private readonly norms = new Set<Norm>();
  private channels = 0;
  private keepsMean = false;
  private readonly facts: WalkFacts;

  constructor(facts: WalkFacts) {
    this.facts = facts;
  }

  /** Undefined where the stream can be rotated; else the reason why not. */
  async run(seed: string): Promise<string | undefined> {
    const { producers, readers, outputs, main, constants } = this.facts;
    try {
      this.mark(seed, undefined);
      for (;;) {
        const name = this.queue.pop();
        if (name === undefined) {
          const [waiting] = this.waiting.splice(0, 1);
          if (waiting === undefined) break;
          await this.visit(waiting.node, waiting.name);
          continue;
        }
        const producer = producers.get(name);
        if (outputs.has(name)) throw new Obstacle(`${name} is an output of the graph`);
        if (producer === undefined) throw new Obstacle(`${name} is an input of the graph`);
        for (const node of [producer, ...(readers.get(name) ?? [])]) {
          if (!main.has(node)) throw new Obstacle(`a branch or a loop reads ${name}`);
          if (node.input.some((input, i) => input === name && constants.get(node)?.has(i))) continue;
          await this.visit(node, name);
        }
      }
      return this.channels === 0 ? 'its number of channels is not known' : undefined;
    } catch (error) {
      if (error instanceof Obstacle) return error.message;
      throw error;
    }
  }

  result(name: string): ResidualStream {
    return {
      name,
      channels: this.channels,
      keepsMean: this.keepsMean,
      matrices: [...this.matrices].map(([use, edit]) => ({ use, ...edit })),
      addends: [...this.addends],
      norms: [...this.norms],
    };
  }

  private mark(name: string, norm: Norm | undefined): void {
    if (!this.values.has(name)) {
      this.values.set(name, norm);
      this.queue.push(name);
    } else if (this.values.get(name) !== norm) {
      throw new Obstacle(`${name} is in the stream and behind a norm that scales its channels`);
    }
  }

  private setChannels(count: number | undefined, at: string): void {
    if (count === undefined || count === 0) throw new Obstacle(`the channels of ${at} are not known`);
    if (this.channels === 0) this.channels = count;
    else if (this.channels !== count)
      throw new Obstacle(`${at} has ${count} channels, the stream ${this.channels}`);
  }

  private use(node: NodeProto, index: number): ConstantUse | undefined {
    return this.facts.constants.get(node)?.get(index);
  }

  /** `node` makes or reads `name`, a value of the stream. */
  private async visit(node: NodeProto, name: string): Promise<void> {
    const op = node.opType ?? '';
    const isOwn = isDefaultDomain(node);
    if (op === 'Shape' || op === 'Size') return;
    if (isOwn && (op === 'MatMul' || op === 'Gemm')) return this.product(node, name);
    if (op === 'Reshape' && this.channels === 0 && this.queue.length > 0) {
      this.waiting.push({ node, name });
      return;
    }
    if (this.done.has(node)) return;
    this.done.add(node);
    if (NORMS.has(op)) return this.norm(node, name);
    if (!isOwn) throw inTheWay(node, name);
    if (PASSING.has(op)) {
      if (op === 'Cast' && ![1, 10, 11, 16].includes(readInt(node, 'to', 0))) throw inTheWay(node, name);
      return this.through(node, name, [node.input[0] ?? '']);
    }
    if (op === 'Add' || op === 'Sub') return this.sum(node, name);
    if (op === 'Mul' || op === 'Div') return this.factor(node, name);
    if (op === 'Gather' && this.use(node, 0) !== undefined) return this.embedding(node, name);
    if (op === 'Pow' && node.input[0] === name) return this.square(node, name);
    if (REDUCTIONS.has(op) || LENGTHS.has(op)) return this.reduction(node, name);
    const moved = await this.movedInputs(node);
    if (moved === undefined) throw inTheWay(node, name);
    this.through(node, name, moved);
  }

  /** Rows go through as they are: all of `inputs` and of the outputs are what `name` is. */
  private through(node: NodeProto, name: string, inputs: readonly string[]): void {
    const norm = this.values.get(name);
    for (const [i, input] of inputs.entries()) {
      const use = this.use(node, i);
      if (use === undefined) this.mark(input, norm);
      else if (norm === undefined) this.addend(use);
      else throw inTheWay(node, name);
    }
    const outputs = node.opType === 'Split' ? node.output : node.output.slice(0, 1);
    for (const output of outputs) this.mark(output, norm);
  }

  private product(node: NodeProto, name: string): void {
    const use = this.use(node, 1);
    const isGemm = node.opType === 'Gemm';
    if (use === undefined || use.tensor.dims.length !== 2) throw inTheWay(node, name);
    if (isGemm && readInt(node, 'transA', 0) !== 0) throw inTheWay(node, name);
    const turned = use.turned !== (isGemm && readInt(node, 'transB', 0) === 1);
    const [first = 0, second = 0] = use.tensor.dims;
    const edit = this.matrices.get(use) ?? { writes: false };
    if (node.input[0] === name) {
      this.setChannels(turned ? second : first, use.name);
      this.matrices.set(use, { ...edit, reads: this.values.get(name) ?? {} });
      return;
    }
    if (node.output[0] !== name || this.values.get(name) !== undefined) throw inTheWay(node, name);
    this.setChannels(turned ? first : second, use.name);
    this.matrices.set(use, { ...edit, writes: true });
    const bias = isGemm ? (node.input[2] ?? '') : '';
    if (bias === '') return;
    const constant = this.use(node, 2);
    if (constant === undefined) this.mark(bias, undefined);
    else this.addend(constant);
  }

  private embedding(node: NodeProto, name: string): void {
    const use = this.use(node, 0);
    const [, channels] = use?.tensor.dims ?? [];
    const isTable = use?.tensor.dims.length === 2 && !use.turned && readInt(node, 'axis', 0) === 0;
    if (use === undefined || !isTable || this.values.get(name) !== undefined) throw inTheWay(node, name);
    this.setChannels(channels, use.name);
    this.matrices.set(use, { writes: true });
  }

  private norm(node: NodeProto, name: string): void {
    const op = node.opType ?? '';
    const skips = op.startsWith('Skip');
    const inputs = node.input.slice(0, skips ? 2 : 1);
    const sum = skips ? (node.output[3] ?? '') : '';
    if (!inputs.includes(name) && name !== sum) {
      throw new Obstacle(
        `${nodeName(node)} scales the channels of ${name}, which goes on as the stream (norms behind the additions)`,
      );
    }
    if (this.values.get(name) !== undefined) throw inTheWay(node, name);
    const axis = readInt(node, 'axis', -1);
    if (!skips && axis !== -1 && axis !== (this.facts.model.rankOf(inputs[0] ?? '') ?? 0) - 1)
      throw inTheWay(node, name);
    const subtracts = op === 'LayerNormalization' || op === 'SkipLayerNormalization';
    if (subtracts) this.keepsMean = true;
    const at = skips ? 2 : 1;
    const scale = this.use(node, at);
    const hasOffset = subtracts && (node.input[at + 1] ?? '') !== '';
    const offset = hasOffset ? this.use(node, at + 1) : undefined;
    if (scale === undefined || (hasOffset && offset === undefined)) throw inTheWay(node, name);
    this.setChannels(scale.tensor.dims[0], scale.name);
    const addend = skips ? at + (subtracts ? 2 : 1) : -1;
    if (addend > 0 && (node.input[addend] ?? '') !== '') {
      const use = this.use(node, addend);
      if (use === undefined) throw inTheWay(node, name);
      this.addend(use);
    }
    for (const input of inputs) this.mark(input, undefined);
    if (sum !== '') this.mark(sum, undefined);
    const norm: Norm = { scale, offset };
    this.norms.add(norm);
    this.mark(node.output[0] ?? '', norm);
  }

  private sum(node: NodeProto, name: string): void {
    const norm = this.values.get(name);
    if (norm !== undefined) {
      this.offset(node, name, norm);
      return;
    }
    for (const [i, input] of node.input.entries()) {
      const use = this.use(node, i);
      if (use !== undefined) this.addend(use);
      else if (this.facts.narrow.has(input)) this.keepsMean = true;
      else this.mark(input, undefined);
    }
    this.mark(node.output[0] ?? '', undefined);
  }

  /** The offset of a norm that is written out: Add of a vector behind its scale. */
  private offset(node: NodeProto, name: string, norm: Norm): void {
    const use = this.use(node, node.input[0] === name ? 1 : 0);
    const fits = node.opType === 'Add' && node.output[0] !== name && norm.offset === undefined;
    if (use === undefined && node.output[0] !== name) throw behindNorm(node, name);
    if (!fits || use === undefined || !this.isVector(use)) throw inTheWay(node, name);
    const behind: Norm = { ...norm, offset: use };
    this.norms.add(behind);
    this.mark(node.output[0] ?? '', behind);
  }

  private factor(node: NodeProto, name: string): void {
    const { narrow } = this.facts;
    const [a = '', b = ''] = node.input;
    const [output = ''] = node.output;
    const isMul = node.opType === 'Mul';
    if (isMul && a === b && a === name) {
      this.square(node, name);
      return;
    }
    const norm = this.values.get(name);
    // Factors that are the same for all channels of a row.
    const isPlain = (i: number): boolean => {
      const use = this.use(node, i);
      return use === undefined ? narrow.has(node.input[i] ?? '') : use.tensor.dims.every((dim) => dim === 1);
    };
    const stream = isPlain(1) ? a : isMul && isPlain(0) ? b : undefined;
    if (stream !== undefined && (name === stream || name === output)) {
      this.mark(stream, norm);
      this.mark(output, norm);
      return;
    }
    const index = a === name ? 1 : 0;
    const scale = this.use(node, index);
    if (name === output) {
      throw new Obstacle(
        `${nodeName(node)} scales the channels of what is added to the stream (fold-batchnorm may take it into the product before it)`,
      );
    }
    const scales = isMul && norm === undefined && scale !== undefined;
    if (!scales || !this.isVector(scale)) throw inTheWay(node, name);
    this.setChannels(scale.tensor.dims.at(-1), scale.name);
    const behind: Norm = { scale };
    this.norms.add(behind);
    this.mark(output, behind);
  }

  /** Squares may only be summed over the channels: the length of a row stays. */
  private square(node: NodeProto, name: string): void {
    const [output = ''] = node.output;
    const { narrow, readers, outputs, squares } = this.facts;
    const sums = (readers.get(output) ?? []).every(
      ({ opType = '', output: [result = ''] }) => REDUCTIONS.has(opType) && narrow.has(result),
    );
    if (!squares.has(node) || !sums || outputs.has(output) || this.values.get(name) !== undefined)
      throw inTheWay(node, name);
  }

  private reduction(node: NodeProto, name: string): void {
    if (node.input[0] !== name || this.values.get(name) !== undefined) throw inTheWay(node, name);
    if (!this.facts.narrow.has(node.output[0] ?? '')) throw inTheWay(node, name);
    if (REDUCTIONS.has(node.opType ?? '')) this.keepsMean = true;
  }

  /** Adding one number to all channels keeps the direction of the ones; a vector is rotated with the stream. */
  private addend(use: ConstantUse): void {
    const { dims } = use.tensor;
    if (dims.every((dim) => dim === 1)) {
      this.keepsMean = true;
      return;
    }
    if (use.turned) throw new Obstacle(`${use.name} is transposed before it is added`);
    if (dims.at(-1) === 1) {
      this.keepsMean = true;
      return;
    }
    this.setChannels(dims.at(-1), use.name);
    this.addends.add(use);
  }

  private isVector({ tensor: { dims } }: ConstantUse): boolean {
    return dims.length > 0 && dims.slice(0, -1).every((dim) => dim === 1) && dims.at(-1) !== 1;
  }

  /** Inputs whose rows `node` moves whole; undefined where it may not keep the last axis. */
  private async movedInputs(node: NodeProto): Promise<readonly string[] | undefined> {
    const { model, ints } = this.facts;
    const [input = '', second = ''] = node.input;
    const rank = model.rankOf(input);
    const isLast = (axis: number, of = rank): boolean =>
      axis < 0 ? axis === -1 : of === undefined || axis >= of - 1;
    switch (node.opType) {
      case 'Transpose': {
        const perm = readInts(node, 'perm');
        return perm !== undefined && perm.at(-1) === perm.length - 1 ? [input] : undefined;
      }
      case 'Gather':
        return isLast(readInt(node, 'axis', 0)) ? undefined : [input];
      case 'Split':
        return isLast(readInt(node, 'axis', 0)) ? undefined : [input];
      case 'Concat':
        return isLast(readInt(node, 'axis', -1)) ? undefined : node.input;
      case 'Slice': {
        const axes = node.input.length > 1 ? await ints(node.input[3] ?? '') : readInts(node, 'axes');
        return axes === undefined || axes.some((axis) => isLast(axis)) ? undefined : [input];
      }
      case 'Squeeze':
      case 'Unsqueeze': {
        const axes = second === '' ? readInts(node, 'axes') : await ints(second);
        const outer = model.rankOf(node.output[0] ?? '');
        const of = node.opType === 'Squeeze' ? rank : outer;
        return axes === undefined || axes.some((axis) => isLast(axis, of)) ? undefined : [input];
      }
      case 'Reshape':
        return (await this.lastDimension(second)) === this.channels && this.channels > 0
          ? [input]
          : undefined;
      default:
        return undefined;
    }
  }

  /** Last number of a shape: of a constant, or of one that is put together. */
  private async lastDimension(name: string): Promise<number | undefined> {
    const values = await this.facts.ints(name);
    if (values !== undefined) return values.at(-1);
    const concat = this.facts.producers.get(name);
    if (concat?.opType !== 'Concat') return undefined;
    return (await this.facts.ints(concat.input.at(-1) ?? ''))?.at(-1);
  }
}

function nodeName(node: NodeProto): string {
  const name = node.name ?? '';
  return `${name === '' ? (node.output[0] ?? '') : name} (${node.opType ?? ''})`;
}

/** As BERT has it: what was normalized and scaled goes on as the stream. */
function behindNorm(node: NodeProto, value: string): Obstacle {
  return new Obstacle(
    `${nodeName(node)} adds ${value}, whose channels a norm has scaled, to the stream (norms behind the additions)`,
  );
}

function inTheWay(node: NodeProto, value: string): Obstacle {
  return new Obstacle(`${nodeName(node)} is in the way at ${value}`);
}
