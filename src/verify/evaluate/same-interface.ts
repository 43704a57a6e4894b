/**
 * Whether two models can be run on the same inputs and their outputs be compared, and the inputs of one run as a model wants
 * them: a result in half precision takes the float inputs of its original as f16.
 */

import type { Sample } from '../../calibration/data/dataset.ts';
import { makeTensor, tensorValues } from '../../calibration/data/tensor-values.ts';
import { WhittleError } from '../../errors.ts';
import type { RuntimeSession, RuntimeTensor, RuntimeValueInfo } from '../../runtime/runtime.ts';
import { describeValue, isFloat } from './score-rows.ts';

type Interface = Pick<RuntimeSession, 'inputs' | 'outputs'> & { readonly file: string };

/**
 * @returns Outputs that both have, and what differs without being in the way.
 * @throws WhittleError E_USAGE that says how they differ: an input of the result that the original has not or has otherwise, no
 *   output in common
 */
export function assertComparable(
  result: Interface,
  original: Interface,
): { outputs: string[]; notes: string[] } {
  const notes: string[] = [];
  const known = new Map(original.inputs.map((input) => [input.name, input]));
  const differing = result.inputs.filter((input) => {
    const other = known.get(input.name);
    return other === undefined || !fits(input, other);
  });
  if (differing.length > 0) {
    const others = differing.flatMap(({ name }) => known.get(name) ?? []);
    throw new WhittleError('E_USAGE', 'the two models do not take the same inputs', {
      file: result.file,
      expected: describe(others.length > 0 ? others : original.inputs),
      found: describe(differing),
      hint: 'Evaluate a model against the one that it was made from.',
    });
  }
  const taken = new Set(result.inputs.map(({ name }) => name));
  const unused = original.inputs.filter(({ name }) => !taken.has(name));
  if (unused.length > 0)
    notes.push(`Inputs of the original that the result does not have: ${describe(unused)}.`);
  const outputs = new Map(result.outputs.map((output) => [output.name, output]));
  const both = original.outputs.filter(({ name }) => outputs.has(name));
  if (both.length === 0) {
    throw new WhittleError('E_USAGE', 'the two models have no output in common', {
      file: result.file,
      expected: describe(original.outputs),
      found: describe(result.outputs),
      hint: 'Evaluate a model against the one that it was made from.',
    });
  }
  const others = both.filter((output) => !fits(output, outputs.get(output.name) ?? output));
  if (others.length > 0) {
    throw new WhittleError('E_USAGE', 'the two models do not give the same outputs', {
      file: result.file,
      expected: describe(others),
      found: describe(others.flatMap(({ name }) => outputs.get(name) ?? [])),
      hint: 'Evaluate a model against the one that it was made from.',
    });
  }
  const gone = original.outputs.filter(({ name }) => !outputs.has(name));
  if (gone.length > 0)
    notes.push(`Outputs of the original that the result does not have: ${describe(gone)}.`);
  return { outputs: both.map(({ name }) => name), notes };
}

function describe(values: readonly RuntimeValueInfo[]): string {
  const shown = values.slice(0, 6).map(describeValue).join(', ');
  return values.length > 6 ? `${shown} and ${values.length - 6} more` : shown;
}

/** Same rank, same fixed dimensions, same kind of numbers. */
function fits(a: RuntimeValueInfo, b: RuntimeValueInfo): boolean {
  if (a.dtype !== b.dtype && !(isFloat(a.dtype) && isFloat(b.dtype))) return false;
  return (
    a.shape.length === b.shape.length &&
    a.shape.every((dim, i) => typeof dim !== 'number' || typeof b.shape[i] !== 'number' || dim === b.shape[i])
  );
}

/** @throws WhittleError E_USAGE where the sample lacks an input or has it in another type */
export function feedsOf(
  inputs: readonly RuntimeValueInfo[],
  sample: Sample,
  file: string,
): Map<string, RuntimeTensor> {
  const feeds = new Map<string, RuntimeTensor>();
  for (const info of inputs) {
    const value = sample.inputs.get(info.name);
    const convertible = value !== undefined && isFloat(value.dtype) && isFloat(info.dtype);
    if (value === undefined || (value.dtype !== info.dtype && !convertible)) {
      throw new WhittleError('E_USAGE', `the data has no fitting values for the input ${info.name}`, {
        file,
        tensor: info.name,
        expected: describeValue(info),
        found:
          value === undefined
            ? [...sample.inputs.keys()].join(', ') || 'no inputs'
            : describeValue({ name: info.name, ...value }),
        hint: 'Name the values in the data as the model names its inputs.',
      });
    }
    feeds.set(
      info.name,
      value.dtype === info.dtype ? value : makeTensor(info.dtype, value.shape, tensorValues(value)),
    );
  }
  return feeds;
}
