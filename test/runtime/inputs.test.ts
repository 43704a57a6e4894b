import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type GraphView, graphHints, NO_HINTS } from '../../src/calibration/data/graph-hints.ts';
import { inputScenarios } from '../../src/calibration/data/input-shapes.ts';
import { synthesizeValues } from '../../src/calibration/data/input-values.ts';
import { tensorValues } from '../../src/calibration/data/tensor-values.ts';
import type { RuntimeValueInfo } from '../../src/runtime/runtime.ts';

const shapesOf = (inputs: readonly RuntimeValueInfo[], hints = NO_HINTS) =>
  inputScenarios(inputs, hints).map(({ shapes }) => Object.fromEntries(shapes));

const KV: RuntimeValueInfo[] = [
  { name: 'input_ids', dtype: 'int64', shape: ['batch_size', 'sequence_length'] },
  { name: 'attention_mask', dtype: 'int64', shape: ['batch_size', 'total_sequence_length'] },
  { name: 'position_ids', dtype: 'int64', shape: ['batch_size', 'sequence_length'] },
  { name: 'past_key_values.0.key', dtype: 'f32', shape: ['batch_size', 4, 'past_sequence_length', 32] },
  { name: 'past_key_values.0.value', dtype: 'f32', shape: ['batch_size', 4, 'past_sequence_length', 32] },
];

describe('shapes', () => {
  test('text classifier: one row of 16 tokens, all inputs alike', () => {
    const [first] = shapesOf([
      { name: 'input_ids', dtype: 'int64', shape: ['batch_size', 'sequence_length'] },
      { name: 'attention_mask', dtype: 'int64', shape: ['batch_size', 'sequence_length'] },
    ]);
    expect(first).toEqual({ input_ids: [1, 16], attention_mask: [1, 16] });
  });

  test('language model with a cache: past 0 first, and the mask covers past and sequence in every scenario', () => {
    const scenarios = inputScenarios(KV, NO_HINTS);
    expect(Object.fromEntries(scenarios[0]!.shapes)).toEqual({
      input_ids: [1, 16],
      attention_mask: [1, 16],
      position_ids: [1, 16],
      'past_key_values.0.key': [1, 4, 0, 32],
      'past_key_values.0.value': [1, 4, 0, 32],
    });
    for (const { shapes, past, sequence } of scenarios) {
      expect(shapes.get('attention_mask')?.[1]).toBe(past + sequence);
      expect(shapes.get('past_key_values.0.key')?.[2]).toBe(past);
    }
    expect(scenarios.some(({ past }) => past > 0)).toBe(true);
  });

  test('text recogniser with fixed height: a wide line', () => {
    const [first] = shapesOf([{ name: 'x', dtype: 'f32', shape: ['n', 3, 48, 'p2o.DynamicDimension.1'] }]);
    expect(first).toEqual({ x: [1, 3, 48, 320] });
  });

  test('image model with open sides: NCHW and NHWC', () => {
    expect(shapesOf([{ name: 'x', dtype: 'f32', shape: [null, 3, null, null] }])[0]).toEqual({
      x: [1, 3, 224, 224],
    });
    expect(shapesOf([{ name: 'x', dtype: 'uint8', shape: [null, null, null, 3] }])[0]).toEqual({
      x: [1, 224, 224, 3],
    });
  });

  test('voice detector: nameless dimensions, sample rate, recurrent state', () => {
    const [first] = shapesOf([
      { name: 'input', dtype: 'f32', shape: [null, null] },
      { name: 'state', dtype: 'f32', shape: [2, null, 128] },
      { name: 'sr', dtype: 'int64', shape: [] },
    ]);
    expect(first).toEqual({ input: [1, 512], state: [2, 1, 128], sr: [] });
  });

  test('the graph decides where it can: channels of a Conv, features of a MatMul', () => {
    const hints = { ...NO_HINTS, channels: new Map([['x', 7]]), features: new Map([['f', 96]]) };
    expect(shapesOf([{ name: 'x', dtype: 'f32', shape: [null, null, 32, 32] }], hints)[0]).toEqual({
      x: [1, 7, 32, 32],
    });
    expect(shapesOf([{ name: 'f', dtype: 'f32', shape: ['batch', null] }], hints)[0]).toEqual({ f: [1, 96] });
  });

  test('shapes that the user gives bind the symbols they share', () => {
    const [first] = inputScenarios(KV, NO_HINTS, { input_ids: [2, 5] });
    expect(first?.shapes.get('position_ids')).toEqual([2, 5]);
    expect(first?.shapes.get('past_key_values.0.key')).toEqual([2, 4, 0, 32]);
  });

  test('unknown inputs and contradicting shapes are E_USAGE', () => {
    expect(() => inputScenarios(KV, NO_HINTS, { nothing: [1] })).toThrow(
      expect.objectContaining({ code: 'E_USAGE' }),
    );
    expect(() => inputScenarios(KV, NO_HINTS, { 'past_key_values.0.key': [1, 5, 0, 32] })).toThrow(
      expect.objectContaining({ code: 'E_USAGE' }),
    );
  });

  test('whatever the inputs, every scenario fills every open dimension and there are at most 40', () => {
    const dim = fc.oneof(
      fc.nat(8),
      fc.constant(null),
      fc.constantFrom('batch', 'seq', 'h', 'w', 'past', 'x'),
    );
    const info = fc.record({
      name: fc.constantFrom('x', 'input_ids', 'mask', 'pixel_values', 'h0', 'audio', 'past_key_values.0.key'),
      dtype: fc.constantFrom('f32', 'int64', 'bool', 'uint8', 'f16'),
      shape: fc.array(dim, { maxLength: 5 }),
    }) satisfies fc.Arbitrary<RuntimeValueInfo>;
    fc.assert(
      fc.property(
        fc.uniqueArray(info, { selector: ({ name }) => name, minLength: 1, maxLength: 4 }),
        (inputs) => {
          const scenarios = inputScenarios(inputs, NO_HINTS);
          expect(scenarios.length).toBeGreaterThan(0);
          expect(scenarios.length).toBeLessThanOrEqual(40);
          for (const { shapes } of scenarios) {
            for (const { name, shape } of inputs) {
              const resolved = shapes.get(name)!;
              expect(resolved.length).toBe(shape.length);
              shape.forEach((expected, index) => {
                if (typeof expected === 'number') expect(resolved[index]).toBe(expected);
                else expect(Number.isSafeInteger(resolved[index])).toBe(true);
              });
            }
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe('values', () => {
  const [prefill] = inputScenarios(KV, NO_HINTS);

  test('ids stay below the table, masks are ones, positions rise, and the seed decides all of it', () => {
    const hints = { ...NO_HINTS, indexBound: new Map([['input_ids', 50]]) };
    const values = synthesizeValues(KV, prefill!, hints, 7);
    const ids = tensorValues(values.get('input_ids')!);
    expect(ids.every((id) => id >= 0 && id < 50)).toBe(true);
    expect(new Set(ids).size).toBeGreaterThan(5);
    expect([...tensorValues(values.get('attention_mask')!)]).toEqual(new Array(16).fill(1));
    expect([...tensorValues(values.get('position_ids')!)]).toEqual(Array.from({ length: 16 }, (_, i) => i));
    expect(synthesizeValues(KV, prefill!, hints, 7)).toEqual(values);
    expect(synthesizeValues(KV, prefill!, hints, 8)).not.toEqual(values);
  });

  test('sample rate is 16000, recurrent state is zero, sound and pictures are finite and vary', () => {
    const inputs: RuntimeValueInfo[] = [
      { name: 'input', dtype: 'f32', shape: [null, null] },
      { name: 'state', dtype: 'f32', shape: [2, null, 128] },
      { name: 'sr', dtype: 'int64', shape: [] },
      { name: 'image', dtype: 'f16', shape: [1, 3, 16, 16] },
    ];
    const values = synthesizeValues(inputs, inputScenarios(inputs, NO_HINTS)[0]!, NO_HINTS, 1);
    expect([...tensorValues(values.get('sr')!)]).toEqual([16000]);
    expect(tensorValues(values.get('state')!).every((x) => x === 0)).toBe(true);
    for (const name of ['input', 'image']) {
      const all = tensorValues(values.get(name)!);
      expect(all.every(Number.isFinite)).toBe(true);
      expect(new Set(all).size).toBeGreaterThan(100);
    }
  });

  test('a shape that no memory holds is E_LIMIT, not a crash', () => {
    const inputs: RuntimeValueInfo[] = [{ name: 'x', dtype: 'f32', shape: [2 ** 40, 2 ** 20] }];
    const [scenario] = inputScenarios(inputs, NO_HINTS);
    expect(() => synthesizeValues(inputs, scenario!, NO_HINTS, 1)).toThrow(
      expect.objectContaining({ code: 'E_LIMIT' }),
    );
  });
});

describe('hints from the graph', () => {
  const view = (node: GraphView['node'], initializer: GraphView['initializer']): GraphView => ({
    node,
    initializer,
    input: [{ name: 'ids' }, { name: 'x' }],
  });
  const op = (
    opType: string,
    input: string[],
    output: string[],
    attribute: GraphView['node'][number]['attribute'] = [],
  ) => ({
    opType,
    input,
    output,
    attribute,
  });

  test('rows of the table that ids look up, through casts, fp16 tables and Constant nodes', () => {
    const hints = graphHints(
      view(
        [
          op('Cast', ['ids'], ['ids32']),
          op('Constant', [], ['raw'], [{ name: 'value', t: { dims: [4096, 64] } }]),
          op('Cast', ['raw'], ['table']),
          op('Gather', ['table', 'ids32'], ['e']),
        ],
        [],
      ),
    );
    expect(hints.indexBound.get('ids')).toBe(4096);
  });

  test('channels of a grouped Conv, features of MatMul and transposed Gemm', () => {
    const conv = graphHints(
      view([op('Conv', ['x', 'w'], ['y'], [{ name: 'group', i: 2n }])], [{ name: 'w', dims: [8, 3, 3, 3] }]),
    );
    expect(conv.channels.get('x')).toBe(6);
    const gemm = graphHints(
      view([op('Gemm', ['x', 'w'], ['y'], [{ name: 'transB', i: 1n }])], [{ name: 'w', dims: [10, 20] }]),
    );
    expect(gemm.features.get('x')).toBe(20);
    const product = graphHints(view([op('MatMul', ['x', 'w'], ['y'])], [{ name: 'w', dims: [12, 5] }]));
    expect(product.features.get('x')).toBe(12);
  });

  test('ends on graphs that go in circles', () => {
    const hints = graphHints(view([op('Cast', ['x'], ['y']), op('Cast', ['y'], ['x'])], []));
    expect(hints.indexBound.size).toBe(0);
  });
});
