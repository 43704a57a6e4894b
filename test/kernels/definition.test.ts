/** What the kernels compute, as literal values, over every backend. */

import { describe, expect, test } from 'vitest';
import type { Kernels } from '../../src/kernels/index.ts';
import { referenceKernels, selectKernels, wasmKernels } from '../../src/kernels/index.ts';
import { bytesOf } from './golden.ts';

const wasm = await wasmKernels();
const backends: readonly (readonly [string, Kernels])[] = [
  ['reference', referenceKernels()],
  ...(wasm === undefined ? [] : [['wasm', wasm] as const]),
];

/** The f32 after `x`, away from zero. */
function beyond(x: number, steps: number): number {
  const word = new Int32Array(Float32Array.of(x).buffer);
  word[0]! += steps;
  return new Float32Array(word.buffer)[0]!;
}

const roundf = (x: number): number => Math.sign(x) * Math.floor(Math.abs(x) + 0.5);

describe.each(backends)('%s kernels', (_, kernels) => {
  test('ties and their neighbours round half away from zero in every slot of a block', () => {
    // An extreme of −128 makes the scale 1, so that the values themselves are rounded.
    const values: number[] = [];
    for (let k = 0; k < 127; k++) {
      for (const step of [-1, 0, 1]) values.push(beyond(k + 0.5, step), -beyond(k + 0.5, step));
    }
    const blockSize = 32;
    const columns = 5;
    const rows = Math.ceil(values.length / (columns * (blockSize - 1))) * blockSize;
    const tile = new Float32Array(rows * columns);
    let next = 0;
    for (let c = 0; c < columns; c++) {
      for (let r = 0; r < rows; r++)
        tile[r * columns + c] = r % blockSize === 0 ? -128 : (values[next++] ?? 0);
    }
    const blocks = rows / blockSize;
    for (const rule of ['nbits', 'qdq'] as const) {
      const options = { rule, bits: 8, blockSize, symmetric: true, scaleType: 'f32' } as const;
      const packed = new Uint8Array(rows * columns);
      const scales = new Float32Array(blocks * columns);
      const zeros = new Uint8Array(blocks * columns);
      kernels.quantizeColumnBlocks(tile, rows, columns, options, packed, rows, scales, blocks, zeros, 0);
      expect(new Set(scales)).toEqual(new Set([1]));
      for (let c = 0; c < columns; c++) {
        for (let r = 0; r < rows; r++) {
          const x = tile[r * columns + c]!;
          const code = rule === 'nbits' ? roundf(Math.fround(x + 128)) : roundf(x) & 255;
          expect(packed[c * rows + r]).toBe(rule === 'nbits' ? Math.min(code, 255) : code);
        }
      }
    }
  });

  test('a symmetric scale keeps the sign of the extreme; ties go to the minimum; zeros keep theirs', () => {
    const rows: [number[], number][] = [
      [[8, -7, 0, 1], -1],
      [[-8, 7, 0, 1], 1],
      [[8, -8, 0, 1], 1],
      [[0, -0, 0, 0], -0],
      [[-0, 0, 0, 0], 0],
    ];
    for (const [values, scale] of rows) {
      const block = Float32Array.from({ length: 64 }, (__, i) => values[i % 4]!);
      const scales = new Float32Array(4);
      const options = { rule: 'nbits', bits: 4, blockSize: 16, symmetric: true, scaleType: 'f32' } as const;
      kernels.quantizeRowBlocks(block, 1, 64, options, new Uint8Array(64), scales, new Uint8Array(4));
      expect([...scales]).toEqual([scale, scale, scale, scale]);
    }
  });

  test('NaN is skipped in the range and gets the zero point; infinities make the scale infinite; both are counted', () => {
    const options = { rule: 'nbits', bits: 4, blockSize: 16, symmetric: true, scaleType: 'f32' } as const;
    const values = new Float32Array(64).fill(1);
    values[0] = Number.NaN;
    values[1] = -8;
    values[17] = Infinity;
    const codes = new Uint8Array(64);
    const scales = new Float32Array(4);
    const zeros = new Uint8Array(4);
    expect(kernels.quantizeRowBlocks(values, 1, 64, options, codes, scales, zeros)).toBe(2);
    expect([...scales.subarray(0, 2)]).toEqual([1, -Infinity]);
    expect([...codes.subarray(0, 3)]).toEqual([8, 0, 9]);
    expect([...codes.subarray(16, 18)]).toEqual([8, 8]);
  });

  test('the unused slots of a ragged block repeat the previous byte, its unused bytes are zero', () => {
    const options = { rule: 'nbits', bits: 4, blockSize: 16, symmetric: true, scaleType: 'f32' } as const;
    const rows = 19;
    const tile = Float32Array.from({ length: rows * 4 }, (__, i) => (Math.floor(i / 4) % 16) - 8);
    const packed = new Uint8Array(4 * 16).fill(0xff);
    const scales = new Float32Array(8);
    kernels.quantizeColumnBlocks(tile, rows, 4, options, packed, 16, scales, 2, new Uint8Array(0), 0);
    // Rows 16..18 are −8, −7, −6: codes 0, 1, 2; the fourth slot repeats the 1 of the byte before.
    expect([...packed.subarray(8, 16)]).toEqual([0x10, 0x12, 0, 0, 0, 0, 0, 0]);
  });

  test('power sums follow the stated lane order', () => {
    const values = Float32Array.from({ length: 41 }, (__, i) => (i % 7 === 0 ? 2 ** 30 : 1) * (1 + i / 64));
    const lanes = [0, 0, 0, 0];
    values.forEach((x, i) => {
      const d = x - 0.25;
      lanes[i % 4]! += d * d * (d * d);
    });
    expect(kernels.powerSums(values, 0.25).sum4).toBe(lanes[0]! + lanes[2]! + (lanes[1]! + lanes[3]!));
  });

  test('the smallest magnitude of power sums is never that of a zero', () => {
    const tail = Array.from({ length: 37 }, (__, i) => (i % 2 === 0 ? 0 : -0));
    const of = (...values: number[]) => kernels.powerSums(Float32Array.from(values), 0);
    expect(of(...tail)).toMatchObject({ min: 0, max: 0, zeros: 37, absMin: Infinity });
    expect(of(0, -3, 2, -0, ...tail)).toMatchObject({ zeros: 39, absMin: 2 });
    expect(of(Number.NaN, Infinity, 0, -(2 ** -149), ...tail)).toMatchObject({
      zeros: 38,
      absMin: 2 ** -149,
    });
  });

  test('empty arrays have the range (+Inf, −Inf) and no counts', () => {
    const empty = new Float32Array(0);
    expect(kernels.range(empty)).toEqual({ min: Infinity, max: -Infinity, nonFinite: 0 });
    expect(kernels.powerSums(empty, 0)).toMatchObject({
      count: 0,
      nan: 0,
      zeros: 0,
      absMin: Infinity,
      sum1: 0,
    });
    expect(kernels.errorSums(empty, empty)).toMatchObject({ count: 0, maxAbs: 0, squaredError: 0 });
  });

  test('the fp16 clip moves finite magnitudes into [1e-7, 1e4] and nothing else', () => {
    const source = Float32Array.of(
      1e-9,
      -1e-9,
      2e4,
      -2e4,
      0,
      -0,
      Infinity,
      -Infinity,
      1,
      1e4,
      1e-7,
      NaN,
      3,
      3,
      3,
      3,
    );
    const codes = new Uint16Array(16);
    kernels.convert('f32', 'f16', bytesOf(source), bytesOf(codes), 16, { clip: 'fp16' });
    expect([...codes.subarray(0, 11)]).toEqual([
      2, 0x8002, 0x70e2, 0xf0e2, 0, 0x8000, 0x7c00, 0xfc00, 0x3c00, 0x70e2, 2,
    ]);
    expect(codes[11]! & 0x7fff).toBe(0x7e00);
  });

  test('affine rounding modes differ as named', () => {
    const values = Float32Array.of(0.5, 1.5, 2.5, -0.5, -1.5, -2.5, Number.NaN, Infinity);
    const run = (rounding: 'halfEven' | 'halfAway' | 'floor'): number[] => {
      const target = new Int8Array(8);
      kernels.quantizeAffine(values, 1, 1, -128, 127, rounding, target);
      return [...target];
    };
    expect(run('halfEven')).toEqual([1, 3, 3, 1, -1, -1, 1, 127]);
    expect(run('halfAway')).toEqual([2, 3, 4, 0, -1, -2, 1, 127]);
    expect(run('floor')).toEqual([1, 2, 3, 0, -1, -2, 1, 127]);
  });

  test('an arena gives zeroed, aligned arrays, also after an earlier one was used', () => {
    kernels.arena(4096).u8(4096).fill(7);
    const arena = kernels.arena(300_000);
    const first = arena.u8(5);
    const second = arena.f64(10);
    expect(first.every((byte) => byte === 0)).toBe(true);
    expect(second.byteOffset % 16).toBe(0);
    expect(second.every((x) => x === 0)).toBe(true);
    expect(() => arena.f32(1_000_000)).toThrow(expect.objectContaining({ code: 'E_LIMIT' }));
  });

  const four = { rule: 'nbits', bits: 4, blockSize: 32, symmetric: false, scaleType: 'f32' } as const;
  const f32 = (length: number): Float32Array => new Float32Array(length);
  const u8 = (length: number): Uint8Array => new Uint8Array(length);
  const refusals: readonly (readonly [string, string, () => unknown])[] = [
    ['a pair of unequal length', 'E_TENSOR_SIZE', () => kernels.errorSums(f32(3), f32(2))],
    ['a target that is too short', 'E_TENSOR_SIZE', () => kernels.convert('f32', 'f16', u8(8), u8(3), 2)],
    ['a type that is not a float', 'E_UNSUPPORTED', () => kernels.convert('int8', 'f32', u8(1), u8(4), 1)],
    ['rows that are not whole', 'E_TENSOR_SIZE', () => kernels.columnRange(f32(7), 2, f32(2), f32(2))],
    [
      'missing zero points',
      'E_TENSOR_SIZE',
      () => kernels.quantizeColumnBlocks(f32(128), 32, 4, four, u8(64), 16, f32(4), 1, u8(0), 0),
    ],
    [
      'columns that overlap',
      'E_TENSOR_SIZE',
      () => kernels.quantizeColumnBlocks(f32(128), 32, 4, four, u8(64), 8, f32(4), 1, u8(4), 0),
    ],
    [
      'a block of half a byte',
      'E_SHAPE',
      () =>
        kernels.quantizeColumnBlocks(f32(4), 1, 4, { ...four, blockSize: 1 }, u8(64), 8, f32(4), 1, u8(4), 0),
    ],
    ['a block size of zero', 'E_SHAPE', () => kernels.quantizeBnb4(f32(4), 0, 'nf4', u8(4), f32(1))],
    ['nine bits', 'E_DTYPE', () => kernels.packBits(u8(8), 9, 'lowFirst', u8(9))],
    ['a transposition into too little', 'E_TENSOR_SIZE', () => kernels.transpose(u8(6), 2, 3, 1, u8(5))],
  ];
  test.each(refusals)('refuses %s with %s', (__, code, call) => {
    expect(call).toThrow(expect.objectContaining({ code }));
  });
});

test('the fastest kernels of this machine are chosen', async () => {
  expect((await selectKernels()).backend).toBe(wasm === undefined ? 'reference' : 'wasm');
});
