/**
 * Weights that are stored in a narrower float and cast back where they are read: Cast over float8 or bfloat16 constants,
 * with a Mul by a constant scale behind it where there is one. Casts of f16 constants are not here: widening a whole
 * graph to f32 takes care of them (widen.ts), and in f16 there is nothing to restore.
 */

import type { Shape } from '../../../core/shape.ts';
import { dtypeOfNumber } from '../data-types.ts';
import type { GraphProto, NodeProto } from '../messages.ts';
import { isDefaultDomain, readInt } from '../rewrite/build.ts';
import { isFloat8 } from './linear.ts';
import type { Constant, Lookup } from './lookup.ts';
import { matchLookedUpRows } from './rows.ts';
import { type Found, isScale, refusal, storedWeight } from './stored-weight.ts';

export function matchCast(lookup: Lookup, graph: GraphProto, node: NodeProto): Found | undefined {
  const data = lookup.constant(graph, node.input[0]);
  if (data === undefined) return matchLookedUpRows(lookup, graph, node);
  if (data.count === 0) return undefined;
  const from = data.dtype;
  if (from !== 'bf16' && !isFloat8(from)) return undefined;
  const to = dtypeOfNumber(readInt(node, 'to', 0));
  if (to !== 'f32' && (to !== 'f16' || from === 'bf16')) {
    return to === 'bf16' ? refusal(node, `it gives ${to}`) : undefined;
  }
  const scaled = isFloat8(from) ? scaleBehind(lookup, graph, node, data, to) : undefined;
  const last = scaled?.node ?? node;
  const weight = storedWeight({
    node,
    data,
    dtype: to,
    parts: { data, scales: scaled?.scale },
    operation: {
      kind: 'cast',
      shape: data.shape,
      from,
      scaled: scaled !== undefined,
      axis: scaled?.axis ?? null,
      scaleType: to,
      to: 'f32',
    },
    otherwise: last.output[0] ?? data.name,
  });
  const pattern = [...data.through, ...(scaled === undefined ? [] : [node])];
  return { kind: 'use', weights: [weight], node: last, graph, pattern, replace: 'value' };
}

interface Scaling {
  readonly node: NodeProto;
  readonly scale: Constant;
  readonly axis: number | null;
}

/** A Mul by a constant that alone reads the Cast, with one factor for the tensor or for each index of one axis. */
function scaleBehind(
  lookup: Lookup,
  graph: GraphProto,
  cast: NodeProto,
  data: Constant,
  to: 'f32' | 'f16',
): Scaling | undefined {
  const output = cast.output[0];
  const reader = lookup.soleConsumer(graph, output);
  if (reader === undefined || reader.node.opType !== 'Mul' || !isDefaultDomain(reader.node)) return undefined;
  const scale = lookup.constant(graph, reader.node.input[1 - reader.input]);
  if (!isScale(scale) || scale.dtype !== to) return undefined;
  const axis = broadcastAxis(scale.shape, data.shape);
  return axis === undefined ? undefined : { node: reader.node, scale, axis };
}

/** The one axis of `shape` along which `factor` varies; null where it is one number, undefined where it is neither. */
export function broadcastAxis(factor: Shape, shape: Shape): number | null | undefined {
  const lead = shape.length - factor.length;
  if (lead < 0) return undefined;
  const varying = factor.flatMap((dim, index) => (dim === 1 ? [] : [index]));
  const [only] = varying;
  if (only === undefined) return null;
  return varying.length === 1 && factor[only] === shape[only + lead] ? only + lead : undefined;
}
