/** Values that come out with their last two axes exchanged are the same values, however the work is cut. */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createRandom } from '../../src/core/random.ts';
import { dequantizeToMemory } from '../../src/execution/dequantize.ts';
import type { TensorBytes } from '../../src/formats/layout.ts';
import type { DequantizeAffine } from '../../src/numerics/dequantize-operation.ts';

const inline = (view: ArrayBufferView): TensorBytes => ({
  kind: 'inline',
  bytes: new Uint8Array(view.buffer, view.byteOffset, view.byteLength),
});

const dim = fc.integer({ min: 1, max: 40 });

test('exchanging the last two axes moves values and changes none', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.tuple(fc.integer({ min: 1, max: 3 }), dim, dim),
      fc.constantFrom(null, 0, 1, 2),
      fc.constantFrom(undefined, 1, 16, 64),
      fc.boolean(),
      fc.constantFrom(32, 256, 1 << 20),
      async (shape, axis, size, zeroPoint, tileBytes) => {
        const [d, a, b] = shape;
        const random = createRandom(d * 1000 + a * 40 + b);
        const blockSize = axis === null ? undefined : size;
        const length = axis === null ? 1 : shape[axis]!;
        const parameters =
          blockSize === undefined ? length : ((d * a * b) / length) * Math.ceil(length / blockSize);
        const sources = {
          data: inline(Int8Array.from({ length: d * a * b }, () => random.normal() * 40)),
          scale: inline(Float32Array.from({ length: parameters }, () => Math.abs(random.normal()))),
          ...(zeroPoint && {
            zeroPoint: inline(Int8Array.from({ length: parameters }, () => random.normal() * 5)),
          }),
        };
        const operation: DequantizeAffine = {
          kind: 'affine',
          shape,
          type: 'int8',
          axis,
          blockSize,
          scaleType: 'f32',
          zeroPoint,
          to: 'f32',
        };
        const plain = await dequantizeToMemory('w', operation, sources, { tileBytes });
        const swapped = await dequantizeToMemory('w', { ...operation, swapped: true }, sources, {
          tileBytes,
        });
        const expected = plain.map((_, i) => {
          const [row, column] = [i % a, Math.floor(i / a) % b];
          return plain[Math.floor(i / (a * b)) * a * b + row * b + column]!;
        });
        expect(swapped).toEqual(expected);
      },
    ),
    { numRuns: 60, seed: 5 },
  );
});
