/** What is said of one output, planned or written. */

import type { ExecutionReport } from '../../execution/report.ts';
import type { PlannedGguf } from '../../planning/gguf/options.ts';
import { overallSqnr } from '../overall-error.ts';
import type { GgufResult, GgufTensorResult } from './options.ts';
import { valueCount } from './values.ts';

/** @param pathOf Where a file of the plan will be. */
export function describeOutput(
  plan: PlannedGguf,
  written: ExecutionReport['sets'][number] | undefined,
  pathOf: (name: string) => string,
): GgufResult {
  const errors = new Map(written?.tensors.map((report) => [report.task, report]));
  const tensors = plan.tensors.map((tensor): GgufTensorResult => {
    const error = tensor.task === undefined ? undefined : errors.get(tensor.task);
    return error?.sqnr === undefined ? tensor : { ...tensor, sqnr: error.sqnr, maxAbs: error.maxAbs };
  });
  const weights = plan.tensors.reduce((sum, tensor) => sum + valueCount(tensor), 0);
  const tensorBytes = plan.tensors.reduce((sum, { toBytes }) => sum + toBytes, 0);
  // Of what was converted: weights that are copied lose nothing, and would hide what others lose.
  const converted = new Set(plan.tensors.map(({ task }) => task));
  const weightSqnr = written && overallSqnr(written.tensors.filter(({ task }) => converted.has(task)));
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
    notes: plan.notes,
  };
}

export function perWeight(bytes: number, weights: number): number {
  return weights === 0 ? 0 : (bytes * 8) / weights;
}
