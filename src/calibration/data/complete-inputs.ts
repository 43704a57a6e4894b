/**
 * The inputs of a run that no data set holds, made to fit those that it does: masks of ones, positions that rise from the end
 * of the past, segment ids of zeros, an empty key/value cache, a switch that says that the cache is empty, recurrent state of
 * zeros, the size of the picture. Sizes follow from dimensions of the same name in the given inputs, else from their role.
 *
 * Layouts: the exports of transformers.js and optimum (`past_key_values.N.key`, `use_cache_branch`, `num_logits_to_keep`). With
 * an empty cache such a decoder computes every position of the window at once, as the original model does.
 */

import { DTYPES } from '../../core/dtype.ts';
import type { Shape } from '../../core/shape.ts';
import { WhittleError } from '../../errors.ts';
import type { RuntimeTensor, RuntimeValueInfo } from '../../runtime/runtime.ts';
import { type InputHints, NO_HINTS } from './graph-hints.ts';
import { isCache, isSampleRate, isState, roleOf } from './input-shapes.ts';
import { synthesizeValues } from './input-values.ts';
import { makeTensor, tensorValues } from './tensor-values.ts';

/** Whether the value of `input` follows from the others where data does not give it. */
export function isDerived(input: RuntimeValueInfo): boolean {
  const { name, dtype, shape } = input;
  const integer = DTYPES[dtype].kind !== 'float';
  if (isCache(name) || isSampleRate(name)) return true;
  if (isState(name)) return !/encoder|hidden_states/i.test(name);
  if (/mask/i.test(name)) return shape.length <= 2 || /pixel/i.test(name);
  if (/use_cache|cache_branch/i.test(name)) return dtype === 'bool';
  if (/num_logits_to_keep|logits_to_keep/i.test(name)) return integer;
  if (integer && /position|cache_pos|token_type|segment_ids/i.test(name)) return true;
  if (isDecoderTokens(input)) return true;
  return /scale_factor|im_shape|image_shape/i.test(name);
}

export function isDecoderTokens({ name, dtype }: RuntimeValueInfo): boolean {
  return /^decoder_input_ids$/i.test(name) && DTYPES[dtype].kind !== 'float';
}

/** Dimension that counts the rows of a run; 0 where the shape does not tell, undefined for scalars. */
export function batchAxis(input: RuntimeValueInfo, all: readonly RuntimeValueInfo[]): number | undefined {
  if (input.shape.length === 0) return undefined;
  const axis = input.shape.findIndex((_, index) => roleOf(input, index, all) === 'batch');
  return Math.max(axis, 0);
}

/**
 * `given` with every derived input that it lacks.
 * @throws WhittleError E_DATA where an input is missing that does not follow from the others, E_SHAPE where the given ones
 * contradict each other in a dimension of one name.
 */
export function completeInputs(
  inputs: readonly RuntimeValueInfo[],
  given: ReadonlyMap<string, RuntimeTensor>,
  hints: InputHints = NO_HINTS,
): Map<string, RuntimeTensor> {
  const missing = inputs.filter(({ name }) => !given.has(name));
  const needed = missing.filter((input) => !isDerived(input));
  if (needed.length > 0) {
    throw new WhittleError('E_DATA', `the data lacks ${needed.map(({ name }) => name).join(', ')}`, {
      expected: `values for ${inputs
        .filter((input) => !isDerived(input))
        .map(describeInput)
        .join(', ')}`,
      found: [...given.keys()].join(', ') || 'none of the inputs',
    });
  }
  const sizes = bindSizes(inputs, given);
  const shapes = new Map<string, Shape>();
  for (const input of inputs) {
    shapes.set(input.name, given.get(input.name)?.shape ?? shapeOf(input, inputs, sizes));
  }
  const scenario = { shapes, sequence: sizes.sequence, past: sizes.past };
  const values = synthesizeValues(inputs, scenario, hints, 1, given);
  for (const input of missing) {
    // Zero keeps them all, which is what those who compare outputs want.
    if (/logits_to_keep/i.test(input.name)) {
      values.set(input.name, makeTensor(input.dtype, shapes.get(input.name) ?? [], zeros(values, input)));
    }
    if (isDecoderTokens(input)) values.set(input.name, shiftedRight(input, given));
  }
  return values;
}

function zeros(values: ReadonlyMap<string, RuntimeTensor>, { name }: RuntimeValueInfo): Float64Array {
  const tensor = values.get(name);
  return new Float64Array(tensor === undefined ? 0 : tensorValues(tensor).length);
}

/** The encoder's own tokens, each one place later behind token 0: what a sequence model sees that repeats its input. */
function shiftedRight(input: RuntimeValueInfo, given: ReadonlyMap<string, RuntimeTensor>): RuntimeTensor {
  const source = given.get('input_ids');
  if (source === undefined || source.shape.length !== 2) {
    throw new WhittleError('E_DATA', `the data lacks ${input.name}`, {
      tensor: input.name,
      hint: 'Give it, or input_ids of shape batch × sequence, from which it is made.',
    });
  }
  const [, length = 1] = source.shape;
  const tokens = tensorValues(source);
  return makeTensor(
    input.dtype,
    source.shape,
    tokens.map((_, i) => (i % length === 0 ? 0 : tokens[i - 1]!)),
  );
}

interface Sizes {
  readonly bySymbol: ReadonlyMap<string, number>;
  readonly batch: number;
  readonly sequence: number;
  readonly past: number;
}

function bindSizes(inputs: readonly RuntimeValueInfo[], given: ReadonlyMap<string, RuntimeTensor>): Sizes {
  const bySymbol = new Map<string, number>();
  const boundBy = new Map<string, string>();
  const roles = new Map<string, number>();
  for (const input of inputs) {
    const shape = given.get(input.name)?.shape;
    shape?.forEach((size, index) => {
      const dim = input.shape[index];
      const role = roleOf(input, index, inputs);
      if (!roles.has(role)) roles.set(role, size);
      if (typeof dim !== 'string') return;
      const known = bySymbol.get(dim);
      if (known !== undefined && known !== size) {
        throw new WhittleError('E_SHAPE', `inputs disagree about the size of ${dim}`, {
          tensor: input.name,
          expected: `${known}, as ${boundBy.get(dim)} has`,
          found: `${size} in dimension ${index}`,
        });
      }
      bySymbol.set(dim, size);
      boundBy.set(dim, input.name);
    });
  }
  return {
    bySymbol,
    batch: roles.get('batch') ?? 1,
    sequence: roles.get('sequence') ?? 1,
    past: roles.get('past') ?? 0,
  };
}

function shapeOf(input: RuntimeValueInfo, inputs: readonly RuntimeValueInfo[], sizes: Sizes): Shape {
  return input.shape.map((dim, index) => {
    if (typeof dim === 'number') return dim;
    const known = dim === null ? undefined : sizes.bySymbol.get(dim);
    if (known !== undefined && !isCache(input.name)) return known;
    const role = roleOf(input, index, inputs);
    if (role === 'batch') return known ?? sizes.batch;
    if (isCache(input.name)) return known !== undefined && role === 'other' ? known : 0;
    if (role === 'total') return sizes.past + sizes.sequence;
    if (role === 'sequence' || /mask/i.test(input.name)) return sizes.sequence;
    return 1;
  });
}

/** "input_ids (int64, batch × sequence)" */
export function describeInput({ name, dtype, shape }: RuntimeValueInfo): string {
  return `${name} (${dtype}, ${formatDims(shape)})`;
}

export function formatDims(shape: RuntimeValueInfo['shape']): string {
  return shape.length === 0 ? 'scalar' : shape.map((dim) => dim ?? '?').join('×');
}
