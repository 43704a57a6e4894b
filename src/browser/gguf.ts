/** GGUF in a page: what `quantizeGguf` of `whittle` does, from Blobs and into Blobs or sinks, in the thread that calls it. */

import { describeOutput } from '../compress/gguf/describe.ts';
import type { GgufResult, QuantizeGgufOptions } from '../compress/gguf/options.ts';
import { typedName } from '../compress/gguf/output-name.ts';
import { canonicalTypes, planType } from '../compress/gguf/plan-types.ts';
import { turn } from '../core/turn.ts';
import { WhittleError } from '../errors.ts';
import type { GgufModel } from '../formats/gguf/gguf.ts';
import type { Imatrix } from '../formats/gguf/imatrix-types.ts';
import type { PlannedGguf } from '../planning/gguf/options.ts';
import { bareName, nameModel } from './inputs.ts';
import { type OutputFileResult, type OutputOptions, writeOutputs } from './outputs.ts';

export interface QuantizeOptions
  extends OutputOptions,
    Omit<QuantizeGgufOptions, 'imatrix' | 'output' | 'threads' | 'force' | 'resume' | 'journal' | 'sha256'> {
  readonly imatrix?: Imatrix | undefined;
  /** Name of the output, for one type. Default: `<name>-<TYPE>.gguf`. */
  readonly fileName?: string | undefined;
}

export interface QuantizeResult extends Omit<GgufResult, 'files'> {
  readonly files: readonly OutputFileResult[];
}

/**
 * Writes the same bytes as `whittle quantize`, one output for each type.
 * @throws WhittleError E_USAGE, E_REQUANT, E_IMATRIX, E_UNSUPPORTED from planning; whatever reading and the sinks throw; E_ABORTED
 */
export async function quantizeGguf(
  model: GgufModel,
  { sink, fileName, imatrix, ...options }: QuantizeOptions,
): Promise<QuantizeResult[]> {
  const types = canonicalTypes(options.to);
  if (fileName !== undefined && types.length > 1) {
    throw new WhittleError('E_USAGE', 'one name cannot serve several types', { found: types.join(', ') });
  }
  const plans: PlannedGguf[] = [];
  for (const type of types) {
    await turn();
    if (options.signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped on request');
    const name = fileName ?? typedName(bareName(model.file, 'model.gguf'), type);
    plans.push(await planType(model, type, name, imatrix, options));
  }
  const { measure, signal, onProgress } = options;
  const written =
    options.dryRun === true
      ? undefined
      : await writeOutputs(plans, { sink, measure, signal, onProgress }).catch((error: unknown) => {
          throw nameModel(error, model.file);
        });
  return plans.map((plan, index) => ({
    ...describeOutput(plan, written?.report.sets[index], (name) => name),
    files: written?.files[index] ?? plan.files.map(({ name, size }) => ({ name, bytes: size })),
  }));
}
