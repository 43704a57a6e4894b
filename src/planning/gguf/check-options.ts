/** What can be said about the options before a model is looked at. */

import { BLOCK_TYPES, type GgmlType, isBlockType } from '../../core/ggml-types.ts';
import { WhittleError } from '../../errors.ts';
import type { GgufQuantizeOptions } from './options.ts';

/** Types that weights can be turned into. */
export const WEIGHT_TYPES: readonly string[] = [...Object.keys(BLOCK_TYPES), 'f32', 'f16', 'bf16'];

export function isWeightType(type: GgmlType): boolean {
  return isBlockType(type) || type === 'f32' || type === 'f16' || type === 'bf16';
}

/** @throws WhittleError E_USAGE */
export function checkOptions(options: GgufQuantizeOptions): void {
  const asked: readonly (readonly [option: string, type: GgmlType | undefined])[] = [
    ['--output-tensor-type', options.outputTensorType],
    ['--token-embedding-type', options.tokenEmbeddingType],
    ...(options.tensorTypes ?? []).map(({ pattern, type }) => [`--tensor-type ${pattern}`, type] as const),
  ];
  for (const [option, type] of asked) {
    if (type === undefined || isWeightType(type)) continue;
    throw new WhittleError('E_USAGE', `${option}: weights cannot be stored as ${type}`, {
      expected: WEIGHT_TYPES.join(', '),
    });
  }
  for (const layer of options.pruneLayers ?? []) {
    if (Number.isSafeInteger(layer) && layer >= 0) continue;
    throw new WhittleError('E_USAGE', 'layers are numbered from 0', { found: String(layer) });
  }
  for (const { key } of options.overrideKv ?? []) {
    if (key !== '' && !key.includes('\0')) continue;
    throw new WhittleError('E_USAGE', 'a key of --override-kv is empty or holds a NUL');
  }
}
