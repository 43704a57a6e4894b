import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { floorLog2 } from '../../src/core/floats.ts';
import { createRandom } from '../../src/core/random.ts';
import {
  dequantizeTensor,
  type EncodingId,
  layOutGroups,
  measureTensor,
  quantizeTensor,
  type TensorScheme,
} from '../../src/numerics/index.ts';
import { GOLDEN_ABSENT, openGolden } from './golden.ts';

function normal(count: number): Float32Array {
  const random = createRandom(11);
  return Float32Array.from({ length: count }, () => random.normal());
}

test('the classic: 100×100 normal weights in 8 bits come back with about 40 dB', () => {
  const weights = normal(100 * 100);
  const { min, max } = measureTensor(weights, [100, 100]);
  const q = quantizeTensor(weights, [100, 100], 'int8');
  const restored = q.dequantize();
  const { maxAbs, sqnr } = q.error();
  expect(q.bytes).toBe(10_004);
  expect(q.scales[0]).toBe(Math.fround(Math.max(-min, max) / 127));
  expect(maxAbs).toBeLessThanOrEqual(q.scales[0]! * 0.5001);
  expect(sqnr).toBeGreaterThan(38);
  expect(restored).toHaveLength(10_000);
});

describe('granularity', () => {
  test('every element belongs to exactly one group, whatever the shape', () => {
    const shapes = fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 2, maxLength: 4 });
    fc.assert(
      fc.property(shapes, fc.nat(3), fc.integer({ min: 1, max: 6 }), (shape, axis, size) => {
        const count = shape.reduce((a, b) => a * b, 1);
        const layouts = [
          layOutGroups(shape, { kind: 'tensor' }),
          layOutGroups(shape, { kind: 'axis', axis: axis % shape.length }),
          layOutGroups(shape, { kind: 'group', axis: axis % shape.length, size }),
          layOutGroups(shape, { kind: 'block', rows: size, columns: 2 }),
        ];
        for (const layout of layouts) {
          const seen = new Uint8Array(count);
          for (let g = 0; g < layout.groups; g++) {
            const { start, runs, runStride, length, step } = layout.group(g);
            expect(runs * length).toBeLessThanOrEqual(layout.largest);
            for (let run = 0; run < runs; run++) {
              for (let i = 0; i < length; i++) seen[start + run * runStride + i * step]!++;
            }
          }
          expect(seen.every((times) => times === 1)).toBe(true);
          expect(layout.scaleShape.reduce((a, b) => a * b, 1)).toBe(layout.groups);
        }
      }),
    );
  });

  test('finer scales never lose accuracy on rows of different size', () => {
    const values = normal(64 * 64).map((x, i) => x * 2 ** (Math.floor(i / 64) % 9));
    const sqnr = (scheme: TensorScheme): number => quantizeTensor(values, [64, 64], scheme).error().sqnr;
    const tensor = sqnr({ encoding: 'int4' });
    const rows = sqnr({ encoding: 'int4', granularity: { kind: 'axis', axis: 0 } });
    const groups = sqnr({ encoding: 'int4', granularity: { kind: 'group', axis: 1, size: 16 } });
    expect(rows).toBeGreaterThan(tensor);
    expect(groups).toBeGreaterThan(rows);
  });

  test('groups along any axis equal quantizing the moved axis', () => {
    const values = normal(6 * 10);
    const transposed = Float32Array.from({ length: 60 }, (_, i) => values[(i % 6) * 10 + Math.floor(i / 6)]!);
    const down = quantizeTensor(values, [6, 10], {
      encoding: 'uint4',
      granularity: { kind: 'group', axis: 0, size: 4 },
    });
    const along = quantizeTensor(transposed, [10, 6], {
      encoding: 'uint4',
      granularity: { kind: 'group', axis: 1, size: 4 },
    });
    const back = along.dequantize();
    expect(down.dequantize()).toEqual(
      Float32Array.from({ length: 60 }, (_, i) => back[(i % 10) * 6 + Math.floor(i / 10)]!),
    );
  });
});

describe('input types', () => {
  test('f16, bf16 and f64 give what their f32 values give', () => {
    const expected = quantizeTensor(Float32Array.of(1, -2, 0.5), [3], 'int8');
    const half = quantizeTensor(Uint16Array.of(0x3c00, 0xc000, 0x3800), [3], 'int8', { dtype: 'f16' });
    const brain = quantizeTensor(Uint16Array.of(0x3f80, 0xc000, 0x3f00), [3], 'int8', { dtype: 'bf16' });
    const double = quantizeTensor(Float64Array.of(1, -2, 0.5), [3], 'int8');
    for (const q of [half, brain, double]) expect(q.data).toEqual(expected.data);
  });

  test('an f64 value past f32 is refused as infinite', () => {
    expect(() => quantizeTensor(Float64Array.of(1e300), [1], 'int8')).toThrow(
      expect.objectContaining({ code: 'E_NONFINITE' }),
    );
  });
});

describe('schemes', () => {
  const values = Float32Array.of(-1, 0.3, 0.9, 2);

  test('the default of unsigned integers is asymmetric, and symmetric has the middle code as zero', () => {
    const asymmetric = quantizeTensor(values, [4], 'uint8');
    expect(asymmetric.zeroPoints).toEqual(Int32Array.of(85));
    const symmetric = quantizeTensor(values, [4], { encoding: 'uint8', symmetric: true });
    expect(symmetric.zeroPoints).toBeUndefined();
    expect(symmetric.implicitZeroPoint).toBe(128);
    expect(symmetric.error().maxAbs).toBeLessThan(0.01);
  });

  test('a given range clips, and may follow each group', () => {
    const clipped = quantizeTensor(values, [4], { encoding: 'int8', range: { min: -1, max: 1 } });
    expect(clipped.dequantize()[3]).toBeCloseTo(1, 6);
    const halved = quantizeTensor(values, [2, 2], {
      encoding: 'int8',
      granularity: { kind: 'axis', axis: 0 },
      range: (row) => ({ min: -Math.max(...row) / 2, max: Math.max(...row) / 2 }),
    });
    expect(halved.dequantize()[3]).toBeCloseTo(1, 6);
  });

  test('f16 scales are stored as f16 and used as stored', () => {
    const q = quantizeTensor(values, [4], { encoding: 'int4', scaleType: 'f16' });
    expect(q.scaleType).toBe('f16');
    const mantissa = q.scales[0]! / 2 ** (floorLog2(q.scales[0]!) - 10);
    expect(Number.isInteger(mantissa)).toBe(true);
    expect(q.bytes).toBe(2 + 2);
  });

  test('the same seed rounds the same way', () => {
    const scheme: TensorScheme = { encoding: 'int4', rounding: 'stochastic', seed: 5 };
    const weights = normal(500);
    const [a, b] = [quantizeTensor(weights, [500], scheme), quantizeTensor(weights, [500], scheme)];
    expect(a.data).toEqual(b.data);
    expect(quantizeTensor(weights, [500], { ...scheme, seed: 6 }).data).not.toEqual(a.data);
  });

  test.each<[string, string, TensorScheme | EncodingId]>([
    ['E_USAGE', 'rounding of a codebook', { encoding: 'nf4', rounding: 'halfAway' }],
    ['E_USAGE', 'an asymmetric float', { encoding: 'f8_e5m2', symmetric: false }],
    ['E_USAGE', 'a granularity of f16', { encoding: 'f16', granularity: { kind: 'tensor' } }],
    [
      'E_USAGE',
      'another block of mxfp4',
      { encoding: 'mxfp4', granularity: { kind: 'group', axis: 0, size: 16 } },
    ],
    [
      'E_USAGE',
      'asymmetric sign-magnitude',
      { encoding: 'int8', formula: 'sign-magnitude', symmetric: false },
    ],
    ['E_USAGE', 'a rule without groups', { encoding: 'uint4', rule: 'nbits' }],
    [
      'E_USAGE',
      'a rule with the wrong sign',
      { encoding: 'int4', rule: 'nbits', granularity: { kind: 'group', axis: -1, size: 2 } },
    ],
    [
      'E_USAGE',
      'a rule of five bits',
      { encoding: 'uint5', rule: 'nbits', granularity: { kind: 'group', axis: -1, size: 2 } },
    ],
    [
      'E_USAGE',
      'a group of nothing',
      { encoding: 'int4', granularity: { kind: 'group', axis: -1, size: 0 } },
    ],
    ['E_SHAPE', 'an axis too far', { encoding: 'int4', granularity: { kind: 'axis', axis: 1 } }],
    [
      'E_SHAPE',
      'blocks of a vector',
      { encoding: 'int4', granularity: { kind: 'block', rows: 2, columns: 2 } },
    ],
  ])('%s: %s is refused', (code, _title, scheme) => {
    expect(() => quantizeTensor(values, [4], scheme)).toThrow(expect.objectContaining({ code }));
  });

  test('packed bytes of the wrong length are refused', () => {
    const q = quantizeTensor(values, [4], 'int4');
    expect(() => dequantizeTensor({ ...q, data: q.data.subarray(1) })).toThrow(
      expect.objectContaining({ code: 'E_TENSOR_SIZE' }),
    );
  });
});

describe(`rules of the operator forms equal onnxruntime's files (else: ${GOLDEN_ABSENT})`, () => {
  interface BlockCase {
    readonly case: string;
    readonly weight: string;
    readonly block_size: number;
    readonly encoding: 'nf4' | 'fp4';
    readonly symmetric: boolean;
    readonly transpose_weight?: boolean;
    readonly bits: 2 | 4 | 8;
    readonly outputs: Record<string, string | { tensor: string }>;
  }
  const golden = openGolden<BlockCase>('onnxruntime');
  const named = (output: string | { tensor: string } | undefined): string =>
    typeof output === 'string' ? output : (output?.tensor ?? '');
  const transpose = (values: Float32Array, rows: number, columns: number): Float32Array =>
    Float32Array.from(
      { length: values.length },
      (_, i) => values[(i % rows) * columns + Math.floor(i / rows)]!,
    );

  test.skipIf(golden === undefined)('bnb4: codes and absmax of all 24 cases', () => {
    const cases = golden!.cases.filter((c) => c.case.startsWith('matmulbnb4/'));
    expect(cases).toHaveLength(24);
    for (const c of cases) {
      const { shape } = golden!.tensors.get(c.weight);
      const values = transpose(golden!.tensors.f32(c.weight), shape[0]!, shape[1]!);
      const q = quantizeTensor(values, [values.length], {
        encoding: c.encoding === 'nf4' ? 'nf4' : 'bnb-fp4',
        granularity: { kind: 'group', axis: 0, size: c.block_size },
      });
      expect([c.case, q.scales]).toEqual([c.case, golden!.tensors.f32(named(c.outputs.absmax))]);
      const packed = golden!.tensors.u8(named(c.outputs.packed));
      // The unused nibble of an odd total is the operator's padding, not a code.
      if (values.length % 2 === 1) packed[packed.length - 1]! &= 0xf0;
      expect(Buffer.from(q.data).equals(packed), c.case).toBe(true);
    }
  });

  test.skipIf(golden === undefined)('nbits: scales and codes of the f32 cases without ragged blocks', () => {
    const cases = golden!.cases.filter((c) => c.case.startsWith('matmulnbits/normal_256x96/float32/'));
    expect(cases.length).toBeGreaterThan(5);
    for (const c of cases) {
      const values = transpose(golden!.tensors.f32(c.weight), 256, 96);
      const q = quantizeTensor(values, [96, 256], {
        encoding: `uint${c.bits}`,
        rule: 'nbits',
        symmetric: c.symmetric,
        granularity: { kind: 'group', axis: -1, size: c.block_size },
      });
      expect([c.case, q.scales]).toEqual([c.case, golden!.tensors.f32(named(c.outputs.scales))]);
      expect(Buffer.from(q.data).equals(golden!.tensors.u8(named(c.outputs.packed))), c.case).toBe(true);
    }
  });

  test.skipIf(golden === undefined)('gather: scales and codes of all 8 cases', () => {
    const cases = golden!.cases.filter((c) => c.case.startsWith('gather4/'));
    expect(cases).toHaveLength(8);
    for (const c of cases) {
      const { shape } = golden!.tensors.get(c.weight);
      const stored = golden!.tensors.f32(c.weight);
      const moved = c.transpose_weight ? transpose(stored, shape[0]!, shape[1]!) : stored;
      const q = quantizeTensor(moved, c.transpose_weight ? shape.toReversed() : shape, {
        encoding: 'uint4',
        rule: 'gather',
        symmetric: c.symmetric,
        granularity: { kind: 'group', axis: -1, size: c.block_size },
      });
      expect([c.case, q.scales]).toEqual([c.case, golden!.tensors.f32(named(c.outputs.scales))]);
      // The file's symmetric codes are INT4: the offset of 8 is the sign bit flipped.
      const packed = golden!.tensors.u8(named(c.outputs.packed));
      const expected = c.symmetric ? packed.map((byte) => byte ^ 0x88) : packed;
      expect(Buffer.from(q.data).equals(expected), c.case).toBe(true);
    }
  });
});

describe('settings that no compiler checked are refused, never ignored', () => {
  const refused = (call: () => unknown) => expect(call).toThrow(expect.objectContaining({ code: 'E_USAGE' }));
  const scheme = (text: string): TensorScheme => JSON.parse(text);

  test.each([
    ['nothing', 'null'],
    ['a setting that does not exist', '{"encoding":"uint8","bogus":1}'],
    ['a rounding that does not exist', '{"encoding":"int8","rounding":"banker"}'],
    ['a formula that does not exist', '{"encoding":"int8","formula":"ceil"}'],
    ['a granularity that does not exist', '{"encoding":"int8","granularity":{"kind":"row"}}'],
    ['a policy that does not exist', '{"encoding":"int8","nonFinite":"skip"}'],
    ['a type of scales that does not exist', '{"encoding":"int8","scaleType":"f64"}'],
  ])('%s', (_, text) => {
    refused(() => quantizeTensor(normal(4), [4], scheme(text)));
  });

  test.each([
    { bins: 0 },
    { bins: 2.5 },
    { resolution: Number.NaN },
    { resolution: 2 ** 40 },
    { percentiles: [50, 101] },
    { percentiles: [Number.NaN] },
    { outlierSigmas: -1 },
  ])('statistics with %o', (options) => {
    refused(() => measureTensor(normal(4), [4], options));
  });
});
