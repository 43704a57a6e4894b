import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createRandom } from '../../src/core/random.ts';
import {
  type AffineFormula,
  type AffineGrid,
  type AffineRounding,
  affineErrorBound,
  affineParameters,
  codeRange,
  dequantizeAffine,
  onnxruntimeScale,
  quantizeAffine,
} from '../../src/numerics/index.ts';
import { GOLDEN_ABSENT, openGolden } from './golden.ts';

const grids = fc.record({
  bits: fc.integer({ min: 1, max: 16 }),
  signed: fc.boolean(),
  symmetric: fc.boolean(),
  restricted: fc.boolean(),
});
const weights = fc
  .array(fc.float({ min: -1000, max: 1000, noNaN: true }), { minLength: 1, maxLength: 40 })
  .map((list) => Float32Array.from(list));

function roundTrip(values: Float32Array, grid: AffineGrid, rounding: AffineRounding = 'halfEven') {
  const min = Math.min(...values);
  const max = Math.max(...values);
  const parameters = affineParameters({ min, max }, grid);
  const codes = new Int16Array(values.length);
  const wide = grid.signed ? codes : new Uint16Array(codes.buffer);
  quantizeAffine(values, parameters, wide, { formula: grid.formula, rounding, random: createRandom(7) });
  const back = new Float32Array(values.length);
  dequantizeAffine(wide, parameters, back, { formula: grid.formula });
  return { parameters, codes: wide, back };
}

describe.each<[AffineFormula, AffineRounding]>([
  ['round', 'halfEven'],
  ['round', 'halfAway'],
  ['round', 'stochastic'],
  ['floor', 'halfEven'],
  ['sign-magnitude', 'halfEven'],
])('%s, %s', (formula, rounding) => {
  test('the error of every value in range stays within the documented bound, for 1 to 16 bits', () => {
    fc.assert(
      fc.property(grids, weights, (shape, values) => {
        const symmetric = shape.symmetric || formula === 'sign-magnitude';
        fc.pre(!(symmetric && shape.restricted && shape.bits === 1));
        const grid: AffineGrid = { ...shape, symmetric, formula, scaleType: 'f32' };
        const { parameters, codes, back } = roundTrip(values, grid, rounding);
        const bound = affineErrorBound(parameters.scale, formula, rounding);
        const { low, high } = codeRange(grid);
        values.forEach((x, i) => {
          expect(codes[i]!).toBeGreaterThanOrEqual(low);
          expect(codes[i]!).toBeLessThanOrEqual(high);
          // Rounding of the scale, of x / scale and of the product, each to f32.
          const slack = 4 * 2 ** -24 * (Math.abs(x) + parameters.scale * (high - low + 1));
          expect(Math.abs(x - back[i]!)).toBeLessThanOrEqual(bound + slack);
        });
      }),
      { numRuns: 400 },
    );
  });
});

describe('round', () => {
  const grid: AffineGrid = {
    bits: 8,
    signed: true,
    symmetric: true,
    restricted: true,
    formula: 'round',
    scaleType: 'f32',
  };
  const codesOf = (values: number[], rounding: AffineRounding): number[] => {
    const codes = new Int8Array(values.length);
    quantizeAffine(Float32Array.from(values), { scale: 1, zeroPoint: 0, low: -127, high: 127 }, codes, {
      rounding,
      random: createRandom(3),
    });
    return Array.from(codes);
  };

  test('zero is exact whatever the range, and values keep their order', () => {
    fc.assert(
      fc.property(grids, weights, (shape, values) => {
        fc.pre(!(shape.symmetric && shape.restricted && shape.bits === 1));
        const withZero = Float32Array.from([0, ...Array.from(values).sort((a, b) => a - b)]);
        const { codes, back } = roundTrip(withZero, { ...shape, formula: 'round', scaleType: 'f32' });
        expect(Math.abs(back[0]!)).toBe(0);
        for (let i = 2; i < codes.length; i++) expect(codes[i]!).toBeGreaterThanOrEqual(codes[i - 1]!);
      }),
    );
  });

  test('ties go to even or away from zero as asked', () => {
    expect(codesOf([0.5, 1.5, 2.5, -0.5, -1.5, -2.5], 'halfEven')).toEqual([0, 2, 2, 0, -2, -2]);
    expect(codesOf([0.5, 1.5, 2.5, -0.5, -1.5, -2.5], 'halfAway')).toEqual([1, 2, 3, -1, -2, -3]);
  });

  test('out-of-range values saturate', () => {
    expect(codesOf([1e9, -1e9, Number.POSITIVE_INFINITY], 'halfEven')).toEqual([127, -127, 127]);
  });

  test('stochastic rounding is reproducible from its seed and unbiased', () => {
    const values = new Array<number>(4000).fill(2.25);
    const codes = codesOf(values, 'stochastic');
    expect(codesOf(values, 'stochastic')).toEqual(codes);
    expect(new Set(codes)).toEqual(new Set([2, 3]));
    const mean = codes.reduce((sum, code) => sum + code, 0) / codes.length;
    // Five standard deviations of the mean of 4000 draws.
    expect(Math.abs(mean - 2.25)).toBeLessThan(5 * Math.sqrt((0.25 * 0.75) / 4000));
  });

  test('symmetric int8 uses [−127, 127] with absmax / 127, uint8 the whole range', () => {
    expect(affineParameters({ min: -1, max: 0.5 }, grid)).toEqual({
      scale: Math.fround(1 / 127),
      zeroPoint: 0,
      low: -127,
      high: 127,
    });
    const uint8 = affineParameters(
      { min: -1, max: 3 },
      { ...grid, signed: false, symmetric: false, restricted: false },
    );
    expect(uint8).toEqual({ scale: Math.fround(4 / 255), zeroPoint: 64, low: 0, high: 255 });
  });

  test('a range of zeros, or one too narrow for a scale, gets the scale 1', () => {
    for (const max of [0, 1e-40]) expect(affineParameters({ min: 0, max }, grid).scale).toBe(1);
    expect(affineParameters({ min: 0, max: 1e-5 }, { ...grid, scaleType: 'f16' }).scale).toBe(1);
  });
});

test('floor and sign-magnitude give the classic codes', () => {
  const values = Float32Array.of(-2.5, -0.5, 0, 0.5, 2.5);
  const parameters = { scale: 1, zeroPoint: 10, low: 0, high: 255 };
  const codes = new Uint8Array(5);
  quantizeAffine(values, parameters, codes, { formula: 'floor' });
  expect(Array.from(codes)).toEqual([7, 9, 10, 10, 12]);
  const back = new Float32Array(5);
  dequantizeAffine(codes, parameters, back, { formula: 'floor' });
  expect(Array.from(back)).toEqual([-2.5, -0.5, 0.5, 0.5, 2.5]);
  quantizeAffine(values, parameters, codes, { formula: 'sign-magnitude' });
  expect(Array.from(codes)).toEqual([8, 10, 10, 10, 12]);
  dequantizeAffine(codes, parameters, back, { formula: 'sign-magnitude' });
  expect(Array.from(back)).toEqual([-2.5, 0, 0, 0, 2.5]);
});

describe('malformed settings are refused with a code', () => {
  const grid: AffineGrid = {
    bits: 8,
    signed: true,
    symmetric: true,
    restricted: true,
    formula: 'round',
    scaleType: 'f32',
  };
  test.each<[string, string, () => unknown]>([
    ['E_USAGE', 'no bits', () => affineParameters({ min: 0, max: 1 }, { ...grid, bits: 0 })],
    ['E_USAGE', '17 bits', () => affineParameters({ min: 0, max: 1 }, { ...grid, bits: 17 })],
    ['E_USAGE', 'half a bit', () => affineParameters({ min: 0, max: 1 }, { ...grid, bits: 2.5 })],
    ['E_USAGE', 'one restricted bit', () => affineParameters({ min: 0, max: 1 }, { ...grid, bits: 1 })],
    [
      'E_NONFINITE',
      'an infinite range',
      () => affineParameters({ min: 0, max: Number.POSITIVE_INFINITY }, grid),
    ],
    [
      'E_NONFINITE',
      'a range that is not a number',
      () => affineParameters({ min: Number.NaN, max: 1 }, grid),
    ],
    [
      'E_LIMIT',
      'a scale past f16',
      () => affineParameters({ min: 0, max: 1e30 }, { ...grid, scaleType: 'f16' }),
    ],
    [
      'E_USAGE',
      'stochastic rounding without a source',
      () =>
        quantizeAffine(Float32Array.of(1), { scale: 1, zeroPoint: 0, low: 0, high: 1 }, new Uint8Array(1), {
          rounding: 'stochastic',
        }),
    ],
  ])('%s: %s', (code, _title, run) => {
    expect(run).toThrow(expect.objectContaining({ code }));
  });
});

interface AffineCase {
  readonly case: string;
  readonly weight: string;
  readonly type: 'int8' | 'uint8' | 'int8_asym' | 'int16' | 'uint16';
  readonly symmetric: boolean;
  readonly reduce_range: boolean;
  readonly outputs: { q: string; scale: string; zero_point: string };
}
/** A view of the elements in `bytes`. */
function codesOf(type: 'int8' | 'uint8' | 'int16' | 'uint16', bytes: Uint8Array) {
  const buffer = Uint8Array.from(bytes).buffer;
  if (type === 'int8') return new Int8Array(buffer);
  if (type === 'uint8') return new Uint8Array(buffer);
  return type === 'int16' ? new Int16Array(buffer) : new Uint16Array(buffer);
}

const golden = openGolden<AffineCase>('onnxruntime');

test.skipIf(golden === undefined)(
  `scale, zero point and codes equal onnxruntime's in 64 affine cases (else: ${GOLDEN_ABSENT})`,
  () => {
    const cases = golden!.cases.filter((c) => c.case.startsWith('affine/'));
    expect(cases).toHaveLength(64);
    for (const c of cases) {
      const values = golden!.tensors.f32(c.weight);
      const type = c.type === 'int8_asym' ? 'int8' : c.type;
      const range = { min: Math.min(...values), max: Math.max(...values) };
      const { scale, zeroPoint } = onnxruntimeScale(range, {
        type,
        symmetric: c.symmetric,
        reduceRange: c.reduce_range,
      });
      expect([c.case, scale]).toEqual([c.case, golden!.tensors.f32(c.outputs.scale)[0]]);
      const zeroBytes = golden!.tensors.u8(c.outputs.zero_point);
      const [bits, signed] = [type.endsWith('16') ? 16 : 8, type.startsWith('i')] as const;
      expect([c.case, zeroPoint]).toEqual([c.case, codesOf(type, zeroBytes)[0]]);
      const codes = codesOf(type, new Uint8Array(values.length * (bits / 8)));
      const full = codeRange({ bits, signed, symmetric: false, restricted: false });
      quantizeAffine(values, { scale, zeroPoint, ...full }, codes);
      const bytes = Buffer.from(codes.buffer, 0, codes.byteLength);
      expect(bytes.equals(golden!.tensors.u8(c.outputs.q)), c.case).toBe(true);
    }
  },
);
