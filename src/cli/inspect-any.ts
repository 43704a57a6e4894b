/** `whittle inspect`: which format the model is in decides what there is to see. */

import { modelFormat } from '../compress/model-format.ts';
import { WhittleError } from '../errors.ts';
import type { Context } from './context.ts';
import type { InspectFlags } from './inspect.ts';

export async function runInspectAny(context: Context, file: string, flags: InspectFlags): Promise<undefined> {
  if (flags.tensor !== undefined && !flags.stats) {
    throw new WhittleError('E_USAGE', '--tensor shows statistics, which --no-stats leaves out');
  }
  if ((await modelFormat(file)) === 'onnx')
    return (await import('./inspect.ts')).runInspect(context, file, flags);
  return (await import('./gguf/inspect.ts')).runInspectGguf(context, file, flags);
}
