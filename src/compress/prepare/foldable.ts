/** An editable model as the folds of formats/onnx/fold take it: nodes in topological order, ranks and integer constants at hand. */

import type { RotatableGraph } from '../../formats/onnx/fold/rotation-walk.ts';
import { topologicalOrder } from '../../formats/onnx/graph.ts';
import { inferRanks } from '../../formats/onnx/types-rank.ts';
import type { EditableModel } from './pass.ts';

export function foldableGraph(model: EditableModel): RotatableGraph {
  const { graph, proto } = model;
  graph.node = topologicalOrder(graph) ?? graph.node;
  const ranks = inferRanks(proto);
  const constants = new Map(graph.initializer.map((tensor) => [tensor.name ?? '', tensor]));
  const inputs = new Set(graph.input.map(({ name }) => name ?? ''));
  return {
    graph,
    uniqueName: model.uniqueName,
    constant: (name) => (inputs.has(name) ? undefined : constants.get(name)),
    read: (tensor) => model.read(tensor),
    write: (tensor, values) => model.write(tensor, values),
    add: async (name, dims, values, dtype) => {
      const tensor = await model.add(name, dims, values, dtype);
      constants.set(tensor.name ?? '', tensor);
      return tensor;
    },
    rankOf: (name) => ranks.rankOf(graph, name),
    async readInts(tensor) {
      const bytes = (await model.asModel().readTensor(tensor)).slice();
      const wide = tensor.dataType === INT64;
      return wide ? [...new BigInt64Array(bytes.buffer)].map(Number) : [...new Int32Array(bytes.buffer)];
    },
  };
}

/** `TensorProto.DataType`. */
const INT64 = 7;
