/**
 * Which light operators stand between convolutions. int8 pays there: what a convolution gives goes to the next one as codes. Elsewhere
 * an elementwise operator in int8 costs a rounding at each end and keeps the runtime from fusing norms and gates.
 *
 * A light operator is inside where, through light operators only, a convolution is found both before and behind it.
 */

import type { GraphProto, NodeProto } from '../../messages.ts';
import { MOVING_OPERATORS } from './settings.ts';

const CONVOLUTIONS: ReadonlySet<string> = new Set(['Conv', 'ConvTranspose']);

/** Operators that cost little beside a convolution. */
export const LIGHT: ReadonlySet<string> = new Set([
  ...MOVING_OPERATORS,
  'Add',
  'BatchNormalization',
  'Clip',
  'Concat',
  'Div',
  'GlobalAveragePool',
  'HardSigmoid',
  'HardSwish',
  'LeakyRelu',
  'Mul',
  'Pad',
  'Relu',
  'Sigmoid',
  'Split',
]);

/** Light operators that are not between convolutions. Nodes must be in topological order. */
export function outsideConvolutions(graph: GraphProto): Set<NodeProto> {
  const before = new Set<string>();
  for (const node of graph.node) {
    const op = node.opType ?? '';
    const reached = CONVOLUTIONS.has(op) || (LIGHT.has(op) && node.input.some((name) => before.has(name)));
    if (reached) for (const name of node.output) before.add(name);
  }
  const behind = new Set<string>();
  for (const node of graph.node.toReversed()) {
    const op = node.opType ?? '';
    const reached = CONVOLUTIONS.has(op) || (LIGHT.has(op) && node.output.some((name) => behind.has(name)));
    if (reached) for (const name of node.input) behind.add(name);
  }
  return new Set(
    graph.node.filter(
      ({ opType = '', input, output }) =>
        LIGHT.has(opType) &&
        !(input.some((name) => before.has(name)) && output.some((name) => behind.has(name))),
    ),
  );
}
