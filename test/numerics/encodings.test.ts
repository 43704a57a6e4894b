import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { DType } from '../../src/core/dtype.ts';
import { decodeFloat, FLOAT_FORMATS, isNarrowFloat } from '../../src/core/floats.ts';
import {
  bitsPerWeight,
  dequantizeTensor,
  ENCODINGS,
  encoding,
  encodingTable,
  type Granularity,
  policyTable,
  quantizeTensor,
} from '../../src/numerics/index.ts';

const VALUES = ENCODINGS.filter((row) => row.id !== 'f8_e8m0');
const finite = fc
  .array(fc.float({ min: -100, max: 100, noNaN: true }), { minLength: 1, maxLength: 100 })
  .map((list) => Float32Array.from(list));

/** Largest error that the documentation allows for a value x in a group with this absmax; f32 rounding aside. */
function bound(id: string, x: number, absmax: number, range: number): number {
  const row = encoding(id);
  if (row.affine)
    return (row.signed ? 2 * absmax : range) / (2 ** row.bits - (row.bits >= 8 && row.signed ? 2 : 1)) / 2;
  if (row.family === 'codebook') return absmax * (id === 'nf4' ? 0.152 : 0.168);
  if (isFloat(id)) {
    const { mantissaBits, minPositive } = FLOAT_FORMATS[id];
    const overflow = Math.max(0, Math.abs(x) - FLOAT_FORMATS[id].maxFinite);
    return Math.max(Math.abs(x) * 2 ** -(mantissaBits + 1), minPositive / 2) + overflow;
  }
  // Blocks: a step of the element, or what lies past its largest value (6 of 8, 448 of 512, 1.75 of 2).
  if (id === 'nvfp4') return absmax * (1 / 6 + 1 / 8);
  return Math.max(absmax * (id === 'mxfp4' ? 0.25 : 0.125), Math.abs(x) * (id === 'mxfp4' ? 0.25 : 2 ** -3));
}

function isFloat(id: string): id is keyof typeof FLOAT_FORMATS {
  return Object.hasOwn(FLOAT_FORMATS, id) && isNarrowFloat(id as DType);
}

describe.each(VALUES.map((row) => row.id))('encoding %s', (id) => {
  const row = encoding(id);

  test('its row agrees with itself: bytes of a block, bits per weight, code range', () => {
    if (row.blockSize !== null) {
      expect(row.blockBytes).toBe((row.blockSize * row.bits) / 8 + 1);
      expect(bitsPerWeight(row)).toBe((8 * (row.blockBytes ?? 0)) / row.blockSize);
    }
    expect(row.codeArray(3)).toHaveLength(3);
  });

  test('values come back within the bound, in their order of storage, whatever the length', () => {
    fc.assert(
      fc.property(finite, (values) => {
        const q = quantizeTensor(values, [values.length], id);
        expect(q.data).toHaveLength(Math.ceil((values.length * row.bits) / 8));
        const back = q.dequantize();
        const size = row.defaultBlock ?? values.length;
        values.forEach((x, i) => {
          const start = Math.floor(i / size) * size;
          const group = values.subarray(start, start + size);
          const absmax = Math.max(...Array.from(group, Math.abs));
          const range = Math.max(0, ...group) - Math.min(0, ...group);
          // f32 rounding; and scales that would be subnormal are 1.
          const slack = 1e-5 * absmax + 1e-33;
          expect(Math.abs(x - back[i]!)).toBeLessThanOrEqual(bound(id, x, absmax, range) + slack);
        });
      }),
      { numRuns: 60 },
    );
  });

  // nvfp4 rounds its scales too: the second time they follow from other extremes.
  if (id !== 'nvfp4') {
    test('what it represents exactly survives: quantizing twice changes nothing', () => {
      // Integers represent what their scale says: here the same both times.
      const scheme = row.affine ? { encoding: id, range: { min: -8, max: 8 } } : id;
      fc.assert(
        fc.property(finite, (values) => {
          const once = quantizeTensor(values, [values.length], scheme).dequantize();
          // −0 counts as 0: the codebooks have one zero only.
          const twice = quantizeTensor(once, [values.length], scheme).dequantize();
          expect(twice.map((x) => x + 0)).toEqual(once.map((x) => x + 0));
        }),
        { numRuns: 40 },
      );
    });
  }

  test('plain data is enough to dequantize', () => {
    const values = Float32Array.from({ length: 70 }, (_, i) => Math.sin(i));
    const q = quantizeTensor(values, [2, 35], id);
    const { codes, dequantize, error, bytes, bitsPerWeight: _bits, ...plain } = q;
    expect(dequantizeTensor(structuredClone(plain))).toEqual(dequantize());
    expect(codes()).toHaveLength(70);
    expect(bytes).toBeGreaterThan(0);
    expect(error().count).toBe(70);
  });

  test('an empty tensor and a tensor of zeros are fine', () => {
    expect(quantizeTensor(new Float32Array(0), [0], id).dequantize()).toHaveLength(0);
    const zeros = quantizeTensor(Float32Array.of(0, -0, 0), [3], id).dequantize();
    expect(Array.from(zeros, Math.abs)).toEqual([0, 0, 0]);
  });

  test('NaN and Inf are refused by name of the first, or handled by the stated policy', () => {
    const values = Float32Array.of(1, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -1);
    expect(() => quantizeTensor(values, [5], id)).toThrow(
      expect.objectContaining({ code: 'E_NONFINITE', message: expect.stringContaining('value 1') }),
    );
    const kept = quantizeTensor(values, [5], { encoding: id, nonFinite: 'keep' }).dequantize();
    if (row.keepsNonFinite) {
      expect(kept[1]).toBeNaN();
      const infinite = row.bits === 16;
      expect(kept[2]).toBe(infinite ? Number.POSITIVE_INFINITY : decodedLargest(id));
    } else {
      const largest = quantizeTensor(Float32Array.of(1, 0, 1, -1, -1), [5], id).dequantize();
      expect(kept).toEqual(largest);
    }
  });

  test('every granularity it takes divides the tensor as stated', () => {
    const values = Float32Array.from({ length: 2 * 6 * 40 }, (_, i) => Math.cos(i) * (1 + (i % 7)));
    const shape = [2, 6, 40];
    const all: Granularity[] =
      row.blockSize !== null
        ? [0, 1, 2].map((axis) => ({ kind: 'group', axis, size: row.blockSize ?? 0 }))
        : [
            { kind: 'tensor' },
            ...[0, 1, 2].map((axis): Granularity => ({ kind: 'axis', axis })),
            ...[0, 1, 2].map((axis): Granularity => ({ kind: 'group', axis, size: 4 })),
            { kind: 'block', rows: 4, columns: 16 },
          ];
    if (row.scaleType === 'none') {
      expect(() => quantizeTensor(values, shape, { encoding: id, granularity: all[0] })).toThrow(
        expect.objectContaining({ code: 'E_USAGE' }),
      );
      return;
    }
    for (const granularity of all) {
      const q = quantizeTensor(values, shape, { encoding: id, granularity });
      expect(q.scales).toHaveLength(q.scaleShape.reduce((product, dim) => product * dim, 1));
      expect(q.error().sqnr).toBeGreaterThan(row.bits === 2 ? 0 : 8);
    }
  });
});

function decodedLargest(id: string): number {
  return isFloat(id) ? FLOAT_FORMATS[id].maxFinite : Number.NaN;
}

describe('data sheets', () => {
  test('f8_e8m0 holds powers of two and has no zero', () => {
    const q = quantizeTensor(Float32Array.of(1, 0.25, 3, 0), [4], 'f8_e8m0');
    expect(Array.from(q.data)).toEqual([127, 125, 129, 255]);
    expect(Array.from(q.dequantize())).toEqual([1, 0.25, 4, Number.NaN]);
  });

  test('int4 packs low nibble first, nf4 high nibble first, int3 as a little-endian bit stream', () => {
    const values = Float32Array.of(7, 0, -7, 4);
    const int4 = quantizeTensor(values, [4], { encoding: 'int4', restricted: true });
    expect(Array.from(int4.data)).toEqual([0x07, 0x49]);
    expect(Array.from(quantizeTensor(values, [4], 'nf4').data)).toEqual([0xf7, 0x0d]);
    const int3 = quantizeTensor(Float32Array.of(3, -3, 1, 2), [4], { encoding: 'int3', restricted: true });
    // 011, 101, 001, 010 from the lowest bit.
    expect(Array.from(int3.data)).toEqual([0b01101011, 0b0100]);
  });

  test('mxfp4: the scale is 2^(⌊log2 absmax⌋ − 2), elements past 6 saturate', () => {
    const values = new Float32Array(32);
    values.set([7.9, -6, 5, 0.25, 0.26, 1.25, 1.75, -0]);
    const q = quantizeTensor(values, [32], 'mxfp4');
    expect(Array.from(q.scales)).toEqual([1]);
    expect(Array.from(q.dequantize().subarray(0, 8))).toEqual([6, -6, 4, 0, 0.5, 1, 2, -0]);
    expect(q.bytes).toBe(17);
  });

  test('mxfp8 scales follow the element’s largest power of two', () => {
    const values = new Float32Array(32).fill(1);
    expect(quantizeTensor(values, [32], 'mxfp8_e4m3').scales[0]).toBe(2 ** -8);
    expect(quantizeTensor(values, [32], 'mxfp8_e5m2').scales[0]).toBe(2 ** -15);
    expect(quantizeTensor(new Float32Array(32), [32], 'mxfp4').scales[0]).toBe(2 ** -127);
  });

  test('nvfp4: block scales are e4m3 relative to one f32 scale for the tensor', () => {
    const values = new Float32Array(32).fill(0.5);
    values[0] = 6;
    const q = quantizeTensor(values, [32], 'nvfp4');
    expect(q.tensorScale).toBe(Math.fround(6 / (448 * 6)));
    expect(q.scales[0]).toBe(448);
    expect(q.bytes).toBe(16 + 2 + 4);
    expect(q.dequantize()[0]).toBeCloseTo(6, 5);
    for (const scale of q.scales) expect(decodeFloat('f8_e4m3fn', 0x7e)).toBeGreaterThanOrEqual(scale);
  });

  test('a scaled f8 maps absmax to its largest value', () => {
    const values = Float32Array.of(0.001, -0.002, 0.0005);
    const q = quantizeTensor(values, [3], { encoding: 'f8_e4m3fn', granularity: { kind: 'tensor' } });
    expect(q.dequantize()[1]).toBeCloseTo(-0.002, 9);
    expect(q.scales[0]).toBe(Math.fround(Math.fround(0.002) / 448));
    const cast = quantizeTensor(values, [3], 'f8_e4m3fn');
    expect(cast.scales).toHaveLength(0);
    expect(cast.bitsPerWeight).toBe(8);
  });
});

test('an unknown encoding is named in the error together with those that exist', () => {
  expect(() => encoding('int9')).toThrow(
    expect.objectContaining({ code: 'E_USAGE', message: expect.stringContaining('int9') }),
  );
});

test('docs/encodings.md shows exactly the tables that the descriptors render', () => {
  // The formatter may pad cells.
  const unpadded = (text: string): string => text.replace(/ +/g, ' ').replace(/-{3,}/g, '---');
  const text = unpadded(readFileSync(new URL('../../docs/encodings.md', import.meta.url), 'utf8'));
  expect(text).toContain(unpadded(encodingTable()));
  expect(text).toContain(unpadded(policyTable()));
});
