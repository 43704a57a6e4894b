/** `summarizeGguf` for a file by path. */

import { openGguf } from '../../formats/gguf/open.ts';
import { type GgufSummary, type InspectGgufOptions, summarizeGguf } from './inspect.ts';

/** Opens, reads and closes `file`. Errors as `openGguf`; E_USAGE where a tensor that was asked for does not exist. */
export async function inspectGguf(file: string, options: InspectGgufOptions = {}): Promise<GgufSummary> {
  await using model = await openGguf(file);
  return await summarizeGguf(model, options);
}
