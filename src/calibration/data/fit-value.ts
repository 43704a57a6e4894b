/**
 * A value from a data file, checked against the input that it is for: converted to the input's type where nothing is lost,
 * of the right shape, without NaN, and with token ids inside the vocabulary. Nothing is ever clipped or wrapped silently.
 */

import { byteLength, DTYPES, type DType } from '../../core/dtype.ts';
import { elementCount, formatShape, type Shape } from '../../core/shape.ts';
import { WhittleError } from '../../errors.ts';
import type { RuntimeTensor, RuntimeValueInfo } from '../../runtime/runtime.ts';
import { batchAxis, describeInput, formatDims } from './complete-inputs.ts';
import { makeTensor, tensorValues } from './tensor-values.ts';

export interface FitContext {
  readonly inputs: readonly RuntimeValueInfo[];
  /** Input → ids must stay below. */
  readonly bounds: ReadonlyMap<string, number>;
  /** Of the value, for messages: "row 17". */
  readonly where: string;
  /** The value is a part of a batch: its rows are counted when the batch is whole (`checkBatch`). */
  readonly part?: boolean | undefined;
}

/**
 * `tensor` as a value for `info`. A row, which lacks the dimension of the batch, gets it with size 1.
 * @throws WhittleError E_SHAPE, E_DTYPE, E_NONFINITE, E_DATA with the input's name and `where`.
 */
export function fitValue(tensor: RuntimeTensor, info: RuntimeValueInfo, context: FitContext): RuntimeTensor {
  const fail = (
    code: 'E_SHAPE' | 'E_DTYPE',
    message: string,
    expected: string,
    found: string,
  ): WhittleError =>
    new WhittleError(code, `${message} (${context.where})`, { tensor: info.name, expected, found });
  const count = elementCount(tensor.shape);
  const wants = `${info.dtype} of ${formatDims(info.shape)}`;
  if (count === undefined || byteLength(tensor.dtype, count) !== tensor.data.length) {
    throw fail(
      'E_SHAPE',
      'the value does not fill its shape',
      formatShape(tensor.shape),
      `${tensor.data.length} bytes of ${tensor.dtype}`,
    );
  }
  const shape = withBatch(tensor.shape, info, context.inputs);
  const rowsAxis = context.part ? batchAxis(info, context.inputs) : undefined;
  if (!agrees(shape, info, rowsAxis)) {
    throw fail(
      'E_SHAPE',
      `${info.name} wants another shape`,
      wants,
      `${tensor.dtype} of ${formatShape(tensor.shape)}`,
    );
  }
  if (count === 0 && shape.some((size, index) => size === 0 && batchAxis(info, context.inputs) === index)) {
    throw fail('E_SHAPE', `${info.name} has no rows`, wants, formatShape(shape));
  }
  const from = DTYPES[tensor.dtype].kind;
  const into = DTYPES[info.dtype].kind;
  if (from === 'string' || from === 'complex' || into === 'string' || into === 'complex') {
    throw fail('E_DTYPE', `${info.name} cannot be made of this type`, wants, tensor.dtype);
  }
  if (into === 'float') {
    const values = tensor.dtype === 'f32' ? f32View(tensor.data) : tensorValues(tensor);
    checkFinite(values, shape, info, context);
    return tensor.dtype === info.dtype ? { ...tensor, shape } : makeTensor(info.dtype, shape, values);
  }
  const values = tensorValues({ ...tensor, shape });
  checkIntegers(values, shape, info, context);
  return tensor.dtype === info.dtype ? { ...tensor, shape } : makeTensor(info.dtype, shape, values);
}

function agrees(shape: Shape, info: RuntimeValueInfo, rowsAxis: number | undefined): boolean {
  return (
    shape.length === info.shape.length &&
    info.shape.every((dim, index) => typeof dim !== 'number' || dim === shape[index] || index === rowsAxis)
  );
}

/** @throws WhittleError E_SHAPE where a whole batch is not what the model takes */
export function checkBatch(value: RuntimeTensor, info: RuntimeValueInfo): void {
  if (agrees(value.shape, info, undefined)) return;
  throw new WhittleError('E_SHAPE', `${info.name} wants another number of rows`, {
    tensor: info.name,
    expected: describeInput(info),
    found: formatShape(value.shape),
  });
}

function withBatch(shape: Shape, info: RuntimeValueInfo, inputs: readonly RuntimeValueInfo[]): Shape {
  const axis = batchAxis(info, inputs);
  return axis === undefined || shape.length !== info.shape.length - 1 ? shape : shape.toSpliced(axis, 0, 1);
}

function f32View(data: Uint8Array): Float32Array {
  const bytes = data.byteOffset % 4 === 0 ? data : data.slice();
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}

/** NaN is never meant; infinities are in additive masks. */
function checkFinite(
  values: ArrayLike<number>,
  shape: Shape,
  info: RuntimeValueInfo,
  { where }: FitContext,
): void {
  const infinitiesMeant = /mask|bias/i.test(info.name);
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (Number.isFinite(value) || (infinitiesMeant && !Number.isNaN(value))) continue;
    throw new WhittleError('E_NONFINITE', `the data holds ${value} for ${info.name} (${where})`, {
      tensor: info.name,
      expected: 'finite numbers',
      found: `${value} at [${indexOf(i, shape)}]`,
      hint: 'Leave this row out, or mend what wrote it.',
    });
  }
}

function checkIntegers(
  values: Float64Array,
  shape: Shape,
  info: RuntimeValueInfo,
  { bounds, where }: FitContext,
): void {
  const [lowest, highest] = rangeOf(info.dtype);
  const vocabulary = bounds.get(info.name);
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (!Number.isInteger(value) || value < lowest || value > highest) {
      throw new WhittleError('E_DTYPE', `${info.name} wants whole numbers (${where})`, {
        tensor: info.name,
        expected: `${describeInput(info)}, from ${lowest} to ${highest}`,
        found: `${value} at [${indexOf(i, shape)}]`,
      });
    }
    // A table may be read from its end: ONNX counts negative indices from there, but no data set means that.
    if (vocabulary !== undefined && (value < 0 || value >= vocabulary)) {
      throw new WhittleError('E_DATA', `${info.name} holds an id outside the vocabulary (${where})`, {
        tensor: info.name,
        expected: `ids from 0 to ${vocabulary - 1}`,
        found: `${value} at [${indexOf(i, shape)}]`,
        hint: 'Use the tokenizer that the model was trained with.',
      });
    }
  }
}

function rangeOf(dtype: DType): readonly [number, number] {
  const { bits, kind } = DTYPES[dtype];
  if (kind === 'bool') return [0, 1];
  const unsigned = kind === 'uint';
  // Beyond 2^53 doubles have no fractions to lose, and 64 bits hold them.
  return unsigned ? [0, 2 ** bits - 1] : [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1];
}

function indexOf(flat: number, shape: Shape): string {
  const index: number[] = [];
  for (const size of [...shape].reverse()) {
    index.unshift(flat % size);
    flat = Math.floor(flat / size);
  }
  return index.join(', ');
}
