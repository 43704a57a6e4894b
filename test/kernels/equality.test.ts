/**
 * The WebAssembly kernels equal the reference bit for bit: every function, on hostile values (ties, subnormals, ±0, NaN,
 * ±Inf, huge), odd lengths, unaligned starts, inside the kernels' memory and outside it, with canary bytes around
 * every output.
 */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createRandom } from '../../src/core/random.ts';
import { type BlockOptions, type Kernels, referenceKernels, wasmKernels } from '../../src/kernels/index.ts';
import { bytesOf } from './golden.ts';

const reference = referenceKernels();
const created = await wasmKernels();
const ABSENT = 'WebAssembly SIMD is not on this machine';
const wasm = created ?? reference;

const CANARY = 0xc7;
const PAD = 64;

type Style = 'normal' | 'ties' | 'hostile' | 'finite' | 'tiny' | 'zeros';
const STYLES: readonly Style[] = ['normal', 'ties', 'hostile', 'finite', 'tiny', 'zeros'];
const SPECIALS = [
  0,
  -0,
  Number.NaN,
  Infinity,
  -Infinity,
  1e-45,
  -1e-40,
  3.4e38,
  -3.4e38,
  65520,
  1e-7,
  2 ** -25,
];

function fill(target: Float32Array, style: Style, seed: number): void {
  const random = createRandom(seed);
  for (let i = 0; i < target.length; i++) {
    const x = random.normal();
    if (style === 'normal') target[i] = x * 0.05;
    else if (style === 'ties') target[i] = Math.round(x * 6) / 2;
    else if (style === 'tiny') target[i] = x * 1e-41;
    else if (style === 'zeros') target[i] = random.uint32() % 2 === 0 ? 0 : -0;
    else {
      const special = SPECIALS[random.uint32() % SPECIALS.length]!;
      const chosen = style === 'finite' && !Number.isFinite(special) ? 1 : special;
      target[i] = random.uint32() % 40 === 0 ? chosen : x;
    }
  }
}

type Outcome = { result: unknown; bytes: Uint8Array[] };
/** Allocates inputs and outputs for one run; an output is filled with canaries and checked with its surroundings. */
interface Bench {
  floats(length: number, style: Style, seed: number): Float32Array;
  codes(length: number, seed: number): Uint8Array;
  output(bytes: number): Uint8Array;
}

function run(
  kernels: Kernels,
  resident: boolean,
  skew: number,
  body: (kernels: Kernels, bench: Bench) => unknown,
): Outcome {
  const arena = resident ? kernels.arena(1 << 21) : undefined;
  const bytes: Uint8Array[] = [];
  const area = (length: number): Uint8Array => {
    const size = length + 2 * PAD + 16;
    const whole = arena?.u8(size) ?? new Uint8Array(size);
    whole.fill(CANARY);
    return whole;
  };
  const bench: Bench = {
    floats(length, style, seed) {
      // Floats may start at any multiple of 4, not only at vectors.
      const start = PAD + 4 * (skew % 4);
      const whole = area(length * 4);
      const values = new Float32Array(whole.buffer, whole.byteOffset + start, length);
      fill(values, style, seed);
      return values;
    },
    codes(length, seed) {
      const random = createRandom(seed);
      const whole = area(length);
      const codes = whole.subarray(PAD + (skew % 16), PAD + (skew % 16) + length);
      for (let i = 0; i < length; i++) codes[i] = random.uint32();
      return codes;
    },
    output(length) {
      const whole = area(length);
      bytes.push(whole);
      return whole.subarray(PAD + (skew % 4) * 4, PAD + (skew % 4) * 4 + length);
    },
  };
  const result = body(kernels, bench);
  return { result, bytes: bytes.map((part) => part.slice()) };
}

const floatsOf = (bytes: Uint8Array): Float32Array =>
  new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);

function codesOver(
  raw: Uint8Array,
  count: number,
  size: number,
  signed: boolean,
): Uint8Array | Int8Array | Uint16Array | Int16Array {
  const { buffer, byteOffset } = raw;
  if (size === 1) return signed ? new Int8Array(buffer, byteOffset, count) : raw;
  return signed ? new Int16Array(buffer, byteOffset, count) : new Uint16Array(buffer, byteOffset, count);
}

function expectEqual(body: (kernels: Kernels, bench: Bench) => unknown, skew = 0): void {
  const expected = run(reference, false, skew, body);
  for (const part of expected.bytes) {
    const edges = [...part.subarray(0, PAD), ...part.subarray(part.length - PAD + 12)];
    expect(edges.every((byte) => byte === CANARY)).toBe(true);
  }
  for (const resident of [true, false]) {
    const actual = run(wasm, resident, skew, body);
    expect(actual.result).toEqual(expected.result);
    actual.bytes.forEach((part, i) => {
      expect(Buffer.compare(part, expected.bytes[i]!), `output ${i}, resident ${resident}`).toBe(0);
    });
  }
}

const style = fc.constantFrom(...STYLES);
const seed = fc.integer({ min: 0, max: 1e9 });
const skew = fc.integer({ min: 0, max: 15 });
const length = fc.oneof(fc.integer({ min: 0, max: 70 }), fc.integer({ min: 1000, max: 3100 }));
const rounding = fc.constantFrom('halfEven', 'halfAway', 'floor' as const);
const runs = { numRuns: 60 };

const options = (rule: BlockOptions['rule']): fc.Arbitrary<BlockOptions> =>
  fc.record({
    rule: fc.constant(rule),
    bits: fc.constantFrom(2, 4, 8 as const),
    blockSize: fc.constantFrom(16, 32, 48, 64, 128),
    symmetric: fc.boolean(),
    scaleType: fc.constantFrom('f32', 'f16' as const),
  });

describe.skipIf(created === undefined)(`wasm kernels equal the reference (skips when ${ABSENT})`, () => {
  test('range, powerSums and binCounts agree bit for bit', () => {
    fc.assert(
      fc.property(length, style, seed, skew, (n, kind, s, offset) => {
        expectEqual((kernels, bench) => {
          const values = bench.floats(n, kind, s);
          const counts = new Uint32Array(37);
          kernels.binCounts(values, 8, -18, counts);
          kernels.binCounts(values, 2 ** 120, -3, counts);
          kernels.binCounts(values, 2 ** -100, -20, counts);
          kernels.binCounts(values, 2 ** 8, -(2 ** 22) + 37, counts);
          kernels.binCounts(values, 3, -20, counts);
          return [kernels.range(values), kernels.powerSums(values, 0.0123), [...counts]];
        }, offset);
      }),
      runs,
    );
  });

  test('errorSums agree bit for bit', () => {
    fc.assert(
      fc.property(length, style, style, seed, skew, (n, a, b, s, offset) => {
        expectEqual(
          (kernels, bench) => kernels.errorSums(bench.floats(n, a, s), bench.floats(n, b, s + 1)),
          offset,
        );
      }),
      runs,
    );
  });

  test('reductions over more than one staged chunk agree bit for bit', () => {
    expectEqual((kernels, bench) => {
      const a = bench.floats(150_001, 'normal', 1);
      const b = bench.floats(150_001, 'hostile', 2);
      return [kernels.powerSums(a, 0.5), kernels.powerSums(b, 0), kernels.errorSums(a, b), kernels.range(b)];
    });
  });

  const floats = fc.constantFrom(
    'f64',
    'f32',
    'f16',
    'bf16',
    'f8_e4m3fn',
    'f8_e4m3fnuz',
    'f8_e5m2',
    'f8_e5m2fnuz',
    'f4_e2m1',
    'f8_e8m0' as const,
  );
  const SIZES = {
    f64: 8,
    f32: 4,
    f16: 2,
    bf16: 2,
    f8_e4m3fn: 1,
    f8_e4m3fnuz: 1,
    f8_e5m2: 1,
    f8_e5m2fnuz: 1,
    f4_e2m1: 0.5,
    f8_e8m0: 1,
  };

  test('convert agrees on random bit patterns of every pair of types', () => {
    fc.assert(
      fc.property(
        floats,
        floats,
        fc.integer({ min: 0, max: 200 }),
        seed,
        skew,
        fc.boolean(),
        fc.boolean(),
        (from, to, n, s, offset, clip, saturate) => {
          expectEqual((kernels, bench) => {
            const source = bench.codes(Math.ceil(n * SIZES[from]), s);
            const target = bench.output(Math.ceil(n * SIZES[to]));
            kernels.convert(from, to, source, target, n, { clip: clip ? 'fp16' : undefined, saturate });
          }, offset);
        },
      ),
      { numRuns: 400 },
    );
  });

  test('convert agrees on values beside every rounding boundary of every narrow type', () => {
    const narrow = ['f16', 'bf16', 'f8_e4m3fn', 'f8_e4m3fnuz', 'f8_e5m2', 'f8_e5m2fnuz'] as const;
    // Every exponent, the mantissas beside ties of all widths, both signs.
    const patterns: number[] = [];
    for (let exponent = 0; exponent < 256; exponent++) {
      for (const bit of [12, 15, 19, 20]) {
        for (const high of [0, 0x200000, 0x400000, 0x7f0000]) {
          for (const delta of [-1, 0, 1]) {
            const bits = ((exponent << 23) | ((high + (1 << bit) + delta) & 0x7fffff)) >>> 0;
            patterns.push(bits, (bits | 0x80000000) >>> 0);
          }
        }
      }
    }
    const source = bytesOf(Uint32Array.from(patterns));
    for (const to of narrow) {
      for (const saturate of [false, true]) {
        const size = SIZES[to];
        const actual = new Uint8Array(patterns.length * size);
        const expected = new Uint8Array(patterns.length * size);
        wasm.convert('f32', to, source, actual, patterns.length, { saturate });
        reference.convert('f32', to, source, expected, patterns.length, { saturate });
        expect(Buffer.compare(actual, expected), `${to} saturate ${saturate}`).toBe(0);
      }
    }
  });

  test('every f16 and bf16 code widens to the same f32', () => {
    const codes = bytesOf(Uint16Array.from({ length: 65536 }, (_, i) => i));
    for (const from of ['f16', 'bf16'] as const) {
      const actual = new Uint8Array(4 * 65536);
      const expected = new Uint8Array(4 * 65536);
      wasm.convert(from, 'f32', codes, actual, 65536);
      reference.convert(from, 'f32', codes, expected, 65536);
      expect(Buffer.compare(actual, expected), from).toBe(0);
    }
  });

  test('halves decode as convert has it, and those that are NaN or Inf are counted', () => {
    const normal = fc.constantFrom<Style>('normal', 'hostile', 'tiny');
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 200 }),
        normal,
        seed,
        skew,
        fc.boolean(),
        (n, style, s, offset, raw) => {
          expectEqual((kernels, bench) => {
            const codes = new Uint8Array(n * 2);
            reference.convert('f32', 'f16', bytesOf(bench.floats(n, style, s)), codes, n);
            const source = bench.codes(n * 2, s);
            if (!raw) source.set(codes);
            const target = bench.floats(n, 'zeros', s);
            const count = kernels.decodeHalves(source, target);
            const values = new Float32Array(n);
            reference.convert('f16', 'f32', source, bytesOf(values), n);
            expect(Buffer.compare(bytesOf(target), bytesOf(values))).toBe(0);
            expect(count).toBe(values.filter((value) => !Number.isFinite(value)).length);
            return count;
          }, offset);
        },
      ),
      { numRuns: 300 },
    );
    const many = 200_003;
    const codes = bytesOf(Uint16Array.from({ length: many }, (_, i) => i * 7));
    const [actual, expected] = [new Float32Array(many), new Float32Array(many)];
    expect(wasm.decodeHalves(codes, actual)).toBe(reference.decodeHalves(codes, expected));
    expect(Buffer.compare(bytesOf(actual), bytesOf(expected))).toBe(0);
  });

  test('affine codes agree for every rounding, width and sign of scale', () => {
    const types = fc.constantFrom(
      { low: -128, high: 127, size: 1 },
      { low: 0, high: 255, size: 1 },
      { low: -8, high: 7, size: 1 },
      { low: -32768, high: 32767, size: 2 },
      { low: 0, high: 65535, size: 2 },
    );
    const scale = fc.constantFrom(0.5, 0.013, -0.25, 0, 1e-40, Infinity, 3);
    fc.assert(
      fc.property(
        length,
        style,
        seed,
        skew,
        types,
        scale,
        fc.integer({ min: -8, max: 200 }),
        rounding,
        (n, kind, s, offset, type, factor, zero, mode) => {
          expectEqual((kernels, bench) => {
            const values = bench.floats(n, kind, s);
            const raw = bench.output(n * type.size);
            const back = floatsOf(bench.output(n * 4));
            const target = codesOver(raw, n, type.size, type.low < 0);
            kernels.quantizeAffine(values, factor, zero, type.low, type.high, mode, target);
            if (Number.isFinite(factor)) kernels.dequantizeAffine(target, factor, zero, back);
          }, offset);
        },
      ),
      runs,
    );
  });

  test('per-column ranges and codes agree', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 140 }),
        fc.integer({ min: 1, max: 43 }),
        style,
        seed,
        skew,
        rounding,
        (rows, columns, kind, s, offset, mode) => {
          expectEqual((kernels, bench) => {
            const values = bench.floats(rows * columns, kind, s);
            const low = floatsOf(bench.output(columns * 4)).fill(Infinity);
            const high = floatsOf(bench.output(columns * 4)).fill(-Infinity);
            const target = bench.output(rows * columns);
            const scales = bench.floats(columns, 'ties', s + 3);
            const zeros = Int32Array.from({ length: columns }, (_, c) => c * 5);
            const nonFinite = kernels.columnRange(values, columns, low, high);
            kernels.quantizeAffineColumns(values, columns, scales, zeros, 0, 255, mode, target);
            return nonFinite;
          }, offset);
        },
      ),
      runs,
    );
  });

  test('column blocks for MatMulNBits agree: all bits, ragged rows and columns, tiles that continue a tensor', () => {
    const rows = fc.integer({ min: 1, max: 150 });
    const columns = fc.integer({ min: 1, max: 45 });
    fc.assert(
      fc.property(
        rows,
        columns,
        options('nbits'),
        style,
        seed,
        skew,
        fc.integer({ min: 0, max: 3 }),
        (r, c, o, kind, s, offset, first) => {
          expectEqual((kernels, bench) => {
            const blocks = first + Math.ceil(r / o.blockSize);
            const stride = (blocks * o.blockSize * o.bits) / 8 + 4;
            const tile = bench.floats(r * c, kind, s);
            const packed = bench.output(c * stride);
            const scales = floatsOf(bench.output(c * (blocks + 1) * 4));
            const zeros = o.symmetric && s % 2 === 0 ? new Uint8Array(0) : bench.output(c * (blocks + 1));
            return kernels.quantizeColumnBlocks(
              tile,
              r,
              c,
              o,
              packed,
              stride,
              scales,
              blocks + 1,
              zeros,
              first,
            );
          }, offset);
        },
      ),
      { numRuns: 150 },
    );
  });

  test('row blocks agree under every rule, ragged or not', () => {
    const rule = fc.constantFrom('nbits', 'qdq', 'gather' as const);
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 300 }),
        rule.chain(options),
        style,
        seed,
        skew,
        fc.boolean(),
        (r, n, o, kind, s, offset, whole) => {
          expectEqual((kernels, bench) => {
            const rowLength = whole ? o.blockSize * (1 + (n % 3)) : n;
            const blocks = r * Math.ceil(rowLength / o.blockSize);
            const values = bench.floats(r * rowLength, kind, s);
            const codes = bench.output(r * rowLength);
            const scales = floatsOf(bench.output(blocks * 4));
            const zeros = bench.output(blocks);
            return kernels.quantizeRowBlocks(values, r, rowLength, o, codes, scales, zeros);
          }, offset);
        },
      ),
      { numRuns: 200 },
    );
  });

  test('row-major column blocks agree', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 150 }),
        fc.integer({ min: 1, max: 45 }),
        options('qdq'),
        style,
        seed,
        skew,
        (r, c, o, kind, s, offset) => {
          expectEqual((kernels, bench) => {
            const blocks = Math.ceil(r / o.blockSize);
            const tile = bench.floats(r * c, kind, s);
            const codes = bench.output(r * c);
            const scales = floatsOf(bench.output(blocks * c * 4));
            const zeros = bench.output(blocks * c);
            return kernels.quantizeColumnBlocksRowMajor(tile, r, c, o, codes, scales, zeros);
          }, offset);
        },
      ),
      { numRuns: 100 },
    );
  });

  test('bnb4 codes and absmax agree', () => {
    fc.assert(
      fc.property(
        length,
        fc.constantFrom(16, 64, 24, 128),
        fc.constantFrom('nf4', 'fp4' as const),
        style,
        seed,
        skew,
        (n, size, book, kind, s, offset) => {
          expectEqual((kernels, bench) => {
            const values = bench.floats(n, kind, s);
            const codes = bench.output(n);
            const absmax = floatsOf(bench.output(Math.ceil(n / size) * 4));
            return kernels.quantizeBnb4(values, size, book, codes, absmax);
          }, offset);
        },
      ),
      runs,
    );
  });

  test('block dequantization agrees', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 9 }),
        fc.integer({ min: 1, max: 140 }),
        fc.constantFrom(16, 32, 7),
        fc.constantFrom(2, 4, 8 as const),
        fc.boolean(),
        fc.boolean(),
        seed,
        skew,
        (r, n, size, bits, signed, withZeros, s, offset) => {
          expectEqual((kernels, bench) => {
            const blocks = r * Math.ceil(n / size);
            const codes = bench.codes(r * n, s);
            const scales = bench.floats(blocks, 'normal', s + 1);
            const zeros = withZeros ? bench.codes(blocks, s + 2) : undefined;
            const target = floatsOf(bench.output(r * n * 4));
            kernels.dequantizeRowBlocks(codes, signed, bits, r, n, size, scales, zeros, 8, target);
          }, offset);
        },
      ),
      runs,
    );
  });

  test('packing and unpacking agree for every width and order', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 300 }),
        fc.integer({ min: 1, max: 8 }),
        seed,
        skew,
        (n, bits, s, offset) => {
          expectEqual((kernels, bench) => {
            const order = bits === 4 && s % 2 === 0 ? 'highFirst' : 'lowFirst';
            const packed = bench.output(Math.ceil((n * bits) / 8));
            const back = bench.output(n);
            kernels.packBits(bench.codes(n, s), bits, order, packed);
            kernels.unpackBits(packed, bits, order, back);
          }, offset);
        },
      ),
      { numRuns: 120 },
    );
  });

  test('transposition agrees for 1, 2 and 4 bytes', () => {
    const side = fc.integer({ min: 0, max: 70 });
    fc.assert(
      fc.property(side, side, fc.constantFrom(1, 2, 4 as const), seed, skew, (r, c, size, s, offset) => {
        expectEqual((kernels, bench) => {
          kernels.transpose(bench.codes(r * c * size, s), r, c, size, bench.output(r * c * size));
        }, offset);
      }),
      runs,
    );
  });
});
