import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  decodeFloat,
  encodeFloat,
  FLOAT_FORMATS,
  f16BitsToF32,
  f32ToF16Bits,
  isNarrowFloat,
  type NarrowFloat,
} from '../../src/core/floats.ts';
import { GOLDEN_ABSENT, openGolden } from './golden.ts';

const TYPES = Object.keys(FLOAT_FORMATS) as NarrowFloat[];
const ML_DTYPES: Record<NarrowFloat, string> = {
  f16: 'float16',
  bf16: 'bfloat16',
  f8_e4m3fn: 'float8_e4m3fn',
  f8_e4m3fnuz: 'float8_e4m3fnuz',
  f8_e5m2: 'float8_e5m2',
  f8_e5m2fnuz: 'float8_e5m2fnuz',
  f4_e2m1: 'float4_e2m1fn',
  f8_e8m0: 'float8_e8m0fnu',
};

const golden = openGolden<{ case: string }>('onnxruntime');

describe.each(TYPES)('%s', (dtype) => {
  const format = FLOAT_FORMATS[dtype];
  const signBit = 1 << (format.bits - 1);

  test.skipIf(golden === undefined)(
    `encodes 14,041 values as ml_dtypes does (else: ${GOLDEN_ABSENT})`,
    () => {
      const input = golden!.tensors.f32('smallfloat/input');
      const name = `smallfloat/${ML_DTYPES[dtype]}`;
      const wanted = format.bits === 16 ? golden!.tensors.u16(name) : golden!.tensors.u8(name);
      const different: string[] = [];
      input.forEach((x, i) => {
        const code = encodeFloat(dtype, x);
        if (code !== wanted[i])
          different.push(`${x}: ${code.toString(16)} instead of ${wanted[i]!.toString(16)}`);
      });
      expect(different).toEqual([]);
    },
  );

  test('every code but NaN survives decoding and encoding', () => {
    for (let code = 0; code < 2 ** format.bits; code++) {
      const value = decodeFloat(dtype, code);
      if (!Number.isNaN(value)) expect(encodeFloat(dtype, value)).toBe(code);
    }
  });

  test('an encoded value is the nearest one, and never past the largest when saturating', () => {
    const finite = Array.from({ length: Math.min(2 ** format.bits, 65536) }, (_, code) =>
      decodeFloat(dtype, code),
    )
      .filter(Number.isFinite)
      .sort((a, b) => a - b);
    fc.assert(
      fc.property(fc.float({ noNaN: true, noDefaultInfinity: true }), (x) => {
        if (!format.signed && x <= 0) return;
        const got = decodeFloat(dtype, encodeFloat(dtype, x, true));
        expect(Math.abs(got)).toBeLessThanOrEqual(format.maxFinite);
        let low = 0;
        let high = finite.length - 1;
        while (high - low > 1) {
          const middle = (low + high) >> 1;
          if (finite[middle]! <= x) low = middle;
          else high = middle;
        }
        const nearest = Math.min(Math.abs(finite[low]! - x), Math.abs(finite[high]! - x));
        expect(Math.abs(got - x)).toBe(nearest);
      }),
    );
  });

  test('ties go to the even code (f8_e8m0: up)', () => {
    const last = format.signed ? signBit - 1 : 2 ** format.bits - 1;
    for (let code = 0; code < Math.min(last, 4000); code++) {
      const [a, b] = [decodeFloat(dtype, code), decodeFloat(dtype, code + 1)];
      if (!Number.isFinite(a) || !Number.isFinite(b)) continue;
      const even = !format.signed || code % 2 === 1 ? code + 1 : code;
      expect(encodeFloat(dtype, (a + b) / 2)).toBe(even);
    }
  });

  test('overflow, ±Inf, NaN and −0 follow the stated policy', () => {
    const large = decodeFloat(dtype, encodeFloat(dtype, Number.POSITIVE_INFINITY, true));
    expect(large).toBe(format.maxFinite);
    const overflow = decodeFloat(dtype, encodeFloat(dtype, Number.POSITIVE_INFINITY));
    if (format.infinity !== undefined) expect(overflow).toBe(Number.POSITIVE_INFINITY);
    else if (format.nan !== undefined) expect(overflow).toBeNaN();
    else expect(overflow).toBe(format.maxFinite);
    const nan = decodeFloat(dtype, encodeFloat(dtype, Number.NaN));
    if (format.nan === undefined) expect(Object.is(nan, -0)).toBe(true);
    else expect(nan).toBeNaN();
    if (!format.signed) {
      expect(encodeFloat(dtype, -1)).toBe(format.nan);
      return;
    }
    const zero = decodeFloat(dtype, encodeFloat(dtype, -0));
    expect(Object.is(zero, format.unsignedZero ? 0 : -0)).toBe(true);
  });
});

test('the fast half-precision pair equals the general one for every code and on any float', () => {
  for (let code = 0; code < 65536; code++) {
    const value = f16BitsToF32(code);
    if (!Object.is(value, decodeFloat('f16', code))) expect(value).toBe(decodeFloat('f16', code));
    if (!Number.isNaN(value) && f32ToF16Bits(value) !== code) expect(f32ToF16Bits(value)).toBe(code);
  }
  fc.assert(
    fc.property(fc.float(), (x) => {
      expect(f32ToF16Bits(x)).toBe(encodeFloat('f16', x));
    }),
    { numRuns: 2000 },
  );
});

test('isNarrowFloat tells the types of this file from the others', () => {
  expect(isNarrowFloat('f8_e4m3fn')).toBe(true);
  expect(isNarrowFloat('f32')).toBe(false);
  expect(isNarrowFloat('int8')).toBe(false);
});
