import { describe, expect, it } from 'vitest';
import { dequantizeMatrix } from '../../src/algorithms/matrix.ts';
import { f16BitsToF32 } from '../../src/core/floats.ts';
import { createRandom } from '../../src/core/random.ts';
import { type CodedMatrix, type PackableOperation, packMatrix } from '../../src/numerics/pack-matrix.ts';
import { isTurned, storedGrid } from '../../src/numerics/stored-grid.ts';
import { runInMemory } from '../execution/run.ts';

const TYPE_BITS: Record<string, number> = { int2: 2, uint2: 2, int4: 4, uint4: 4, int8: 8, uint8: 8 };

/** Codes of `bits` from packed bytes, low bits first. */
function unpack(bytes: Uint8Array, bits: number, count: number): Uint8Array {
  const perByte = 8 / bits;
  return Uint8Array.from(
    { length: count },
    (_, i) => (bytes[Math.floor(i / perByte)]! >> ((i % perByte) * bits)) & (2 ** bits - 1),
  );
}

function floats(bytes: Uint8Array | undefined, half: boolean): Float32Array {
  if (bytes === undefined) throw new Error('no scales');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float32Array.from({ length: bytes.length / (half ? 2 : 4) }, (_, i) =>
    half ? f16BitsToF32(view.getUint16(i * 2, true)) : view.getFloat32(i * 4, true),
  );
}

/** The matrix of what an encoder wrote, read back by the layouts of docs/onnx.md. */
function matrixOf(
  operation: PackableOperation,
  turned: boolean,
  parts: Readonly<Partial<Record<string, Uint8Array>>>,
): CodedMatrix {
  const grid = storedGrid(operation, turned);
  if (grid === undefined) throw new Error('no grid');
  const { bits, outputs, inputs, groupSize } = grid;
  const groups = Math.ceil(inputs / groupSize);
  const at = (row: number, column: number, rows: number, columns: number, flip: boolean) =>
    flip ? column * rows + row : row * columns + column;
  const half = operation.scaleType === 'f16';
  const codes = new Uint8Array(outputs * inputs);
  const scales = new Float32Array(outputs * groups);
  const zeroPoints = new Float32Array(outputs * groups).fill(2 ** (bits - 1));
  const nbits = operation.kind === 'matmul-nbits';
  const signed = 'type' in operation && !operation.type.startsWith('u');
  const flip = signed ? 1 << (bits - 1) : 0;
  const padded = groups * groupSize;
  const data = unpack(parts[nbits ? 'packed' : 'data']!, bits, nbits ? outputs * padded : outputs * inputs);
  const stored = floats(parts[operation.kind === 'affine' ? 'scale' : 'scales'], half);
  const points = parts[operation.kind === 'affine' ? 'zeroPoint' : 'zeroPoints'];
  const slots = nbits ? (Math.ceil((groups * bits) / 8) * 8) / bits : groups;
  const zeros = points && unpack(points, bits, outputs * slots);
  for (let row = 0; row < outputs; row++) {
    for (let column = 0; column < inputs; column++) {
      const place = nbits ? row * padded + column : at(row, column, outputs, inputs, turned);
      codes[row * inputs + column] = data[place]! ^ flip;
    }
    for (let group = 0; group < groups; group++) {
      const place = at(row, group, outputs, groups, turned && !nbits);
      scales[row * groups + group] = stored[place]!;
      if (zeros !== undefined)
        zeroPoints[row * groups + group] = zeros[nbits ? row * slots + group : place]! ^ flip;
    }
  }
  return { outputs, inputs, codes, scales, zeroPoints };
}

const random = createRandom(7);
const values = Float32Array.from({ length: 96 * 64 }, () => random.normal());

const nbits = (bits: 2 | 4 | 8, symmetric: boolean, transposed: boolean, scaleType: 'f32' | 'f16') =>
  ({
    kind: 'matmul-nbits',
    from: 'f32',
    rows: 96,
    columns: 64,
    transposed,
    bits,
    blockSize: 32,
    symmetric,
    scaleType,
  }) as const;

const qdq = (type: 'int4' | 'uint4' | 'int8' | 'uint8' | 'int2' | 'uint2', transposed: boolean) =>
  ({
    kind: 'qdq-block',
    from: 'f32',
    rows: 96,
    columns: 64,
    transposed,
    type,
    blockSize: 32,
    scaleType: 'f32',
  }) as const;

const affine = (type: 'int8' | 'uint8' | 'int4' | 'uint4', turned: boolean) =>
  ({
    kind: 'affine',
    from: 'f32',
    shape: turned ? [96, 64] : [64, 96],
    type,
    axis: turned ? 1 : 0,
    symmetric: !type.startsWith('u'),
    reduceRange: false,
    scaleType: 'f32',
  }) as const;

describe('packing codes, scales and zero points of a matrix', () => {
  const operations: PackableOperation[] = [
    ...([2, 4, 8] as const).flatMap((bits) => [
      nbits(bits, true, false, 'f32'),
      nbits(bits, false, false, 'f16'),
      nbits(bits, false, true, 'f32'),
    ]),
    ...(['int2', 'uint2', 'int4', 'uint4', 'int8', 'uint8'] as const).flatMap((type) => [
      qdq(type, false),
      qdq(type, true),
    ]),
    ...(['int4', 'uint4', 'int8', 'uint8'] as const).flatMap((type) => [
      affine(type, true),
      affine(type, false),
    ]),
  ];
  for (const operation of operations) {
    const turned = isTurned(operation);
    const name = 'type' in operation ? operation.type : `${operation.bits} bits`;
    it(`reproduces the bytes of the encoder from its own codes: ${operation.kind} ${name}, ${turned ? '[K, N]' : '[N, K]'}`, async () => {
      const { parts } = await runInMemory(operation, values);
      const packed = packMatrix(operation, matrixOf(operation, turned, parts), turned);
      expect([...packed.keys()].sort()).toEqual(Object.keys(parts).sort());
      for (const [role, bytes] of packed) expect(bytes, role).toEqual(parts[role]);
    });
  }

  it('fills a last short block with the zero point, which stands for 0', () => {
    const operation = { ...nbits(4, false, true, 'f32'), rows: 40, columns: 1 };
    const codes = Uint8Array.from({ length: 40 }, (_, i) => i % 16);
    const matrix = {
      outputs: 1,
      inputs: 40,
      codes,
      scales: Float32Array.of(1, 2),
      zeroPoints: Float32Array.of(3, 5),
    };
    const packed = packMatrix(operation, matrix, false).get('packed')!;
    expect(unpack(packed, 4, 64)).toEqual(Uint8Array.from([...codes, ...new Array<number>(24).fill(5)]));
  });
});

describe('the grid that an operation stores', () => {
  it('is none where scales are not those of runs of inputs: per tensor, other axes, blocks within channels', () => {
    expect(storedGrid({ ...affine('int8', true), axis: null }, true)).toBeUndefined();
    expect(storedGrid({ ...affine('int8', true), axis: 0 }, true)).toBeUndefined();
    const filters = { ...qdq('uint4', false), rows: 40, stored: { shape: [8, 40, 64], axis: 1 } };
    expect(storedGrid(filters, false)).toBeUndefined();
    expect(storedGrid(nbits(4, true, true, 'f32'), true)).toBeUndefined();
  });

  it('takes the channels of a place side by side where blocks run across channels, and 7 bits of a byte', () => {
    const filters = { ...qdq('uint4', false), stored: { shape: [8, 96, 64], axis: 1 } };
    expect(storedGrid(filters, false)).toMatchObject({
      outputs: 8,
      inputs: 96 * 64,
      groupSize: 32,
      filters: { channels: 96, places: 64 },
    });
    expect(storedGrid({ ...affine('uint8', true), reduceRange: true }, true)).toMatchObject({ bits: 7 });
  });

  it('gives back what the file computes: (code − zero point) · scale', () => {
    const grid = storedGrid(qdq('int4', true), false);
    expect(grid).toMatchObject({ bits: 4, groupSize: 32, symmetric: true, outputs: 64, inputs: 96 });
    const quantized = {
      outputs: 1,
      inputs: 2,
      bits: 4,
      groupSize: 2,
      symmetric: true,
      codes: Uint8Array.of(0, 15),
      scales: Float32Array.of(0.5),
      zeroPoints: Float32Array.of(8),
    };
    expect(dequantizeMatrix(quantized)).toEqual(Float32Array.of(-4, 3.5));
    expect(TYPE_BITS.int4).toBe(4);
  });
});
