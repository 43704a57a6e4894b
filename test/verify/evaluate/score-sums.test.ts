/** What scores are worth: figures against closed forms, labels and tokens that do not fit, numbers that are none. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Dataset, Sample } from '../../../src/calibration/data/dataset.ts';
import { makeTensor } from '../../../src/calibration/data/tensor-values.ts';
import { WhittleError } from '../../../src/errors.ts';
import type { RuntimeTensor, RuntimeValueInfo } from '../../../src/runtime/runtime.ts';
import { addUp } from '../../../src/verify/evaluate/on-data.ts';
import { assertComparable, feedsOf } from '../../../src/verify/evaluate/same-interface.ts';
import { findScores, logProbabilities, scoreRows } from '../../../src/verify/evaluate/score-rows.ts';
import { createScoreSums, klDivergence } from '../../../src/verify/evaluate/score-sums.ts';

function thrown(run: () => unknown): Partial<Pick<WhittleError, 'code' | 'details'>> {
  try {
    run();
  } catch (error) {
    if (error instanceof WhittleError) return error;
  }
  return {};
}

const info = (name: string, shape: RuntimeValueInfo['shape'], dtype: 'f32' | 'int64' = 'f32') => ({
  name,
  dtype,
  shape,
});

function logs(values: readonly number[]): Float64Array {
  const into = new Float64Array(values.length);
  logProbabilities(Float64Array.from(values), 0, into, 'logits');
  return into;
}

describe('distributions', () => {
  test('log softmax sums to one for scores of any size, and does not overflow', () => {
    const scores = fc.array(fc.double({ min: -1e4, max: 1e4, noNaN: true }), { minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(scores, (values) => {
        const sum = logs(values).reduce((total, log) => total + Math.exp(log), 0);
        expect(sum).toBeCloseTo(1, 10);
      }),
    );
    expect([...logs([1e300, 1e300])]).toEqual(
      [Math.log(0.5), Math.log(0.5)].map((x) => expect.closeTo(x, 12)),
    );
  });

  test('KL divergence is zero for the same scores, positive for others, infinite where a class is excluded', () => {
    const row = fc.array(fc.double({ min: -20, max: 20, noNaN: true }), { minLength: 4, maxLength: 4 });
    fc.assert(
      fc.property(row, row, (a, b) => {
        expect(klDivergence(logs(a), logs(a))).toBe(0);
        expect(klDivergence(logs(a), logs(b))).toBeGreaterThanOrEqual(0);
      }),
    );
    // p = (1/2, 1/2), q = (1/4, 3/4): ½·ln 2 + ½·ln ⅔
    const p = logs([0, 0]);
    const q = logs([0, Math.log(3)]);
    expect(klDivergence(p, q)).toBeCloseTo(0.5 * Math.log(2) + 0.5 * Math.log(2 / 3), 14);
    expect(klDivergence(p, logs([0, Number.NEGATIVE_INFINITY]))).toBe(Number.POSITIVE_INFINITY);
    expect(klDivergence(logs([0, Number.NEGATIVE_INFINITY]), p)).toBeCloseTo(Math.log(2), 14);
  });

  test.each([
    ['NaN', [0, Number.NaN]],
    ['Infinity', [0, Number.POSITIVE_INFINITY]],
    ['-Infinity', [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY]],
  ])('a row with %s is E_NONFINITE', (found, values) => {
    const error = thrown(() => logs(values));
    expect(error.code).toBe('E_NONFINITE');
    expect(error.details?.found).toContain(found);
  });
});

describe('rows and targets', () => {
  const ids = (values: readonly number[], shape: readonly number[]): RuntimeTensor =>
    makeTensor('int64', [...shape], values);

  test('accuracy counts labels that rank first', () => {
    const sums = createScoreSums('logits');
    const sample = { inputs: new Map(), labels: [0, 1, 1] };
    sums.add(scoreRows(sample, 'logits', [3, 2]), Float64Array.of(2, 1, 2, 1, 1, 2));
    expect(sums.result().result).toMatchObject({ accuracy: 2 / 3, scored: 3 });
  });

  test('perplexity of a model that knows nothing is the size of the vocabulary; the last token of a window foretells nothing', () => {
    const sums = createScoreSums('logits');
    const sample = { inputs: new Map([['input_ids', ids([3, 1, 4, 1, 5, 0], [2, 3])]]) };
    sums.add(scoreRows(sample, 'logits', [2, 3, 8]), new Float64Array(48), new Float64Array(48));
    const { result, distance } = sums.result();
    expect(result).toMatchObject({ scored: 4 });
    expect(result?.perplexity).toBeCloseTo(8, 12);
    expect(distance).toMatchObject({ rows: 4, klDivergence: 0, agreement: 1 });
  });

  test('padding is not scored, at either end', () => {
    const mask = ids([0, 1, 1, 1, 1, 0], [2, 3]);
    const inputs = new Map([
      ['input_ids', ids([3, 1, 4, 1, 5, 0], [2, 3])],
      ['attention_mask', mask],
    ]);
    expect([...scoreRows({ inputs }, 'logits', [2, 3, 8]).targets]).toEqual([-2, 4, -2, 5, -2, -2]);
  });

  test('a model that repeats its input has no perplexity, and the result says why', () => {
    const sums = createScoreSums('logits');
    const sample = { inputs: new Map([['input_ids', ids([0, 1, 2, 3, 0, 2], [1, 6])]]) };
    const values = new Float64Array(24);
    for (const [at, id] of [0, 1, 2, 3, 0, 2].entries()) values[at * 4 + id] = 9;
    sums.add(scoreRows(sample, 'logits', [1, 6, 4]), values);
    expect(sums.result().result).toBeUndefined();
    expect(sums.result().notes[0]).toContain('masked language model');
  });

  test('labels that are no class, or of another number, are refused with what is expected', () => {
    expect(thrown(() => scoreRows({ inputs: new Map(), labels: [4] }, 'y', [1, 4]))).toMatchObject({
      code: 'E_USAGE',
      details: { expected: 'a whole number from 0 to 3', found: '4' },
    });
    expect(thrown(() => scoreRows({ inputs: new Map(), labels: [1] }, 'y', [2, 4])).code).toBe('E_SHAPE');
  });

  test('the output with scores is found by name, by being alone, or not at all', () => {
    const present = info('present.0.key', [1, 2, 4]);
    expect(findScores([present, info('logits', [1, 8])])).toBe('logits');
    expect(findScores([present, info('y', [1, 8])])).toBe('y');
    expect(findScores([info('last_hidden_state', [1, 2, 4])])).toBeUndefined();
    expect(findScores([info('a', [1, 4]), info('b', [1, 4])])).toBeUndefined();
    expect(findScores([info('map', [1, 1, 4, 4])])).toBeUndefined();
    expect(thrown(() => findScores([present], 'nope')).code).toBe('E_USAGE');
  });
});

describe('two models', () => {
  const side = (file: string, inputs: RuntimeValueInfo[], outputs: RuntimeValueInfo[]) => ({
    file,
    inputs,
    outputs,
  });

  test('inputs that differ are told with both types and shapes', () => {
    const a = side('a.onnx', [info('x', [null, 3])], [info('y', [1])]);
    expect(
      thrown(() => assertComparable(side('b.onnx', [info('x', [null, 4])], a.outputs), a)),
    ).toMatchObject({
      code: 'E_USAGE',
      details: { file: 'b.onnx', expected: 'x f32 ?×3', found: 'x f32 ?×4' },
    });
    expect(
      thrown(() => assertComparable(side('b.onnx', [info('z', [])], a.outputs), a)).details,
    ).toMatchObject({
      expected: 'x f32 ?×3',
      found: 'z f32 scalar',
    });
    expect(thrown(() => assertComparable(side('b.onnx', a.inputs, [info('q', [1])]), a))).toMatchObject({
      code: 'E_USAGE',
      details: { expected: 'y f32 1', found: 'q f32 1' },
    });
  });

  test('outputs of another rank are told with both shapes', () => {
    const a = side('a.onnx', [], [info('logits', ['b', 's', 4096])]);
    expect(thrown(() => assertComparable(side('b.onnx', [], [info('logits', ['b', 4])]), a))).toMatchObject({
      code: 'E_USAGE',
      details: { expected: 'logits f32 b×s×4096', found: 'logits f32 b×4' },
    });
  });

  test('a half-precision result gets the inputs of its original as f16', () => {
    const sample = { inputs: new Map([['x', makeTensor('f32', [2], [1, 2])]]) };
    const feeds = feedsOf([{ name: 'x', dtype: 'f16', shape: [2] }], sample, 'b.onnx');
    expect(feeds.get('x')).toMatchObject({ dtype: 'f16' });
    expect(thrown(() => feedsOf([info('x', [2], 'int64')], sample, 'b.onnx')).code).toBe('E_USAGE');
    expect(thrown(() => feedsOf([info('w', [2])], sample, 'b.onnx')).details?.found).toBe('x');
  });
});

describe('a data set', () => {
  const dataset = (samples: readonly Sample[]): Dataset => ({
    count: samples.length,
    description: 'made up',
    synthetic: false,
    notes: [],
    async *samples() {
      yield* samples;
    },
  });
  const answer =
    (...values: number[]) =>
    async () =>
      new Map([['logits', makeTensor('f32', [1, values.length], values)]]);
  const wanted = { file: 'b.onnx', compared: ['logits'], scores: 'logits', options: {} };
  const one = { inputs: new Map<string, RuntimeTensor>() };

  test('without samples is E_EMPTY, partly labelled E_USAGE', async () => {
    await expect(addUp(dataset([]), { ...wanted, run: answer(1) })).rejects.toMatchObject({
      code: 'E_EMPTY',
    });
    const mixed = dataset([one, { ...one, labels: [0] }]);
    await expect(addUp(mixed, { ...wanted, run: answer(1, 2) })).rejects.toMatchObject({ code: 'E_USAGE' });
  });

  test('NaN is told with file, row and sample', async () => {
    const error = await addUp(dataset([one]), { ...wanted, run: answer(1, Number.NaN) }).catch((e) => e);
    expect(error).toMatchObject({
      code: 'E_NONFINITE',
      details: { file: 'b.onnx', found: 'NaN in row 0, sample 1' },
    });
    const original = { file: 'a.onnx', run: answer(1, 2) };
    const broken = addUp(dataset([one]), { ...wanted, run: answer(1, Number.NaN), original });
    await expect(broken).rejects.toMatchObject({ code: 'E_VERIFICATION' });
  });

  test('output error, agreement, divergence and accuracy come from the same runs', async () => {
    const original = { file: 'a.onnx', run: answer(1, 3) };
    const quality = await addUp(dataset([{ ...one, labels: [1] }]), {
      ...wanted,
      run: answer(1, 2),
      original,
    });
    expect(quality).toMatchObject({ samples: 1, outputs: [{ maxAbs: 1 }], notes: [] });
    expect(quality.scores).toMatchObject({ original: { accuracy: 1 }, distance: { agreement: 1, rows: 1 } });
    expect(quality.sqnr).toBeCloseTo(10, 10);
  });
});
