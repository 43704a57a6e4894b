/**
 * A model that gets some of its weights as inputs, so that one session runs with any values of them: loading a model again for
 * every weight that is tried would take most of the time.
 */

import { formatShape } from '../core/shape.ts';
import { WhittleError } from '../errors.ts';
import { numberOfDtype } from '../formats/onnx/data-types.ts';
import type { ModelProto, ValueInfoProto } from '../formats/onnx/messages.ts';
import { cloneModel, findWeights, type Weight } from '../formats/onnx/model.ts';

/** Weights that can be inputs: of the main graph, in a type that the engines' interface carries. Key → weight. */
export function freeWeights(proto: ModelProto): Map<string, Weight> {
  const free = findWeights(proto).filter(
    ({ graph, dtype, isGraphOutput }) => graph === proto.graph && dtype !== 'bf16' && !isGraphOutput,
  );
  return new Map(free.map((weight) => [weight.key, weight]));
}

/** A copy in which the weights of these keys are inputs, by their names. @throws WhittleError E_GRAPH where one is none */
export function weightsAsInputs(proto: ModelProto, keys: readonly string[]): ModelProto {
  const copy = cloneModel(proto);
  const { graph } = copy;
  const weights = freeWeights(copy);
  for (const key of keys) {
    const weight = weights.get(key);
    if (graph === undefined || weight === undefined) {
      throw new WhittleError('E_GRAPH', 'a weight cannot be replaced', { tensor: key });
    }
    const { origin, tensor, name, isGraphInput } = weight;
    if (origin.kind === 'constant') graph.node = graph.node.filter((node) => node !== origin.node);
    else graph.initializer = graph.initializer.filter((one) => one !== tensor);
    graph.valueInfo = graph.valueInfo.filter((value) => value.name !== name);
    if (!isGraphInput) graph.input.push(inputOf(weight));
  }
  return copy;
}

function inputOf({ name, dtype, shape }: Weight): ValueInfoProto {
  if (shape.some((dim) => !Number.isSafeInteger(dim))) {
    throw new WhittleError('E_SHAPE', 'a weight has no fixed shape', {
      tensor: name,
      found: formatShape(shape),
    });
  }
  return {
    name,
    type: {
      tensorType: {
        elemType: numberOfDtype(dtype),
        shape: {
          dim: shape.map((dim) => ({ dimValue: BigInt(dim), unknown: [] })),
          unknown: [],
        },
        unknown: [],
      },
      unknown: [],
    },
    metadataProps: [],
    unknown: [],
  };
}
