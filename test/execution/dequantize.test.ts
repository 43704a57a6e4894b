/** What was quantized comes back with exactly the error that was measured while quantizing. */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { f16BitsToF32 } from '../../src/core/floats.ts';
import { dequantizeToMemory } from '../../src/execution/dequantize.ts';
import { executeFiles } from '../../src/execution/execute.ts';
import { createMemorySink } from '../../src/io/memory-sink.ts';
import { selectKernels } from '../../src/kernels/index.ts';
import type { DequantizeOperation } from '../../src/numerics/dequantize-operation.ts';
import { type Operation, type PartRole, qdqMatrices } from '../../src/numerics/operation.ts';
import { runInMemory, weightBytes } from './run.ts';

const kernels = await selectKernels();

const size = fc.integer({ min: 1, max: 70 });
const blockSize = fc.constantFrom(16, 32);
const scaleType = fc.constantFrom('f32' as const, 'f16' as const);

/** The operation that undoes `operation`. */
function inverse(operation: Operation): DequantizeOperation {
  const to = 'f32';
  switch (operation.kind) {
    case 'matmul-nbits':
      return { ...operation, zeroPoints: !operation.symmetric, to };
    case 'bnb4':
      return { ...operation, to };
    case 'gather-block': {
      const signed = operation.symmetric && operation.storage === 'typed';
      return { ...operation, signed, zeroPoints: !operation.symmetric, to };
    }
    case 'affine':
      return { ...operation, zeroPoint: true, to };
    case 'qdq-block': {
      const { rows, columns, transposed, stored } = operation;
      return {
        kind: 'affine',
        shape: stored?.shape ?? (transposed ? [columns, rows] : [rows, columns]),
        type: operation.type,
        axis: stored?.axis ?? (transposed ? 1 : 0),
        blockSize: operation.blockSize,
        scaleType: operation.scaleType,
        zeroPoint: operation.type.startsWith('u'),
        to,
      };
    }
    case 'scaled-convert':
      return { ...operation, kind: 'cast', from: operation.to, scaled: true, to };
    default:
      throw new Error(`no inverse for ${operation.kind}`);
  }
}

const operations: fc.Arbitrary<Operation> = fc.oneof(
  fc.record({
    kind: fc.constant('matmul-nbits' as const),
    from: fc.constant('f32' as const),
    rows: size,
    columns: size,
    transposed: fc.boolean(),
    bits: fc.constantFrom(2 as const, 4 as const, 8 as const),
    blockSize,
    symmetric: fc.boolean(),
    scaleType,
  }),
  fc.record({
    kind: fc.constant('bnb4' as const),
    from: fc.constant('f32' as const),
    rows: size,
    columns: size,
    transposed: fc.boolean(),
    codebook: fc.constantFrom('nf4' as const, 'fp4' as const),
    blockSize,
    scaleType,
  }),
  fc.record({
    kind: fc.constant('gather-block' as const),
    from: fc.constant('f32' as const),
    rows: size,
    columns: size,
    bits: fc.constant(4 as const),
    blockSize,
    symmetric: fc.boolean(),
    storage: fc.constantFrom('typed' as const, 'uint8' as const),
    scaleType,
  }),
  fc.record({
    kind: fc.constant('qdq-block' as const),
    from: fc.constant('f32' as const),
    rows: size,
    columns: size,
    transposed: fc.boolean(),
    type: fc.constantFrom('int4' as const, 'uint4' as const, 'int8' as const, 'uint2' as const),
    blockSize,
    scaleType,
  }),
  // Filters of a convolution: blocks along the input channels.
  fc
    .record({
      kind: fc.constant('qdq-block' as const),
      from: fc.constant('f32' as const),
      filters: fc.integer({ min: 1, max: 12 }),
      rows: fc.integer({ min: 1, max: 40 }),
      columns: fc.integer({ min: 1, max: 9 }),
      transposed: fc.constant(false),
      type: fc.constantFrom('int4' as const, 'uint4' as const, 'uint8' as const, 'uint2' as const),
      blockSize,
      scaleType,
    })
    .map(({ filters, ...rest }) => ({
      ...rest,
      stored: { shape: [filters, rest.rows, rest.columns], axis: 1 },
    })),
  fc.record({
    kind: fc.constant('affine' as const),
    from: fc.constant('f32' as const),
    shape: fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 })),
    type: fc.constantFrom('int8' as const, 'uint8' as const, 'int4' as const, 'uint16' as const),
    axis: fc.constantFrom(null, 0, 1),
    symmetric: fc.boolean(),
    reduceRange: fc.boolean(),
    scaleType,
  }),
  fc.record({
    kind: fc.constant('scaled-convert' as const),
    from: fc.constant('f32' as const),
    to: fc.constantFrom('f8_e4m3fn' as const, 'f8_e5m2' as const),
    shape: fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 })),
    axis: fc.constantFrom(null, 0, 1),
    scaleType,
  }),
);

const elements = (operation: Operation): number => {
  if ('shape' in operation) return operation.shape.reduce((a, b) => a * b, 1);
  const matrices = operation.kind === 'qdq-block' ? qdqMatrices(operation) : 1;
  return matrices * operation.rows * operation.columns;
};

type Sources = Partial<Record<PartRole, { kind: 'inline'; bytes: Uint8Array }>>;

/** Parts as sources; those of a blocked QDQ weight under the names of the inverse. */
function sourcesOf(
  parts: Readonly<Partial<Record<PartRole, Uint8Array>>>,
  kind?: Operation['kind'],
): Sources {
  const names: Record<string, string> =
    kind === 'qdq-block' ? { scales: 'scale', zeroPoints: 'zeroPoint' } : {};
  const entries = Object.entries(parts).map(([role, bytes]) => [
    names[role] ?? role,
    { kind: 'inline' as const, bytes },
  ]);
  return Object.fromEntries(entries);
}

test('values come back with exactly the largest error that quantizing reported', async () => {
  await fc.assert(
    fc.asyncProperty(
      operations,
      fc.nat(),
      fc.constantFrom(64, 1 << 20),
      async (operation, seed, tileBytes) => {
        const bytes = weightBytes('f32', elements(operation), seed);
        const { parts, report } = await runInMemory(operation, bytes, { measure: true });
        const back = await dequantizeToMemory('w', inverse(operation), sourcesOf(parts, operation.kind), {
          tileBytes,
          kernels,
        });
        const values = new Float32Array(bytes.buffer);
        expect(back.length).toBe(values.length);
        let maxAbs = 0;
        for (let i = 0; i < back.length; i++) {
          maxAbs = Math.max(maxAbs, Math.abs((back[i] ?? 0) - (values[i] ?? 0)));
        }
        expect(Math.fround(maxAbs)).toBe(Math.fround(report.maxAbs ?? Number.NaN));
      },
    ),
    { numRuns: 150 },
  );
});

test('f16 output is the f32 output rounded once', async () => {
  const operation: Operation = {
    kind: 'matmul-nbits',
    from: 'f32',
    rows: 40,
    columns: 6,
    transposed: false,
    bits: 4,
    blockSize: 16,
    symmetric: true,
    scaleType: 'f32',
  };
  const { parts } = await runInMemory(operation, weightBytes('f32', 240, 1));
  const wide = await dequantizeToMemory('w', inverse(operation), sourcesOf(parts));
  const sink = createMemorySink('half', 480);
  const half: DequantizeOperation = {
    kind: 'matmul-nbits',
    rows: 40,
    columns: 6,
    transposed: false,
    bits: 4,
    blockSize: 16,
    scaleType: 'f32',
    zeroPoints: false,
    to: 'f16',
  };
  await executeFiles({
    files: [
      {
        name: 'half',
        size: 480,
        segments: [{ kind: 'part', offset: 0, length: 480, task: 0, role: 'data' }],
      },
    ],
    tasks: [],
    restorations: [{ id: 0, tensor: 'w', operation: half, sources: sourcesOf(parts) }],
    target: { sinks: [sink] },
  });
  const bits = new Uint16Array(sink.bytes().slice().buffer);
  wide.forEach((value, i) => {
    expect(Math.abs(f16BitsToF32(bits[i] ?? 0) - value)).toBeLessThanOrEqual(Math.abs(value) * 2 ** -11);
  });
});

test('a stored part that is shorter than its shape is refused, never read past its end', async () => {
  const bytes = new Uint8Array(64);
  await expect(
    dequantizeToMemory(
      'w',
      {
        kind: 'affine',
        shape: [65],
        type: 'int8',
        axis: null,
        scaleType: 'f32',
        zeroPoint: false,
        to: 'f32',
      },
      { data: { kind: 'inline', bytes }, scale: { kind: 'inline', bytes: new Uint8Array(4) } },
    ),
  ).rejects.toMatchObject({ code: 'E_TENSOR_SIZE' });
});
