/** The page of a comparison: complete, offline, and safe with the names of strangers. */

import { expect, test } from 'vitest';
import { type ComparisonView, comparePage } from '../../src/report/html-compare.ts';

const error = { sqnr: 20, cosine: 0.99, maxAbs: 0.1 };
const view: ComparisonView = {
  a: { file: '/m/f32.onnx', bytes: 4000 },
  b: { file: '/m/<b>q4.onnx', bytes: 1000 },
  weights: [
    { name: 'w<script>', count: 9, formA: 'f32', formB: 'int4', ...error },
    { name: 'same', count: 9, formA: 'f32', formB: 'f32', sqnr: Infinity, cosine: 1, maxAbs: 0 },
  ],
  onlyInA: ['gone'],
  onlyInB: [],
  verification: {
    runtime: 'onnxruntime-node',
    runtimeVersion: '1',
    outputs: [{ name: 'y', ...error }],
    cosine: 0.99,
    msOriginal: 2,
    msResult: 1,
    inputs: 'x: made up',
  },
  activations: {
    compared: [
      { name: 'h<i>', nameB: 'k', opType: 'MatMul', weight: 'w<script>', isOutput: false, ...error },
      { name: 'r', opType: 'Relu', isOutput: false, sqnr: -Infinity, cosine: 0, maxAbs: Infinity },
      { name: 'y', opType: 'MatMul', isOutput: true, ...error, sqnr: 12.5 },
    ],
    differentSize: ['z'],
    samples: 3,
    data: { description: 'rows of <script>', synthetic: true },
  },
  notes: ['a <note>'],
  seconds: 1,
};

test('the page holds every figure and picture, loads nothing and escapes names', () => {
  const page = comparePage(view);
  expect(page).not.toMatch(/<script|<b>q4|<i>|src=|href=|https?:/);
  expect(page).toContain('&#60;b&#62;q4.onnx');
  for (const part of [
    '25.0 %',
    'Where they part',
    '12.5 dB',
    '−∞',
    'made up',
    '1 only in',
    '2 weights compared, 1 equal',
  ]) {
    expect(page).toContain(part);
  }
  expect(page.match(/<circle class="s[05]" cx/g)?.length).toBeGreaterThanOrEqual(2);
});

test('weights alone make a page too, and models that are equal', () => {
  const { verification: _, activations: __, ...weights } = view;
  expect(comparePage(weights)).not.toContain('Where they part');
  const equal = comparePage({ ...weights, weights: [], onlyInA: [] });
  expect(equal).not.toContain('Weights');
});
