/** Jobs write what onnxruntime's own quantizers write, byte for byte. */

import { expect, test } from 'vitest';
import { f32ToF16Bits } from '../../src/core/floats.ts';
import type { Operation, PartRole } from '../../src/numerics/operation.ts';
import { SHARED_ABSENT } from '../shared.ts';
import { type GoldenCase, readGolden } from './golden.ts';
import { runInMemory } from './run.ts';

const golden = readGolden();
const note = golden === undefined ? ` (skipped: ${SHARED_ABSENT})` : '';
const cases = golden?.cases ?? [];

function weightOf(entry: GoldenCase): { values: Float32Array; shape: readonly number[] } {
  const tensor = golden?.tensor(entry.weight);
  if (tensor === undefined) throw new Error('no golden data');
  return { values: new Float32Array(tensor.bytes.slice().buffer), shape: tensor.shape };
}

function expected(entry: GoldenCase, key: string): Uint8Array {
  const output = entry.outputs[key];
  if (output === undefined || golden === undefined) throw new Error(`no output ${key}`);
  return golden.tensor(typeof output === 'string' ? output : output.tensor).bytes;
}

function transposed(values: Float32Array, rows: number, columns: number): Float32Array {
  return Float32Array.from(values, (_, i) => values[(i % rows) * columns + Math.floor(i / rows)] ?? 0);
}

function sameBytes(found: Uint8Array | undefined, wanted: Uint8Array, what: string): void {
  if (found === undefined) throw new Error(`${what} was not written`);
  const at = wanted.findIndex((byte, i) => byte !== found[i]);
  expect({ what, length: found.length, firstDifference: at }).toEqual({
    what,
    length: wanted.length,
    firstDifference: -1,
  });
}

async function check(
  operation: Operation,
  values: ArrayBufferView,
  roles: Partial<Record<PartRole, Uint8Array>>,
  tileBytes?: number,
): Promise<void> {
  const { parts } = await runInMemory(operation, values, { tileBytes });
  for (const [role, bytes] of Object.entries(roles)) {
    sameBytes(new Map(Object.entries(parts)).get(role), bytes, role);
  }
}

const bitsOf = (value: unknown): 2 | 4 | 8 => (value === 2 ? 2 : value === 4 ? 4 : 8);

test.skipIf(golden === undefined)(
  `matmul-nbits jobs equal onnxruntime's MatMulNBits quantizer on every golden case, stored both ways${note}`,
  async () => {
    let count = 0;
    for (const entry of cases.filter((c) => c.case.startsWith('matmulnbits/'))) {
      const { values, shape } = weightOf(entry);
      const [rows = 0, columns = 0] = shape;
      const half = entry.dtype === 'float16';
      const symmetric = entry.symmetric === true;
      for (const turned of [false, true]) {
        const stored = turned ? transposed(values, rows, columns) : values;
        const operation: Operation = {
          kind: 'matmul-nbits',
          from: half ? 'f16' : 'f32',
          rows,
          columns,
          transposed: turned,
          bits: bitsOf(entry.bits),
          blockSize: Number(entry.block_size),
          symmetric,
          scaleType: half ? 'f16' : 'f32',
        };
        await check(operation, half ? Uint16Array.from(stored, f32ToF16Bits) : stored, {
          packed: expected(entry, 'packed'),
          scales: expected(entry, 'scales'),
          ...(symmetric ? {} : { zeroPoints: expected(entry, 'zero_points') }),
        });
        count++;
      }
    }
    expect(count).toBe(372);
  },
);

test.skipIf(golden === undefined)(
  `bnb4 jobs equal onnxruntime's MatMulBnb4 quantizer on every golden case, stored both ways${note}`,
  async () => {
    for (const entry of cases.filter((c) => c.case.startsWith('matmulbnb4/'))) {
      const { values, shape } = weightOf(entry);
      const [rows = 0, columns = 0] = shape;
      for (const turned of [false, true]) {
        const operation: Operation = {
          kind: 'bnb4',
          from: 'f32',
          rows,
          columns,
          transposed: turned,
          codebook: entry.encoding === 'nf4' ? 'nf4' : 'fp4',
          blockSize: Number(entry.block_size),
          scaleType: 'f32',
        };
        await check(
          operation,
          turned ? transposed(values, rows, columns) : values,
          { packed: expected(entry, 'packed'), absmax: expected(entry, 'absmax') },
          4096,
        );
      }
    }
  },
);

test.skipIf(golden === undefined)(
  `gather-block jobs equal onnxruntime's GatherBlockQuantized on every golden case${note}`,
  async () => {
    for (const entry of cases.filter((c) => c.case.startsWith('gather4/'))) {
      const { values, shape } = weightOf(entry);
      const turn = entry.transpose_weight === true;
      const [first = 0, second = 0] = shape;
      const [rows, columns] = turn ? [second, first] : [first, second];
      const symmetric = entry.symmetric === true;
      const operation: Operation = {
        kind: 'gather-block',
        from: 'f32',
        rows,
        columns,
        bits: 4,
        blockSize: Number(entry.block_size),
        symmetric,
        storage: 'typed',
        scaleType: 'f32',
      };
      await check(
        operation,
        turn ? transposed(values, first, second) : values,
        {
          data: expected(entry, 'packed'),
          scales: expected(entry, 'scales'),
          ...(symmetric ? {} : { zeroPoints: expected(entry, 'zero_points') }),
        },
        8192,
      );
    }
  },
);

test.skipIf(golden === undefined)(
  `affine jobs equal onnxruntime's quantize_dynamic on every golden case, read once or twice${note}`,
  async () => {
    for (const entry of cases.filter((c) => c.case.startsWith('affine/'))) {
      const { values, shape } = weightOf(entry);
      const [type] = String(entry.type).split('_');
      if (
        type !== 'int8' &&
        type !== 'uint8' &&
        type !== 'int16' &&
        type !== 'uint16' &&
        type !== 'int4' &&
        type !== 'uint4'
      ) {
        throw new Error(`unknown type ${String(type)}`);
      }
      const operation: Operation = {
        kind: 'affine',
        from: 'f32',
        shape,
        type,
        axis: null,
        symmetric: entry.symmetric === true,
        reduceRange: entry.reduce_range === true,
        scaleType: 'f32',
      };
      await check(
        operation,
        values,
        {
          // The reference holds zero points as int32; the part has the type of the codes.
          zeroPoint: expected(entry, 'zero_point').subarray(0, type.endsWith('16') ? 2 : 1),
          data: expected(entry, 'q'),
          scale: expected(entry, 'scale'),
        },
        4096,
      );
    }
  },
);
