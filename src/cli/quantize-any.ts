/** `whittle quantize`: which format the model is in decides which half of the flags fits. */

import { modelFormat } from '../compress/model-format.ts';
import { WhittleError } from '../errors.ts';
import type { Context } from './context.ts';
import { refuseForeignFlags } from './format-flags.ts';
import type { QuantizeGgufFlags } from './gguf/quantize.ts';
import type { QuantizeFlags } from './quantize.ts';

export type AnyQuantizeFlags = QuantizeFlags & QuantizeGgufFlags;

export async function runQuantizeAny(
  context: Context,
  model: string,
  words: readonly string[],
  flags: AnyQuantizeFlags,
  given: readonly string[],
): Promise<number | undefined> {
  const format = await modelFormat(model);
  refuseForeignFlags(given, format, model);
  if (format === 'gguf') {
    return (await import('./gguf/quantize.ts')).runQuantizeGguf(context, model, words, flags);
  }
  if (words.length > 0) {
    throw new WhittleError('E_USAGE', 'too many words for one model', {
      expected: 'whittle quantize model.onnx --to MODES',
      found: words.join(' '),
      hint: 'Name one model, and what it is to become with --to.',
    });
  }
  if (flags.all === true) {
    throw new WhittleError('E_USAGE', '--all is for GGUF models', {
      hint: 'whittle inspect lists the modes that suit an ONNX model, with sizes.',
    });
  }
  return (await import('./quantize.ts')).runQuantize(context, model, flags);
}
