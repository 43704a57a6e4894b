/**
 * Names of results, as published files have them: `<name>-<TYPE>.gguf`. What a name says about the precision of the original
 * (`-f16`, `.BF16`) would be wrong for the result and is replaced; so is the number of a shard.
 */

import { parseSplitName } from '../../formats/gguf/split-names.ts';

export const EXTENSION = '.gguf';
const PRECISION = /[-_.](?:f32|fp32|f16|fp16|bf16)$/i;

/** `llama-f16.gguf`, `Q4_K_M` → `llama-Q4_K_M.gguf`. */
export function typedName(bare: string, type: string): string {
  return `${stemOf(bare).replace(PRECISION, '')}-${type}${EXTENSION}`;
}

/** A bare name without the ending and a shard's number. */
export function stemOf(bare: string): string {
  const whole = parseSplitName(bare)?.prefix ?? bare;
  return whole.toLowerCase().endsWith(EXTENSION) ? whole.slice(0, -EXTENSION.length) : whole;
}
