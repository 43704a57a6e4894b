/** From what was asked of `quantizeGguf` to the plan of each type. */

import { isWhittleError, WhittleError } from '../../errors.ts';
import type { GgufModel } from '../../formats/gguf/gguf.ts';
import type { Imatrix } from '../../formats/gguf/imatrix-types.ts';
import { COPY, parseFileType } from '../../planning/gguf/file-types.ts';
import type { GgufQuantizeOptions, PlannedGguf } from '../../planning/gguf/options.ts';
import { planGguf } from '../../planning/gguf/plan-gguf.ts';
import type { QuantizeGgufOptions } from './options.ts';

/** Canonical names. @throws WhittleError E_USAGE where there is none, or no such type */
export function canonicalTypes(to: string | readonly string[]): string[] {
  const words = typeof to === 'string' ? [to] : to;
  if (words.length === 0) {
    throw new WhittleError('E_USAGE', 'no type was asked for', {
      hint: 'Try Q4_K_M; `whittle types` lists them all.',
    });
  }
  return words.map((word) => {
    const type = parseFileType(word);
    return type === COPY ? COPY : type.name;
  });
}

/** The options that the planner knows. */
export async function planType(
  model: GgufModel,
  to: string,
  fileName: string,
  imatrix: Imatrix | undefined,
  options: Omit<QuantizeGgufOptions, 'to'>,
): Promise<PlannedGguf> {
  const wishes: GgufQuantizeOptions = {
    to,
    fileName,
    imatrix,
    includeWeights: options.includeWeights,
    excludeWeights: options.excludeWeights,
    pure: options.pure,
    leaveOutputTensor: options.leaveOutputTensor,
    outputTensorType: options.outputTensorType,
    tokenEmbeddingType: options.tokenEmbeddingType,
    tensorTypes: options.tensorTypes,
    pruneLayers: options.pruneLayers,
    overrideKv: options.overrideKv,
    allowRequantize: options.allowRequantize,
    keepSplit: options.keepSplit,
    dryRun: options.dryRun,
  };
  try {
    return await planGguf(model, wishes);
  } catch (error) {
    throw isWhittleError(error) ? error.with({ file: model.file }) : error;
  }
}
