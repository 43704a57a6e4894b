import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type CodebookMatrix,
  dequantizeCodebook,
  fitCodebook,
  gptqCodebook,
  roundToCodebook,
} from '../../src/algorithms/codebook.ts';
import type { InputStatistics } from '../../src/calibration/statistics/input-statistics.ts';
import { f16BitsToF32, f32ToF16Bits } from '../../src/core/floats.ts';
import { createRandom } from '../../src/core/random.ts';
import { referenceKernels } from '../../src/kernels/index.ts';
import { NF4_LEVELS } from '../../src/numerics/encodings/codebooks.ts';

const random = createRandom(11);
const outputs = 9;
const inputs = 24;
const weight = {
  values: Float32Array.from({ length: outputs * inputs }, () => random.normal()),
  outputs,
  inputs,
};

/** Inputs that go together, so that later ones can make up for earlier ones. */
function statistics(n: number, rows = 200): InputStatistics {
  const gram = new Float32Array(n * n);
  const squares = new Float64Array(n);
  for (let row = 0; row < rows; row++) {
    const shared = random.normal();
    const x = Float64Array.from({ length: n }, (_, i) => (1 + (i % 5)) * (random.normal() * 0.6 + shared));
    for (let i = 0; i < n; i++) {
      squares[i] = squares[i]! + x[i]! ** 2;
      for (let j = 0; j < n; j++) gram[i * n + j] = gram[i * n + j]! + x[i]! * x[j]!;
    }
  }
  return { inputs: n, rows, squares, gram };
}

function layerError(coded: CodebookMatrix, { gram }: InputStatistics): number {
  const restored = dequantizeCodebook(coded);
  let sum = 0;
  for (let row = 0; row < outputs; row++) {
    const e = Array.from(
      { length: inputs },
      (_, i) => weight.values[row * inputs + i]! - restored[row * inputs + i]!,
    );
    for (let i = 0; i < inputs; i++)
      for (let j = 0; j < inputs; j++) sum += e[i]! * e[j]! * gram![i * inputs + j]!;
  }
  return sum;
}

const squaredError = (coded: CodebookMatrix): number =>
  dequantizeCodebook(coded).reduce((sum, value, i) => sum + (value - weight.values[i]!) ** 2, 0);

describe('rounding onto a code book', () => {
  const options = { levels: NF4_LEVELS, blockSize: 16 };

  it('round to nearest is what bitsandbytes and onnxruntime do, in blocks that cross rows', () => {
    const codes = new Uint8Array(weight.values.length);
    const absmax = new Float32Array(Math.ceil(codes.length / 16));
    referenceKernels().quantizeBnb4(weight.values, 16, 'nf4', codes, absmax);
    const coded = roundToCodebook(weight, options);
    expect(coded.scales).toEqual(absmax);
    expect(coded.codes).toEqual(codes);
  });

  it('fitted scales lose less, and less still of what the inputs weigh', () => {
    expect(squaredError(fitCodebook(weight, options))).toBeLessThan(
      squaredError(roundToCodebook(weight, options)),
    );
  });

  it('error feedback loses less of the outputs than fitted scales, most with activation order', () => {
    const seen = statistics(inputs);
    const fitted = layerError(fitCodebook(weight, options, seen), seen);
    const gptq = layerError(gptqCodebook(weight, seen, options), seen);
    const ordered = layerError(gptqCodebook(weight, seen, { ...options, activationOrder: true }), seen);
    expect(gptq).toBeLessThan(fitted * 0.7);
    expect(ordered).toBeLessThan(fitted * 0.7);
  });

  it('scales are those that f16 can hold, and zeros stay zeros', () => {
    const half = { ...options, scaleType: 'f16' as const };
    const seen = statistics(inputs);
    for (const coded of [fitCodebook(weight, half), gptqCodebook(weight, seen, half)]) {
      expect(coded.scales.every((scale) => f16BitsToF32(f32ToF16Bits(scale)) === scale)).toBe(true);
    }
    const zeros = { values: new Float32Array(32), outputs: 2, inputs: 16 };
    expect(dequantizeCodebook(fitCodebook(zeros, options))).toEqual(zeros.values);
  });

  it('any levels in any order: every value takes the nearest one', () => {
    const levels = fc
      .uniqueArray(fc.integer({ min: -50, max: 50 }), { minLength: 2, maxLength: 16 })
      .map((list) => Float32Array.from(list, (level) => level / 50));
    fc.assert(
      fc.property(
        levels,
        fc.array(fc.integer({ min: -100, max: 100 }), { minLength: 1, maxLength: 20 }),
        (book, list) => {
          const values = Float32Array.from(list);
          const coded = roundToCodebook(
            { values, outputs: 1, inputs: values.length },
            { levels: book, blockSize: 7 },
          );
          const restored = dequantizeCodebook(coded);
          for (const [i, value] of values.entries()) {
            const scale = coded.scales[Math.floor(i / 7)]!;
            const nearest = Math.min(...Array.from(book, (level) => Math.abs(level * scale - value)));
            expect(Math.abs(restored[i]! - value)).toBeCloseTo(nearest, 3);
          }
        },
      ),
    );
  });
});
