/** Rows of ggml types: importance by llama-quantize's arithmetic, cut as one likes, and refused where it would refuse. */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BLOCK_TYPES, type GgmlType, ggmlBytes, isBlockType } from '../../src/core/ggml-types.ts';
import { type ExecuteOptions, executeFiles } from '../../src/execution/execute.ts';
import type { TensorBytes } from '../../src/formats/layout.ts';
import { createMemorySink } from '../../src/io/memory-sink.ts';
import { referenceKernels } from '../../src/kernels/index.ts';
import type { Kernels } from '../../src/kernels/kernels.ts';
import { firstBadBlock, firstBadHalf } from '../../src/numerics/ggml-scales.ts';
import type { GgmlOperation } from '../../src/numerics/operation.ts';
import { layoutOf, weightBytes } from './run.ts';

interface Call {
  readonly rows: number;
  readonly importance: readonly number[] | undefined;
}

/** Kernels whose blocks hold the low bytes of nothing but note with what they were made. */
function notingKernels(calls: Call[]): Kernels {
  return {
    ...referenceKernels(),
    prepareBlocks: async () => undefined,
    quantizeBlocks(_type, values, rowLength, importance, target) {
      calls.push({ rows: values.length / rowLength, importance: importance && [...importance] });
      target.fill(0);
    },
    dequantizeBlocks: (_type, _source, target) => {
      target.fill(0);
    },
  };
}

const bytesOf = (values: ArrayLike<number>): TensorBytes => ({
  kind: 'inline',
  bytes: new Uint8Array(Float32Array.from(values).buffer),
});

const base: GgmlOperation = { kind: 'ggml', from: 'f32', to: 'q4_0', rows: 6, columns: 32, matrixRows: 2 };

async function run(
  operation: GgmlOperation,
  source: Uint8Array,
  importance?: { values: TensorBytes; counts?: TensorBytes },
  options: ExecuteOptions = {},
) {
  const { file } = layoutOf('out', [operation]);
  const sink = createMemorySink('out', file.size);
  const report = await executeFiles({
    files: [file],
    tasks: [{ id: 0, tensor: 'blk.0.w', operation, source: { kind: 'inline', bytes: source }, importance }],
    target: { sinks: [sink] },
    threads: 1,
    ...options,
  });
  return { bytes: sink.bytes(), report };
}

const weights = weightBytes('f32', 6 * 32, 1);
const values = Array.from({ length: 96 }, (_, i) => i * 0.1 + 0.05);

test('each matrix gets its slice of the importance, value / count rounded once, and no tile crosses a matrix', async () => {
  const calls: Call[] = [];
  const counts = [3, 0, 7.5];
  await run(
    { ...base, importance: 'counts' },
    weights,
    { values: bytesOf(values), counts: bytesOf(counts) },
    {
      kernels: notingKernels(calls),
    },
  );
  expect(calls.map(({ rows }) => rows)).toEqual([2, 2, 2]);
  const f = Math.fround;
  const wanted = [3, 0, 8].map((count, matrix) =>
    values.slice(matrix * 32, (matrix + 1) * 32).map((value) => (count > 0 ? f(f(value) / count) : 1)),
  );
  expect(calls.map(({ importance }) => importance)).toEqual(wanted);
});

test('one count serves all matrices; a number divides every value, and leaves them where it is 0', async () => {
  const forms = [
    { importance: 'counts', counts: bytesOf([4]), divisor: 4 },
    { importance: 7, counts: undefined, divisor: 7 },
    { importance: 0, counts: undefined, divisor: 1 },
  ] as const;
  for (const { importance, counts, divisor } of forms) {
    const calls: Call[] = [];
    const source = { values: bytesOf(values), ...(counts !== undefined && { counts }) };
    await run({ ...base, importance }, weights, source, {
      kernels: notingKernels(calls),
      tileBytes: 128,
    });
    expect(calls).toHaveLength(6);
    expect(calls[5]?.importance).toEqual(
      values.slice(64).map((value) => Math.fround(Math.fround(value) / divisor)),
    );
  }
});

test('without importance tiles take rows of several matrices', async () => {
  const calls: Call[] = [];
  await run(base, weights, undefined, { kernels: notingKernels(calls) });
  expect(calls).toEqual([{ rows: 6, importance: undefined }]);
});

test('importance that does not fit, or is no number, is refused', async () => {
  const kernels = notingKernels([]);
  const counted: GgmlOperation = { ...base, importance: 'counts' };
  const refused = (source: { values: TensorBytes; counts?: TensorBytes }) =>
    run(counted, weights, source, { kernels }).then(
      () => 'accepted',
      (error: { code: string }) => error.code,
    );
  expect(await refused({ values: bytesOf(values.slice(1)), counts: bytesOf([1]) })).toBe('E_TENSOR_SIZE');
  expect(await refused({ values: bytesOf(values), counts: bytesOf([1, 2, 3, 4, 5]) })).toBe('E_TENSOR_SIZE');
  expect(await refused({ values: bytesOf(values), counts: bytesOf([]) })).toBe('E_TENSOR_SIZE');
  expect(await refused({ values: bytesOf(values.with(40, Number.NaN)), counts: bytesOf([1]) })).toBe(
    'E_NONFINITE',
  );
  expect(await refused({ values: bytesOf(values), counts: bytesOf([Number.POSITIVE_INFINITY]) })).toBe(
    'E_NONFINITE',
  );
});

test.each([
  ['f32', 'f16'],
  ['f16', 'f32'],
  ['bf16', 'f16'],
  ['f32', 'bf16'],
  ['f16', 'q8_0'],
  ['f32', 'q8_0'],
] as const)('%s to %s: however the tiles fall, the bytes are the same, and measured', async (from, to) => {
  const operation: GgmlOperation = { kind: 'ggml', from, to, rows: 96, columns: 64, matrixRows: 32 };
  const source = weightBytes(from, 96 * 64, 2);
  const whole = await run(operation, source, undefined, { measure: true });
  const tiled = await run(operation, source, undefined, { tileBytes: 64 * 4 * 5 });
  expect(Buffer.from(tiled.bytes).equals(Buffer.from(whole.bytes))).toBe(true);
  expect(whole.report.tensors[0]?.sqnr).toBeGreaterThan(25);
  expect(tiled.report.tensors[0]?.sqnr).toBeUndefined();
});

test('NaN and Inf are refused with the element; plain targets take them where that is asked for, blocks never', async () => {
  const source = weights.slice();
  new DataView(source.buffer).setFloat32(4 * 70, Number.NaN, true);
  const code = (to: GgmlType, nonFinite?: 'keep') =>
    run({ ...base, to }, source, undefined, { nonFinite }).then(
      ({ report }) => report.tensors[0]?.nonFinite,
      (error: { code: string; message: string }) => `${error.code} ${error.message}`,
    );
  expect(await code('f16')).toBe('E_NONFINITE the weight holds NaN at element 70');
  expect(await code('q8_0', 'keep')).toBe('E_NONFINITE the weight holds NaN at element 70');
  expect(await code('f16', 'keep')).toBe(1);
  expect(await code('f32')).toMatch(/^E_NONFINITE/);
});

test('values too large for the target are refused, not written as infinite scales', async () => {
  const source = weights.slice();
  new DataView(source.buffer).setFloat32(4 * 65, 3e7, true);
  for (const to of ['f16', 'q8_0'] as const) {
    await expect(run({ ...base, to }, source)).rejects.toMatchObject({
      code: 'E_NONFINITE',
      message: expect.stringMatching(`^values near element 6[45] are too large for ${to}$`),
    });
  }
  await run({ ...base, to: 'bf16' }, source);
});

test('from a type to itself the bytes are copied, and refused where a scale is no number', async () => {
  for (const from of ['f32', 'f16', 'q8_0', 'mxfp4', 'i32'] as const) {
    const operation: GgmlOperation = { ...base, from, to: from };
    const source = new Uint8Array(ggmlBytes(from, 32) * 6).map((_, i) => i % 50);
    const { bytes } = await run(operation, source, undefined, { tileBytes: 200 });
    expect(Buffer.from(bytes).equals(Buffer.from(source)), from).toBe(true);
    if (from === 'i32') continue;
    const row = ggmlBytes(from, 32);
    // All ones are NaN in every one of them.
    source.fill(0xff, 3 * row, 4 * row);
    await expect(run(operation, source), from).rejects.toMatchObject({
      code: 'E_NONFINITE',
      message: expect.stringMatching(/at element 96$/),
      details: { tensor: 'blk.0.w' },
    });
  }
});

test('a bad scale is found in every type of block that has one, wherever it stands', () => {
  for (const type of Object.keys(BLOCK_TYPES)) {
    if (!isBlockType(type)) throw new Error(type);
    const { bytes } = BLOCK_TYPES[type];
    const blocks = new Uint8Array(bytes * 5);
    expect(firstBadBlock(type, blocks)).toBe(-1);
    blocks.fill(0xff, bytes * 3, bytes * 4);
    expect(firstBadBlock(type, blocks)).toBe(type === 'nvfp4' ? -1 : 3);
  }
});

test('halves are told apart as their definition says', () => {
  fc.assert(
    fc.property(fc.nat(0xffff), (bits) => {
      const halves = Uint16Array.of(0, bits, 0x7bff);
      const bytes = new Uint8Array(halves.buffer);
      expect(firstBadHalf('f16', bytes)).toBe((bits & 0x7c00) === 0x7c00 ? 1 : -1);
      const brain = new Uint8Array(Uint16Array.of(0, bits).buffer);
      expect(firstBadHalf('bf16', brain)).toBe((bits & 0x7f80) === 0x7f80 ? 1 : -1);
    }),
  );
});
