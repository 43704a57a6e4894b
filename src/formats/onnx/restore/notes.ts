/** What stayed quantized in a restored graph, in words: counted by operator, with the reason where one is known. */

import { allGraphs } from '../graph.ts';
import type { ModelProto } from '../messages.ts';
import type { Refusal } from './stored-weight.ts';

/** Operators that compute with quantized values and that no pattern restores. */
const QUANTIZED =
  /^(QLinear\w+|QAttention|QOrdered\w+|QGemm|QMoE|QEmbedLayerNormalization|MatMulFpQ4|QuantizeLinear)$/;

/** @param proto - the graph after restoring */
export function remainingNotes(proto: ModelProto, refusals: readonly Refusal[]): string[] {
  const notes: string[] = [];
  const reasons = new Map<string, number>();
  for (const { opType, reason } of refusals) {
    const key = `${opType} (${reason})`;
    reasons.set(key, (reasons.get(key) ?? 0) + 1);
  }
  const kept = new Map<string, number>();
  for (const { graph } of allGraphs(proto)) {
    for (const { opType = '' } of graph.node) {
      if (QUANTIZED.test(opType)) kept.set(opType, (kept.get(opType) ?? 0) + 1);
    }
  }
  const activations = kept.get('QuantizeLinear');
  kept.delete('QuantizeLinear');
  for (const [key, count] of [...reasons, ...kept]) notes.push(`Kept as it is: ${count} × ${key}.`);
  if (activations !== undefined) {
    notes.push(
      `Values are still quantized while the model runs in ${activations} ${activations === 1 ? 'place' : 'places'} (QuantizeLinear).`,
    );
  }
  return notes;
}
