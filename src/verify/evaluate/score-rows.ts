/**
 * Scores over classes or tokens, row by row: which output of a model holds them, whether its numbers are logits or probabilities
 * already, which rows count, and what each row should have said. A row is the last axis of the output.
 *
 *   [batch, classes] with labels       one row a label                      accuracy
 *   [batch, tokens, vocabulary]        the next token of `input_ids`        perplexity
 *
 * Where `attention_mask` is zero a token is padding: its row does not count, and nothing is expected to foretell it.
 */

import type { Sample } from '../../calibration/data/dataset.ts';
import { tensorValues } from '../../calibration/data/tensor-values.ts';
import { DTYPES, type DType } from '../../core/dtype.ts';
import { formatShape, type Shape } from '../../core/shape.ts';
import { WhittleError } from '../../errors.ts';
import type { RuntimeValueInfo } from '../../runtime/runtime.ts';

export type ScoreKind = 'logits' | 'probabilities';

/** Outputs that are states or features: the largest of their numbers is no answer. */
const NO_SCORES = /hidden|embed|feature|present|past|cache|state|pooled|key|value|box|mask/i;
const SCORES = /logit|score|prob|softmax|class|label/i;

/**
 * The output whose last axis holds scores: the one that is asked for, else that which is named so, else the only output of
 * rank 2 or 3 whose name does not speak against it. Undefined where there is none.
 * @throws WhittleError E_USAGE where the wanted output is not there
 */
export function findScores(
  outputs: readonly RuntimeValueInfo[],
  wanted?: string | undefined,
): string | undefined {
  if (wanted !== undefined) {
    if (outputs.some(({ name }) => name === wanted)) return wanted;
    throw new WhittleError('E_USAGE', `the model has no output named ${wanted}`, {
      expected: `one of ${outputs.map(({ name }) => name).join(', ')}`,
    });
  }
  const fitting = outputs.filter(
    ({ dtype, shape }) => isFloat(dtype) && (shape.length === 2 || shape.length === 3) && shape.at(-1) !== 1,
  );
  const named = fitting.find(({ name }) => SCORES.test(name));
  if (named !== undefined) return named.name;
  const rest = fitting.filter(({ name }) => !NO_SCORES.test(name));
  return rest.length === 1 ? rest[0]?.name : undefined;
}

export function isFloat(dtype: DType): boolean {
  return DTYPES[dtype].kind === 'float';
}

/** Rows that sum to 1 without a negative number are probabilities. */
export function scoreKind(values: Float64Array, width: number): ScoreKind {
  for (let start = 0; start < values.length; start += width) {
    let sum = 0;
    for (let i = start; i < start + width; i++) {
      if (!(values[i]! >= 0)) return 'logits';
      sum += values[i]!;
    }
    if (Math.abs(sum - 1) > 0.01) return 'logits';
  }
  return 'probabilities';
}

export interface ScoreRows {
  readonly count: number;
  readonly width: number;
  /** What each row should say; −1 where nothing is known, −2 where the row does not count. */
  readonly targets: Int32Array;
  readonly task: 'labels' | 'next-token' | undefined;
}

export const UNKNOWN = -1;
export const SKIPPED = -2;

/**
 * Rows of an output of one sample.
 * @throws WhittleError E_SHAPE where labels and rows differ in number, E_USAGE where a label is no class
 */
export function scoreRows(sample: Sample, output: string, shape: Shape): ScoreRows {
  const width = shape.at(-1) ?? 1;
  const count = shape.slice(0, -1).reduce((product, dim) => product * dim, 1);
  const targets = new Int32Array(count).fill(UNKNOWN);
  if (sample.labels !== undefined && shape.length === 2) {
    setLabels(sample.labels, output, width, targets);
    return { count, width, targets, task: 'labels' };
  }
  const [batch = 1, length = 1] = shape;
  const ids = sample.inputs.get('input_ids');
  if (shape.length !== 3 || ids === undefined || ids.shape.join() !== `${batch},${length}`) {
    return { count, width, targets, task: undefined };
  }
  const tokens = tensorValues(ids);
  const mask = maskOf(sample, batch, length);
  const language = sample.labels === undefined && tokens.every((id) => id >= 0 && id < width);
  for (let row = 0; row < batch; row++) {
    for (let column = 0; column < length; column++) {
      const at = row * length + column;
      const next = column + 1 < length && mask?.[at + 1] !== 0;
      if (mask?.[at] === 0) targets[at] = SKIPPED;
      else if (language) targets[at] = next ? tokens[at + 1]! : SKIPPED;
    }
  }
  return { count, width, targets, task: language ? 'next-token' : undefined };
}

function setLabels(labels: readonly number[], output: string, classes: number, targets: Int32Array): void {
  if (labels.length !== targets.length) {
    throw new WhittleError('E_SHAPE', 'the data has not one label for each row of the output', {
      tensor: output,
      expected: `${targets.length} labels`,
      found: `${labels.length}`,
    });
  }
  for (const [row, label] of labels.entries()) {
    if (!Number.isInteger(label) || label < 0 || label >= classes) {
      throw new WhittleError('E_USAGE', 'a label is none of the classes of the model', {
        tensor: output,
        expected: `a whole number from 0 to ${classes - 1}`,
        found: String(label),
        hint: 'Number the classes as the model does.',
      });
    }
    targets[row] = label;
  }
}

/** The mask over the tokens of this run: the last columns, since the first may be those of a past. */
function maskOf(sample: Sample, batch: number, length: number): Float64Array | undefined {
  const mask = sample.inputs.get('attention_mask');
  const columns = mask?.shape[1] ?? 0;
  if (mask === undefined || mask.shape.length !== 2 || mask.shape[0] !== batch || columns < length) {
    return undefined;
  }
  const all = tensorValues(mask);
  const values = new Float64Array(batch * length);
  for (let row = 0; row < batch; row++) {
    const start = row * columns + columns - length;
    values.set(all.subarray(start, start + length), row * length);
  }
  return values;
}

/**
 * Natural logarithms of the probabilities of one row, into `into`, in f64 and without overflow; gives the place of the
 * largest score. −∞ is a score (a masked class).
 * @throws WhittleError E_NONFINITE for NaN, +∞, and a row without any finite score
 */
export function logProbabilities(
  values: Float64Array,
  start: number,
  into: Float64Array,
  kind: ScoreKind,
): number {
  const width = into.length;
  let most = Number.NEGATIVE_INFINITY;
  let top = 0;
  for (let i = 0; i < width; i++) {
    const value = values[start + i]!;
    if (value > most) {
      most = value;
      top = i;
    } else if (Number.isNaN(value)) throw notFinite('NaN', start / width);
  }
  if (!Number.isFinite(most)) throw notFinite(String(most), start / width);
  if (kind === 'probabilities') {
    for (let i = 0; i < width; i++) into[i] = Math.log(Math.max(0, values[start + i]!));
    return top;
  }
  let sum = 0;
  for (let i = 0; i < width; i++) sum += Math.exp(values[start + i]! - most);
  const norm = Math.log(sum);
  for (let i = 0; i < width; i++) into[i] = values[start + i]! - most - norm;
  return top;
}

function notFinite(found: string, row: number): WhittleError {
  return new WhittleError('E_NONFINITE', 'the scores of a row are not finite', {
    expected: 'numbers',
    found: `${found} in row ${row}`,
    hint: 'Values overflow in this model: keep the operators in question in float32.',
  });
}

/** "scores f32 4×10" for messages. */
export function describeValue({ name, dtype, shape }: RuntimeValueInfo): string {
  return `${name} ${dtype} ${shape.length === 0 ? 'scalar' : formatDims(shape)}`;
}

function formatDims(shape: RuntimeValueInfo['shape']): string {
  return shape.every((dim) => typeof dim === 'number')
    ? formatShape(shape.filter((dim) => typeof dim === 'number'))
    : shape.map((dim) => dim ?? '?').join('×');
}
