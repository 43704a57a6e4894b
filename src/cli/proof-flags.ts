/** The flags about running models, which quantize and compare share. */

import type { VerifyOptions } from '../compress/options.ts';

export interface ProofFlags {
  readonly runtime: 'onnxruntime-node' | 'onnxruntime-web';
  readonly shape?: Readonly<Record<string, readonly number[]>> | undefined;
  readonly input?: Readonly<Record<string, string>> | undefined;
  readonly runs?: number | undefined;
  readonly minCosine?: number | undefined;
}

/**
 * Undefined where no flag was given: the library then runs the models where it can, and says so where it cannot. Options insist.
 */
export function proofOptions(flags: ProofFlags): VerifyOptions | undefined {
  const { runtime, runs, shape, input, minCosine } = flags;
  const given = runs ?? shape ?? input ?? minCosine;
  if (given === undefined && runtime === 'onnxruntime-node') return undefined;
  return { runtime, runs, shapes: shape, inputs: input };
}
