/** A small model as folds edit it, and both versions run on the same values. */

import { InferenceSession, type Tensor } from 'onnxruntime-node';
import type { FoldableGraph } from '../../../src/formats/onnx/fold/batchnorm.ts';
import { topologicalOrder } from '../../../src/formats/onnx/graph.ts';
import { encodeModel } from '../../../src/formats/onnx/layout.ts';
import type { ModelProto, TensorProto } from '../../../src/formats/onnx/messages.ts';
import { cloneModel, normalizeConstants, pruneUnused, uniqueName } from '../../../src/formats/onnx/model.ts';
import { inferRanks } from '../../../src/formats/onnx/types-rank.ts';
import { floats } from '../build-onnx.ts';

/** A copy of a model whose payloads are in memory. */
export function foldable(proto: ModelProto): { copy: ModelProto; model: FoldableGraph } {
  const copy = cloneModel(proto);
  normalizeConstants(copy);
  const graph = copy.graph!;
  graph.node = topologicalOrder(graph)!;
  const inputs = new Set(graph.input.map(({ name }) => name));
  const allocate = uniqueName(copy);
  const ranks = inferRanks(copy);
  const model: FoldableGraph = {
    graph,
    constant: (name) =>
      inputs.has(name) ? undefined : graph.initializer.find((tensor) => tensor.name === name),
    read: async (tensor) => valuesOf(tensor),
    write: async (tensor, values) => {
      tensor.rawData = { kind: 'inline', bytes: new Uint8Array(values.slice().buffer) };
    },
    add: async (name, dims, values) => {
      const tensor = floats(allocate(name), [...dims], [...values]);
      graph.initializer.push(tensor);
      return tensor;
    },
    uniqueName: allocate,
    rankOf: (name) => ranks.rankOf(graph, name),
  };
  return { copy, model };
}

export function valuesOf({ rawData }: TensorProto): Float32Array {
  if (rawData?.kind !== 'inline') throw new Error('the payload is in memory');
  return new Float32Array(rawData.bytes.slice().buffer);
}

/** Largest difference of the outputs, as a share of the largest value. */
export async function difference(
  before: ModelProto,
  after: ModelProto,
  feeds: Record<string, Tensor>,
): Promise<number> {
  pruneUnused(after);
  const [expected, found] = [await outputs(before, feeds), await outputs(after, feeds)];
  let most = 0;
  let size = 0;
  for (const [name, values] of expected) {
    const others = found.get(name)!;
    for (const [i, value] of values.entries()) {
      size = Math.max(size, Math.abs(value));
      most = Math.max(most, Math.abs(value - others[i]!));
    }
  }
  return most / (size || 1);
}

async function outputs(proto: ModelProto, feeds: Record<string, Tensor>): Promise<Map<string, Float32Array>> {
  const session = await InferenceSession.create(await encodeModel(proto), {
    logSeverityLevel: 3,
    graphOptimizationLevel: 'disabled',
    intraOpNumThreads: 1,
  });
  const results = await session.run(feeds);
  const found = new Map<string, Float32Array>();
  for (const [name, { data }] of Object.entries(results)) {
    if (data instanceof Float32Array) found.set(name, data);
  }
  await session.release();
  return found;
}
