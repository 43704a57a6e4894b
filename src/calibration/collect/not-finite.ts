/**
 * Finds where NaN or infinity came into a model. From the tensor where calibration met it, the graph is followed upwards
 * through values that are not finite; the first of them in graph order is named. Infinities that the model absorbs on the
 * way (the −∞ of an attention mask ends in a Softmax) are not on that path.
 *
 * All values on the way are judged in one run, inside the runtime: the sum of 0·x is 0 where x is finite and NaN otherwise.
 */

import { WhittleError } from '../../errors.ts';
import { namesUsedBy } from '../../formats/onnx/graph.ts';
import type { GraphProto, NodeProto } from '../../formats/onnx/messages.ts';
import { pruneToOutputs } from '../../formats/onnx/taps/prune.ts';
import { createTapGraph } from '../../formats/onnx/taps/tap-graph.ts';
import type { Runtime } from '../../runtime/runtime.ts';
import type { Sample } from '../data/dataset.ts';
import { floatsOf } from './sums.ts';
import { type CalibrationModel, copyModel, openTapped } from './tapped-model.ts';

/** E_NONFINITE with the first tensor that is not finite on the way to `tensor`, on this sample. */
export async function notFiniteError(
  model: CalibrationModel,
  sample: Sample,
  tensor: string,
  options: { readonly runtime: Runtime; readonly threads?: number | undefined },
): Promise<WhittleError> {
  const first = await firstNotFinite(model, sample, tensor, options);
  if (first === undefined) {
    return new WhittleError('E_NONFINITE', 'the values of a tensor are too large: their squares overflow', {
      tensor,
      expected: 'values below 10¹⁶',
      hint: 'Leave the weight that reads it as it is.',
    });
  }
  return new WhittleError('E_NONFINITE', 'the model computes values that are not finite', {
    tensor: first.tensor,
    node: first.node,
    expected: 'finite values',
    found: first.origin,
    hint: 'Check the data; or the model overflows on it (half precision?).',
  });
}

interface Origin {
  readonly tensor: string;
  readonly node: string | undefined;
  readonly origin: string;
}

async function firstNotFinite(
  model: CalibrationModel,
  sample: Sample,
  tensor: string,
  { runtime, threads }: { readonly runtime: Runtime; readonly threads?: number | undefined },
): Promise<Origin | undefined> {
  const copy = await copyModel(model);
  pruneToOutputs(copy, [tensor]);
  const taps = createTapGraph(copy);
  const { graph } = taps;
  const order = graphOrder(graph);
  const zero = taps.floats([], new Float32Array(1));
  const judged = new Map<string, string>();
  for (const name of order) {
    const dtype = taps.typeOf(name);
    if (dtype !== 'f32' && dtype !== 'f16' && dtype !== 'bf16' && dtype !== 'f64') continue;
    const judge = taps.reduce('ReduceSum', taps.node('Mul', [taps.asFloat(name), zero]));
    judged.set(name, judge);
    taps.output(judge);
  }
  const producers = new Map<string, NodeProto>();
  for (const node of graph.node) for (const name of node.output) producers.set(name, node);
  if (judged.size === 0) return undefined;
  await using session = await openTapped(taps.finish(), runtime, { optimize: false, threads });
  const outputs = await session.run(sample);
  const isBad = (name: string): boolean => {
    const judge = judged.get(name);
    return judge !== undefined && Number.isNaN(floatsOf(outputs, judge)[0]);
  };
  if (!isBad(tensor)) return undefined;
  const reached = new Set([tensor]);
  for (const name of reached) {
    const node = producers.get(name);
    if (node !== undefined) for (const used of namesUsedBy(node)) if (isBad(used)) reached.add(used);
  }
  const first = order.find((name) => reached.has(name)) ?? tensor;
  const node = producers.get(first);
  const isInput = graph.input.some(({ name }) => name === first);
  return {
    tensor: first,
    node: node === undefined ? undefined : `${node.name ?? ''} (${node.opType ?? ''})`.trim(),
    origin:
      node !== undefined ? 'NaN or infinity' : `NaN or infinity in ${isInput ? 'the input' : 'the weight'}`,
  };
}

/** Names of the main graph: inputs, constants, then what the nodes give, in their order. */
function graphOrder(graph: GraphProto): string[] {
  return [
    ...[...graph.input, ...graph.initializer].map(({ name = '' }) => name),
    ...graph.node.flatMap((node) => node.output),
  ].filter((name) => name !== '');
}
