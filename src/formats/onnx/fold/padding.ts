/**
 * Whether a convolution pads with zeros: what is folded into it from in front must leave zeros zeros then. Source: ONNX
 * operators, Conv: `auto_pad`, `pads`.
 */

import { findAttribute } from '../graph.ts';
import type { NodeProto } from '../messages.ts';
import { readInts } from '../rewrite/build.ts';

/** SAME pads as the size demands, which is not known: it counts as padding. */
export function padsWithZeros(conv: NodeProto): boolean {
  const raw = findAttribute(conv, 'auto_pad')?.s;
  const auto = raw === undefined ? 'NOTSET' : new TextDecoder().decode(raw);
  if (auto.startsWith('SAME')) return true;
  return auto !== 'VALID' && (readInts(conv, 'pads') ?? []).some((pad) => pad !== 0);
}
