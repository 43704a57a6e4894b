/**
 * Tables whose rows are looked up before they are dequantized, with a scale for each row that is looked up by the same indices:
 * Gather(codes), Cast, Mul by Gather(scales) → Gather of the float table. Symmetric codes: there is no zero point to subtract.
 */

import type { DequantizeOperation } from '../../../numerics/dequantize-operation.ts';
import { dtypeOfNumber } from '../data-types.ts';
import type { GraphProto, NodeProto } from '../messages.ts';
import { isDefaultDomain, makeNode, readInt } from '../rewrite/build.ts';
import { isFloat8 } from './linear.ts';
import type { Lookup } from './lookup.ts';
import { type Found, isScale, originalNodeName, storedWeight } from './stored-weight.ts';

/** `cast`: the node that may turn codes that were looked up into floats. */
export function matchLookedUpRows(lookup: Lookup, graph: GraphProto, cast: NodeProto): Found | undefined {
  const to = dtypeOfNumber(readInt(cast, 'to', 0));
  const gather = rowGather(lookup, graph, cast.input[0]);
  if (gather === undefined || (to !== 'f32' && to !== 'f16')) return undefined;
  const data = lookup.constant(graph, gather.input[0]);
  if (data === undefined || data.count === 0) return undefined;
  const from = data.dtype;
  if (from !== 'int8' && from !== 'uint8' && !isFloat8(from)) return undefined;
  const reader = lookup.soleConsumer(graph, cast.output[0]);
  if (reader?.node.opType !== 'Mul' || !isDefaultDomain(reader.node)) return undefined;
  const scaleGather = rowGather(lookup, graph, reader.node.input[1 - reader.input]);
  if (scaleGather === undefined || scaleGather.input[1] !== gather.input[1]) return undefined;
  const scales = lookup.constant(graph, scaleGather.input[0]);
  const rows = data.shape[0];
  if (!isScale(scales) || scales.dtype !== to || scales.count !== rows) return undefined;
  // [rows, 1, …] with the rank of the table: else the product would broadcast along another axis.
  if (scales.shape[0] !== rows || scales.shape.length !== data.shape.length) return undefined;
  const { shape } = data;
  const operation: DequantizeOperation = isFloat8(from)
    ? { kind: 'cast', shape, from, scaled: true, axis: 0, scaleType: to, to: 'f32' }
    : { kind: 'affine', shape, type: from, axis: 0, scaleType: to, zeroPoint: false, to: 'f32' };
  const parts = isFloat8(from) ? { data, scales } : { data, scale: scales };
  const { node } = reader;
  return {
    kind: 'use',
    weights: [storedWeight({ node: gather, data, dtype: to, parts, operation })],
    node,
    graph,
    pattern: [cast, gather, scaleGather],
    replace: (emit) => {
      const wanted = originalNodeName(gather);
      return [
        makeNode('Gather', [emit.value(0), gather.input[1] ?? ''], [node.output[0] ?? ''], {
          name: wanted === '' ? '' : emit.uniqueName(wanted),
        }),
      ];
    },
  };
}

function rowGather(lookup: Lookup, graph: GraphProto, name: string | undefined): NodeProto | undefined {
  const node = lookup.producer(graph, name)?.node;
  const fits = node?.opType === 'Gather' && isDefaultDomain(node) && readInt(node, 'axis', 0) === 0;
  return fits ? node : undefined;
}
