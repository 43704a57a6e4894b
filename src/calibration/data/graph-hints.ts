/**
 * What a graph tells about its inputs beyond their declared types: how many rows the table has that token ids look up, how
 * many channels the first convolution reads, how many features the first matrix product. Found by walking from each input
 * through operators that only rename, cast or reshape. Works on any structure that looks like an ONNX graph.
 */

export interface InputHints {
  /** Input → rows of the table it indexes: values must stay below. */
  readonly indexBound: ReadonlyMap<string, number>;
  /** Input → size of its dimension 1, where a Conv reads it. */
  readonly channels: ReadonlyMap<string, number>;
  /** Input → size of its last dimension, where a MatMul, Gemm, LSTM or GRU reads it. */
  readonly features: ReadonlyMap<string, number>;
}

export const NO_HINTS: InputHints = { indexBound: new Map(), channels: new Map(), features: new Map() };

export interface TensorView {
  readonly name?: string | undefined;
  readonly dims: readonly number[];
}

export interface NodeView {
  readonly opType?: string | undefined;
  readonly input: readonly string[];
  readonly output: readonly string[];
  readonly attribute: readonly {
    readonly name?: string | undefined;
    readonly i?: bigint | undefined;
    readonly t?: { readonly dims: readonly number[] } | undefined;
  }[];
}

export interface GraphView {
  readonly node: readonly NodeView[];
  readonly initializer: readonly TensorView[];
  readonly input: readonly { readonly name?: string | undefined }[];
}

/** Operators whose output holds the same indices or features as their first input. */
const SAME_VALUES = new Set([
  'Identity',
  'Cast',
  'Reshape',
  'Unsqueeze',
  'Squeeze',
  'Flatten',
  'Clip',
  'Max',
  'Min',
]);
const SAME_LAST_DIM = new Set(['Identity', 'Cast', 'LayerNormalization', 'Dropout']);
const SAME_SHAPE = new Set(['Identity', 'Cast', 'Sub', 'Mul', 'Div', 'Add', 'BatchNormalization']);
/** Operators between a stored weight and its use. */
const WEIGHT_WRAPPERS = new Set(['Identity', 'Cast', 'DequantizeLinear']);
/** Steps of a walk; graphs with millions of nodes must not make it long. */
const MAX_VISITS = 2000;

export function graphHints(graph: GraphView): InputHints {
  const constants = new Map<string, readonly number[]>();
  for (const { name, dims } of graph.initializer) if (name !== undefined) constants.set(name, dims);
  const producers = new Map<string, NodeView>();
  const consumers = new Map<string, NodeView[]>();
  for (const node of graph.node) {
    for (const name of node.output) producers.set(name, node);
    for (const name of new Set(node.input)) {
      const readers = consumers.get(name);
      if (readers === undefined) consumers.set(name, [node]);
      else readers.push(node);
    }
    if (node.opType === 'Constant') {
      const dims = node.attribute.find(({ t }) => t !== undefined)?.t?.dims;
      if (dims !== undefined && node.output[0] !== undefined) constants.set(node.output[0], dims);
    }
  }
  const weightShape = (name: string | undefined, depth = 0): readonly number[] | undefined => {
    if (name === undefined || depth > 4) return undefined;
    const dims = constants.get(name);
    if (dims !== undefined) return dims;
    const node = producers.get(name);
    return node !== undefined && WEIGHT_WRAPPERS.has(node.opType ?? '')
      ? weightShape(node.input[0], depth + 1)
      : undefined;
  };
  /** First answer of `ask` among the nodes that read `start`, directly or through `through`. */
  const walk = (
    start: string,
    through: ReadonlySet<string>,
    ask: (node: NodeView, name: string) => number | undefined,
  ): number | undefined => {
    const queue = [start];
    const seen = new Set(queue);
    for (let at = 0; at < queue.length && at < MAX_VISITS; at++) {
      const name = queue[at]!;
      for (const node of consumers.get(name) ?? []) {
        const answer = ask(node, name);
        if (answer !== undefined) return answer;
        const next = node.output[0];
        if (next === undefined || seen.has(next) || !through.has(node.opType ?? '')) continue;
        seen.add(next);
        queue.push(next);
      }
    }
    return undefined;
  };

  const indexBound = new Map<string, number>();
  const channels = new Map<string, number>();
  const features = new Map<string, number>();
  const put = (map: Map<string, number>, name: string, value: number | undefined): void => {
    if (value !== undefined && value > 0) map.set(name, value);
  };
  for (const { name } of graph.input) {
    if (name === undefined || constants.has(name)) continue;
    put(
      indexBound,
      name,
      walk(name, SAME_VALUES, ({ opType, input, attribute }, from) => {
        if ((opType !== 'Gather' && opType !== 'GatherBlockQuantized') || input[1] !== from) return undefined;
        const axis = Number(
          attribute.find(({ name }) => name === (opType === 'Gather' ? 'axis' : 'gather_axis'))?.i ?? 0n,
        );
        return weightShape(input[0])?.[axis];
      }),
    );
    put(
      channels,
      name,
      walk(name, SAME_SHAPE, ({ opType, input, attribute }, from) => {
        if (opType !== 'Conv' || input[0] !== from) return undefined;
        const group = Number(attribute.find(({ name }) => name === 'group')?.i ?? 1n);
        const perGroup = weightShape(input[1])?.[1];
        return perGroup === undefined ? undefined : perGroup * group;
      }),
    );
    put(
      features,
      name,
      walk(name, SAME_LAST_DIM, ({ opType, input, attribute }, from) => {
        if (input[0] !== from) return undefined;
        const weight = weightShape(input[1]);
        if (opType === 'LSTM' || opType === 'GRU' || opType === 'RNN') return weight?.[2];
        if (opType === 'MatMul') return weight?.at(-2);
        if (opType !== 'Gemm') return undefined;
        return weight?.[attribute.find(({ name }) => name === 'transB')?.i === 1n ? 1 : 0];
      }),
    );
  }
  return { indexBound, channels, features };
}
