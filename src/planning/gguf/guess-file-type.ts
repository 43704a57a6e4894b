/**
 * The number of a file type for a file that is copied: its own, or what llama.cpp would guess from the most frequent type of its
 * tensors, marked as guessed.
 */

import type { GgmlType } from '../../core/ggml-types.ts';
import type { GgufModel } from '../../formats/gguf/gguf.ts';
import { integerValue, type Overrides } from './facts.ts';
import { GUESSED } from './file-types.ts';
import { byLayerAndName } from './order.ts';

/** Types that stand for a file type; others count as f32. */
const NUMBERS: Partial<Record<GgmlType, number>> = {
  f32: 0,
  f16: 1,
  q4_0: 2,
  q4_1: 3,
  q8_0: 7,
  q5_0: 8,
  q5_1: 9,
  q2_K: 10,
  q3_K: 12,
  q4_K: 15,
  q5_K: 17,
  q6_K: 18,
  iq2_xxs: 19,
  iq2_xs: 20,
  iq3_xxs: 23,
  iq1_s: 24,
  iq4_nl: 25,
  iq3_s: 26,
  iq2_s: 28,
  iq4_xs: 30,
  iq1_m: 31,
  bf16: 32,
  tq1_0: 36,
  tq2_0: 37,
  nvfp4: 39,
  q1_0: 40,
  q2_0: 41,
};

export function guessFileType(model: GgufModel, overrides: Overrides): number {
  const own = integerValue(model, overrides, 'general.file_type');
  if (own !== undefined) return own;
  const seen = new Map<GgmlType, number>();
  let most: GgmlType = 'f32';
  for (const { type } of byLayerAndName(model.tensors)) {
    const count = (seen.get(type) ?? 0) + 1;
    seen.set(type, count);
    // The first type to reach a count keeps its lead in a tie.
    if (count > (most === type ? count - 1 : (seen.get(most) ?? 0))) most = type;
  }
  return (NUMBERS[most] ?? 0) | GUESSED;
}
