import { describe, expect, test } from 'vitest';
import { BLOCK_TYPES, isBlockType } from '../../src/core/ggml-types.ts';
import { createRandom } from '../../src/core/random.ts';
import { referenceKernels } from '../../src/kernels/index.ts';
import { dequantizeGgml, quantizeGgml } from '../../src/numerics/index.ts';
import { ggmlOracle } from '../oracle/ggml.ts';

const random = createRandom(3);
const [rows, columns] = [3, 512];
const values = Float32Array.from({ length: rows * columns }, () => random.normal());
const importance = Float32Array.from({ length: columns }, () => random.normal() ** 2);
const oracle = await ggmlOracle();

/** Least dB of normal values, plain or with importance where that is required. */
const LEAST_SQNR: Readonly<Record<string, number>> = { q8_0: 40, q6_K: 32, q4_K: 19, q2_K: 8, iq2_xxs: 4 };

describe.each(Object.keys(BLOCK_TYPES).filter(isBlockType))('%s', (type) => {
  const weights = BLOCK_TYPES[type].importance === 'required' ? importance : undefined;

  test('one call quantizes, one gives the values back', async () => {
    const q = await quantizeGgml(values, [rows, columns], type, { importance: weights });
    const { size, bytes } = BLOCK_TYPES[type];
    expect(q).toMatchObject({ type, shape: [rows, columns], bitsPerWeight: (8 * bytes) / size });
    expect(q.data).toHaveLength((values.length / size) * bytes);
    const restored = await dequantizeGgml(q.data, [rows, columns], type);
    expect(restored).toEqual(q.dequantize());
    expect(q.error().sqnr).toBeGreaterThan(LEAST_SQNR[type] ?? 0);
  });
});

// Those of the other types cost the library seconds of tables; test/kernels/ggml compares them all.
test.skipIf(oracle === undefined).each(['q4_0', 'q6_K', 'iq4_xs', 'tq1_0', 'nvfp4'] as const)(
  '%s: the bytes are those of ggml',
  async (type) => {
    const { data } = await quantizeGgml(values, [rows, columns], type, { importance });
    expect(data).toEqual(oracle!.quantize(type, values, columns, importance));
  },
);

test.each(['f32', 'f16', 'bf16'] as const)('%s is a type too', async (type) => {
  const q = await quantizeGgml(values, [rows, columns], type);
  expect(q.bitsPerWeight).toBe(type === 'f32' ? 32 : 16);
  expect(q.error().sqnr).toBeGreaterThan(45);
  expect(await dequantizeGgml(q.data, [rows, columns], type)).toEqual(q.dequantize());
});

test('f16 bits and f64 values are read as they are told', async () => {
  const halves = new Uint16Array(32).fill(0x3c00);
  const q = await quantizeGgml(halves, [1, 32], 'q8_0', { dtype: 'f16' });
  expect([...q.dequantize()].every((value) => Math.abs(value - 1) < 1e-3)).toBe(true);
  const d = await quantizeGgml(new Float64Array(32).fill(-2), [32], 'q4_0');
  expect(d.dequantize()).toEqual(new Float32Array(32).fill(-2));
});

test('each matrix of a stack takes its own importance', async () => {
  const second = importance.map((weight) => 1 / (weight + 0.01));
  const stacked = new Float32Array(2 * columns);
  stacked.set(importance);
  stacked.set(second, columns);
  const both = new Float32Array(2 * values.length);
  both.set(values);
  both.set(values, values.length);
  const whole = await quantizeGgml(both, [2, rows, columns], 'q4_K', { importance: stacked });
  const parts = await Promise.all(
    [importance, second].map((weights) =>
      quantizeGgml(values, [rows, columns], 'q4_K', { importance: weights }),
    ),
  );
  expect(whole.data).toEqual(new Uint8Array(parts.flatMap(({ data }) => [...data])));
  expect(parts[0]!.data).not.toEqual(parts[1]!.data);
});

test('every kernel gives the same bytes', async () => {
  const plain = await quantizeGgml(values, [rows, columns], 'q5_K', { kernels: referenceKernels() });
  expect((await quantizeGgml(values, [rows, columns], 'q5_K')).data).toEqual(plain.data);
});

test('empty tensors are empty', async () => {
  const q = await quantizeGgml(new Float32Array(0), [0, 256], 'q4_K');
  expect(q.data).toHaveLength(0);
  expect(await dequantizeGgml(q.data, [0, 256], 'q4_K')).toHaveLength(0);
});

describe('bad arguments are coded errors', () => {
  const call =
    (...parameters: Parameters<typeof quantizeGgml>) =>
    () =>
      quantizeGgml(...parameters);
  const name: string = 'q4_k_m';
  const one = new Float32Array(256);
  test.each([
    ['rows that blocks do not divide', call(new Float32Array(100), [100], 'q4_0'), 'E_SHAPE'],
    ['a shape of another size', call(one, [2, 256], 'q4_K'), 'E_SHAPE'],
    ['a scalar', call(new Float32Array(1), [], 'q4_0'), 'E_SHAPE'],
    // @ts-expect-error -- a name that no type has
    ['an unknown type', call(one, [256], name), 'E_USAGE'],
    // @ts-expect-error -- no type of weights
    ['a type of integers', call(one, [256], 'i8'), 'E_USAGE'],
    ['no importance where it is required', call(one, [256], 'iq2_xxs'), 'E_IMATRIX'],
    [
      'importance of another length',
      call(one, [256], 'q4_K', { importance: new Float32Array(3) }),
      'E_IMATRIX',
    ],
    [
      'negative importance',
      call(one, [256], 'q4_K', { importance: new Float32Array(256).fill(-1) }),
      'E_IMATRIX',
    ],
    [
      'NaN importance',
      call(one, [256], 'q4_K', { importance: new Float32Array(256).fill(NaN) }),
      'E_IMATRIX',
    ],
    ['NaN', call(new Float32Array(256).fill(NaN), [256], 'q4_K'), 'E_NONFINITE'],
    ['values beyond the scale', call(new Float32Array(256).fill(1e30), [256], 'q4_K'), 'E_NONFINITE'],
    ['too few bytes', () => dequantizeGgml(new Uint8Array(143), [256], 'q4_K'), 'E_SHAPE'],
  ])('%s', async (_, run, code) => {
    await expect(run()).rejects.toMatchObject({ code });
  });
});
