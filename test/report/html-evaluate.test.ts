/** The page of an evaluation: complete, offline, and safe with the names of strangers. */

import { expect, test } from 'vitest';
import { type EvaluationView, keepSteps } from '../../src/report/evaluation-view.ts';
import { evaluatePage } from '../../src/report/html-evaluate.ts';

const distance = {
  rows: 8,
  klDivergence: 0.4,
  klError: 0.1,
  klMedian: 0.3,
  kl99: 1,
  klMax: 1,
  agreement: 0.75,
};
const task = { scored: 8, accuracy: 0.5, crossEntropy: 1, crossEntropyError: 0.1 };
const view: EvaluationView = {
  model: { file: '/m/<b>q4.onnx', bytes: 1000, bitsPerWeight: 4.5 },
  against: { file: '/m/f32.onnx', bytes: 4000, bitsPerWeight: 32 },
  data: { description: 'rows of <script>', synthetic: false },
  quality: {
    samples: 2,
    outputs: [{ name: 'logits', cosine: 0.99, sqnr: 20, maxAbs: 0.1, equal: 0 }],
    cosine: 0.99,
    sqnr: 20,
    scores: { output: 'logits', kind: 'logits', original: task, result: task, distance, notes: [] },
    notes: [],
  },
  layers: {
    layers: [
      {
        weight: 'a',
        form: 'int4',
        count: 9,
        weightSqnr: 20,
        harm: { klDivergence: 0.3, sqnr: 21 },
        keepBytes: 700,
      },
      {
        weight: 'b',
        form: 'int4',
        count: 9,
        weightSqnr: 22,
        harm: { klDivergence: 0.1, sqnr: 25 },
        keepBytes: 300,
      },
      { weight: 'c', form: 'int4', count: 9, weightSqnr: 23, keepBytes: 100 },
    ],
    samples: 2,
    distributions: [{ weight: 'a', low: -1, high: 1, before: [1, 5, 1], after: [0, 7, 0] }],
  },
  notes: ['a <note>'],
  seconds: 1,
};

test('the page holds every figure and picture, loads nothing and escapes names', () => {
  const page = evaluatePage([view]);
  expect(page).not.toMatch(/<script|<b>q4|src=|href=|https?:/);
  expect(page).toContain('&#60;b&#62;q4.onnx');
  for (const part of ['50 %', '75 %', '0.4', '20.0 dB', 'Error against size', 'Values before and after']) {
    expect(page).toContain(part);
  }
  expect(page.match(/<svg /g)?.length).toBeGreaterThanOrEqual(3);
});

test('columns without a figure are left out, and so is everything that was not measured', () => {
  const page = evaluatePage([view]);
  expect(page).toContain('<th class="n">accuracy</th>');
  expect(page).not.toContain('<th class="n">perplexity</th>');
  const { layers: _layers, against: _against, ...alone } = view;
  expect(evaluatePage([alone])).not.toContain('hurt');
  expect(() => evaluatePage([])).not.toThrow();
});

test('steps of keeping the worst layers go from what was measured to nothing, in bytes and divergence', () => {
  const steps = keepSteps(view);
  expect(steps.map(({ bytes }) => bytes)).toEqual([1000, 1700, 2000]);
  expect(steps.map(({ klDivergence }) => klDivergence)).toEqual([
    0.4,
    expect.closeTo(0.1, 12),
    expect.closeTo(0, 12),
  ]);
});
