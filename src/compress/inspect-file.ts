/** `summarizeModel` for a file by path. */

import { openOnnx } from '../formats/onnx/open.ts';
import { type InspectOptions, type ModelSummary, summarizeModel } from './inspect.ts';

/** Opens, reads and closes `file`. Errors as `openOnnx`; E_USAGE where a tensor that was asked for does not exist. */
export async function inspectModel(file: string, options: InspectOptions = {}): Promise<ModelSummary> {
  await using model = await openOnnx(file);
  return await summarizeModel(model, options);
}
