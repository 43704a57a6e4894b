/** Which modes suit a model, with the exact size of what each would write: one dry run over all of them. */

import { isWhittleError } from '../errors.ts';
import { MODE_NAMES } from '../planning/presets.ts';
import type { ModeSuitability } from '../report/model-report.ts';

/** A mode that does not suit says why. Only an abort throws: whatever else stops the planning is every mode's reason. */
export async function suitableModes(file: string, signal: AbortSignal): Promise<ModeSuitability[]> {
  const { compress } = await import('../compress.ts');
  try {
    const { results, skipped } = await compress(file, { to: MODE_NAMES, dryRun: true, force: true, signal });
    return MODE_NAMES.map((mode) => {
      const result = results.find((candidate) => candidate.mode === mode);
      return result === undefined
        ? { mode, suits: false, reason: skipped.find((candidate) => candidate.mode === mode)?.reason }
        : { mode, suits: true, bytes: result.bytes };
    });
  } catch (error) {
    if (!isWhittleError(error) || error.code === 'E_ABORTED') throw error;
    return MODE_NAMES.map((mode) => ({ mode, suits: false, reason: error.message }));
  }
}
