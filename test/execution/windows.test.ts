/** Cutting a tensor into windows and tiles never changes a byte. */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { WeightDType } from '../../src/core/dtype.ts';
import type { Window } from '../../src/execution/operations/context.ts';
import { cutOf, runOperation } from '../../src/execution/operations/run.ts';
import { referenceKernels, selectKernels } from '../../src/kernels/index.ts';
import type { Kernels } from '../../src/kernels/kernels.ts';
import { type Operation, operationParts, qdqMatrices } from '../../src/numerics/operation.ts';
import { weightBytes } from './run.ts';

const reference = referenceKernels();
const fastest = await selectKernels();

async function run(
  operation: Operation,
  bytes: Uint8Array,
  windows: readonly Window[],
  tileBytes: number,
  kernels: Kernels = reference,
): Promise<Map<string, Uint8Array>> {
  const parts = new Map<string, Uint8Array>(
    operationParts(operation).map((part) => [part.role, new Uint8Array(part.bytes).fill(0xaa)]),
  );
  for (const window of windows) {
    await runOperation(operation, window, {
      tensor: 'w',
      kernels,
      nonFinite: 'error',
      measure: true,
      tileBytes,
      read: (offset, target) => target.set(bytes.subarray(offset, offset + target.length)),
      write: (role, offset, written) => parts.get(role)?.set(written, offset),
      checkpoint: () => undefined,
    });
  }
  return parts;
}

const weightTypes = fc.constantFrom<WeightDType[]>('f32', 'f16', 'bf16', 'f64');
const scaleTypes = fc.constantFrom<('f32' | 'f16')[]>('f32', 'f16');
const size = fc.integer({ min: 1, max: 70 });
const blockSize = fc.constantFrom(16, 32);

const operations: fc.Arbitrary<Operation> = fc.oneof(
  fc.record({
    kind: fc.constant('matmul-nbits' as const),
    from: weightTypes,
    rows: size,
    columns: size,
    transposed: fc.boolean(),
    bits: fc.constantFrom(2 as const, 4 as const, 8 as const),
    blockSize,
    symmetric: fc.boolean(),
    scaleType: scaleTypes,
  }),
  fc.record({
    kind: fc.constant('matmul-nbits' as const),
    from: weightTypes,
    rows: size,
    columns: size,
    transposed: fc.boolean(),
    bits: fc.constantFrom(2 as const, 4 as const),
    blockSize,
    symmetric: fc.constant(false),
    zeroPoints: fc.constant('real' as const),
    scaleType: scaleTypes,
  }),
  fc.record({
    kind: fc.constant('bnb4' as const),
    from: weightTypes,
    rows: size,
    columns: size,
    transposed: fc.boolean(),
    codebook: fc.constantFrom('nf4' as const, 'fp4' as const),
    blockSize,
    scaleType: scaleTypes,
  }),
  fc.record({
    kind: fc.constant('qdq-block' as const),
    from: weightTypes,
    rows: size,
    columns: size,
    transposed: fc.boolean(),
    type: fc.constantFrom(
      'int4' as const,
      'uint4' as const,
      'int8' as const,
      'uint8' as const,
      'int2' as const,
      'uint2' as const,
    ),
    blockSize,
    scaleType: scaleTypes,
  }),
  // Filters of a convolution: blocks along the input channels, with and without places behind them.
  fc
    .record({
      kind: fc.constant('qdq-block' as const),
      from: weightTypes,
      filters: fc.integer({ min: 1, max: 12 }),
      rows: fc.integer({ min: 1, max: 40 }),
      columns: fc.integer({ min: 1, max: 9 }),
      type: fc.constantFrom('int4' as const, 'uint4' as const, 'int8' as const, 'uint2' as const),
      blockSize,
      scaleType: scaleTypes,
    })
    .map(({ filters, ...rest }) => {
      const stored = { shape: [filters, rest.rows, rest.columns], axis: 1 };
      return rest.columns === 1
        ? { ...rest, columns: filters, transposed: true, stored }
        : { ...rest, transposed: false, stored };
    }),
  fc.record({
    kind: fc.constant('gather-block' as const),
    from: weightTypes,
    rows: size,
    columns: size,
    bits: fc.constantFrom(4 as const, 8 as const),
    blockSize,
    symmetric: fc.boolean(),
    storage: fc.constant('uint8' as const),
    scaleType: scaleTypes,
  }),
  fc.record({
    kind: fc.constant('gather-block' as const),
    from: weightTypes,
    rows: size,
    columns: size,
    bits: fc.constant(4 as const),
    blockSize,
    symmetric: fc.boolean(),
    storage: fc.constant('typed' as const),
    scaleType: scaleTypes,
  }),
  fc
    .record({
      kind: fc.constant('affine' as const),
      from: weightTypes,
      shape: fc.tuple(
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 9 }),
      ),
      type: fc.constantFrom(
        'int8' as const,
        'uint8' as const,
        'int4' as const,
        'uint4' as const,
        'int16' as const,
        'uint16' as const,
      ),
      axis: fc.constantFrom(null, 0, 1, 2),
      symmetric: fc.boolean(),
      reduceRange: fc.boolean(),
      scaleType: scaleTypes,
      turned: fc.boolean(),
    })
    .map(({ turned, ...rest }) => (turned ? { ...rest, permutation: [2, 0, 1] } : rest)),
  fc.record({
    kind: fc.constant('convert' as const),
    from: weightTypes,
    to: fc.constantFrom('f16' as const, 'bf16' as const, 'f8_e4m3fn' as const, 'f32' as const),
    shape: fc.tuple(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 90 })),
  }),
  fc.record({
    kind: fc.constant('scaled-convert' as const),
    from: weightTypes,
    to: fc.constantFrom('f8_e4m3fn' as const, 'f8_e5m2' as const),
    shape: fc.tuple(
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 9 }),
    ),
    axis: fc.constantFrom(null, 0, 1, 2),
    scaleType: scaleTypes,
  }),
);

const elements = (operation: Operation): number => {
  if ('shape' in operation) return operation.shape.reduce((a, b) => a * b, 1);
  const matrices = operation.kind === 'qdq-block' ? qdqMatrices(operation) : 1;
  return matrices * operation.rows * operation.columns;
};

test('every operation writes the same bytes however its tensor is cut, with the reference and the fastest kernels', async () => {
  await fc.assert(
    fc.asyncProperty(
      operations,
      fc.integer({ min: 1, max: 5 }),
      fc.constantFrom(4, 64, 1024, 4096, 1 << 20),
      fc.nat(),
      async (operation, pieces, tileBytes, seed) => {
        const from = operation.kind === 'copy' || operation.kind === 'ggml' ? 'f32' : operation.from;
        const bytes = weightBytes(from, elements(operation), seed);
        const { units, align } = cutOf(operation);
        const step = Math.max(1, Math.ceil(units / pieces / align)) * align;
        const windows: Window[] = [];
        for (let start = 0; start < units; start += step) {
          windows.push({ start, end: Math.min(units, start + step) });
        }
        const whole = await run(operation, bytes, [{ start: 0, end: units }], 1 << 20);
        const cut = await run(operation, bytes, windows.reverse(), tileBytes, fastest);
        for (const [role, expected] of whole) {
          expect(Buffer.compare(cut.get(role) ?? new Uint8Array(), expected), role).toBe(0);
        }
      },
    ),
    { numRuns: 300 },
  );
});

test('a stored [N, K] weight gives the bytes of its [K, N] form in matmul-nbits and bnb4', async () => {
  for (const [rows, columns] of [
    [33, 7],
    [64, 5],
    [1, 3],
  ] as const) {
    const bytes = weightBytes('f32', rows * columns, 5);
    const values = new Float32Array(bytes.buffer);
    const turned = Float32Array.from(
      values,
      (_, i) => values[(i % rows) * columns + Math.floor(i / rows)] ?? 0,
    );
    const base = { from: 'f32', rows, columns, blockSize: 16, scaleType: 'f32' } as const;
    for (const form of [
      { kind: 'matmul-nbits', bits: 4, symmetric: false } as const,
      { kind: 'bnb4', codebook: 'nf4' } as const,
    ]) {
      const a: Operation = { ...base, ...form, transposed: false };
      const b: Operation = { ...base, ...form, transposed: true };
      const all = [{ start: 0, end: columns }];
      expect(await run(b, new Uint8Array(turned.buffer), all, 64)).toEqual(await run(a, bytes, all, 64));
    }
  }
});
