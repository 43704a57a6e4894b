/**
 * Copies a model's structure so that a rewrite may edit it: every message and list is new, payloads and undecoded
 * fields are shared (they are never changed in place). The schema says what there is to copy.
 */

import type { GraphProto, ModelProto, NodeProto, TensorProto } from './messages.ts';
import { GRAPH, type HasUnknown, type MessageSchema, MODEL, NODE, TENSOR } from './schema.ts';

/** Structural copy of a model; payloads are shared. */
export function cloneModel(proto: ModelProto): ModelProto {
  return cloneMessage(MODEL, proto);
}

export function cloneGraph(graph: GraphProto): GraphProto {
  return cloneMessage(GRAPH, graph);
}

export function cloneNode(node: NodeProto): NodeProto {
  return cloneMessage(NODE, node);
}

export function cloneTensor(tensor: TensorProto): TensorProto {
  return cloneMessage(TENSOR, tensor);
}

function cloneMessage<M extends HasUnknown>(schema: MessageSchema<M>, from: M): M {
  const to = schema.create();
  for (const field of schema.fields) field.copy(from, to, cloneMessage);
  to.unknown = [...from.unknown];
  return to;
}
