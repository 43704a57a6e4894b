/** What is said of one output, planned or written. */

import type { ExecutionReport } from '../../execution/report.ts';
import type { PlannedGguf } from '../../planning/gguf/options.ts';
import type { SolvedMode, WeightError } from '../options.ts';
import { overallSqnr } from '../overall-error.ts';
import type { GgufResult, GgufTensorResult } from './options.ts';
import { valueCount } from './values.ts';

/**
 * @param pathOf - Where a file of the plan will be.
 * @param solution - Of weights whose codes an algorithm chose: errors by name.
 */
export function describeOutput(
  plan: PlannedGguf,
  written: ExecutionReport['sets'][number] | undefined,
  pathOf: (name: string) => string,
  {
    solved,
    errors: known,
  }: {
    readonly solved?: SolvedMode | undefined;
    readonly errors?: ReadonlyMap<string, WeightError> | undefined;
  } = {},
): GgufResult {
  const errors = new Map(written?.tensors.map((report) => [report.task, report]));
  const tensors = plan.tensors.map((tensor): GgufTensorResult => {
    const error =
      known?.get(tensor.name) ?? (tensor.task === undefined ? undefined : errors.get(tensor.task));
    return error?.sqnr === undefined ? tensor : { ...tensor, sqnr: error.sqnr, maxAbs: error.maxAbs };
  });
  const weights = plan.tensors.reduce((sum, tensor) => sum + valueCount(tensor), 0);
  const tensorBytes = plan.tensors.reduce((sum, { toBytes }) => sum + toBytes, 0);
  // Of what was converted: weights that are copied lose nothing, and would hide what others lose.
  const converted = new Set(plan.tensors.map(({ task }) => task));
  const measured = written?.tensors.filter(({ task }) => converted.has(task)) ?? [];
  // Weights that were solved have errors in any case; alone they would not stand for the whole.
  const whole =
    written !== undefined && (measured.length === 0 || measured.some(({ sqnr }) => sqnr !== undefined));
  const weightSqnr = whole ? overallSqnr([...measured, ...(known?.values() ?? [])]) : undefined;
  return {
    type: plan.name,
    fileType: plan.fileType,
    files: written?.files ?? plan.files.map(({ name, size }) => ({ path: pathOf(name), bytes: size })),
    bytes: plan.files.reduce((sum, { size }) => sum + size, 0),
    tensorBytes,
    bitsPerWeight: perWeight(tensorBytes, weights),
    tensors,
    ...(weightSqnr !== undefined && { weightSqnr }),
    wantsImatrix: plan.wantsImatrix,
    ...(solved !== undefined && { solved }),
    notes: plan.notes,
  };
}

export function perWeight(bytes: number, weights: number): number {
  return weights === 0 ? 0 : (bytes * 8) / weights;
}
