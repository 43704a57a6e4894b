/**
 * The SIMD kernels against the plain-TypeScript reference: same process, same values, one thread. Values and outputs lie
 * in the kernels' own memory for the SIMD side and in ordinary arrays for the reference. Figures are medians of repeated
 * runs after a warm-up; 4 M weights, so that neither side lives in the second cache.
 */

import { createRandom } from '#src/core/random.js';
import { type BlockOptions, type Kernels, referenceKernels, wasmKernels } from '#src/kernels/index.js';
import { StatisticsAccumulator } from '#src/numerics/index.js';
import { median } from './statistics.ts';

export interface KernelFigure {
  readonly name: string;
  readonly unit: 'weights/s';
  readonly ours: number;
  readonly reference: number;
  readonly ratio: number;
}

const ROWS = 2048;
const COLUMNS = 2048;
const COUNT = ROWS * COLUMNS;

/** Arrays of one side; every kernel below writes to `codes`, `scales` and `zeros`. */
interface Workspace {
  readonly values: Float32Array;
  readonly other: Float32Array;
  readonly codes: Uint8Array;
  readonly bytes: Uint8Array;
  readonly scales: Float32Array;
  readonly zeros: Uint8Array;
}

function workspace(kernels: Kernels, values: Float32Array): Workspace {
  const arena = kernels.arena(COUNT * 20);
  const space = {
    values: arena.f32(COUNT),
    other: arena.f32(COUNT),
    codes: arena.u8(COUNT),
    bytes: arena.u8(COUNT * 4),
    scales: arena.f32(COUNT / 16),
    zeros: arena.u8(COUNT / 16),
  };
  space.values.set(values);
  space.other.set(values.map((x) => x * 1.01));
  return space;
}

const nbits = (bits: 2 | 4 | 8, symmetric: boolean): BlockOptions => ({
  rule: 'nbits',
  bits,
  blockSize: 32,
  symmetric,
  scaleType: 'f32',
});

type Run = (kernels: Kernels, space: Workspace) => unknown;

function columnBlocks(options: BlockOptions): Run {
  const stride = (ROWS * options.bits) / 8;
  const blocks = ROWS / options.blockSize;
  return (kernels, { values, codes, scales, zeros }) =>
    kernels.quantizeColumnBlocks(values, ROWS, COLUMNS, options, codes, stride, scales, blocks, zeros, 0);
}

function rowBlocks(options: BlockOptions): Run {
  return (kernels, { values, codes, scales, zeros }) =>
    kernels.quantizeRowBlocks(values, ROWS, COLUMNS, options, codes, scales, zeros);
}

const asBytes = (array: Float32Array): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

const RUNS: readonly (readonly [name: string, run: Run])[] = [
  ['quantizeColumnBlocks 4 bits, groups of 32, symmetric', columnBlocks(nbits(4, true))],
  ['quantizeColumnBlocks 4 bits, groups of 32, asymmetric', columnBlocks(nbits(4, false))],
  ['quantizeColumnBlocks 8 bits, groups of 32, symmetric', columnBlocks(nbits(8, true))],
  ['quantizeColumnBlocks 2 bits, groups of 32, asymmetric', columnBlocks(nbits(2, false))],
  ['quantizeRowBlocks 4 bits, groups of 32, symmetric', rowBlocks(nbits(4, true))],
  ['quantizeRowBlocks 8 bits, groups of 32, asymmetric', rowBlocks({ ...nbits(8, false), rule: 'qdq' })],
  ['quantizeRowBlocks 4 bits, gather rule', rowBlocks({ ...nbits(4, true), rule: 'gather' })],
  [
    'quantizeColumnBlocksRowMajor 4 bits, groups of 32',
    (kernels, { values, codes, scales, zeros }) =>
      kernels.quantizeColumnBlocksRowMajor(
        values,
        ROWS,
        COLUMNS,
        { ...nbits(4, true), rule: 'qdq' },
        codes,
        scales,
        zeros,
      ),
  ],
  [
    'quantizeBnb4 nf4, blocks of 64',
    (kernels, { values, codes, scales }) => kernels.quantizeBnb4(values, 64, 'nf4', codes, scales),
  ],
  [
    'quantizeAffine int8',
    (kernels, { values, codes }) =>
      kernels.quantizeAffine(
        values,
        0.001,
        3,
        -128,
        127,
        'halfEven',
        new Int8Array(codes.buffer, codes.byteOffset, COUNT),
      ),
  ],
  [
    'dequantizeRowBlocks 4 bits, groups of 32',
    (kernels, { codes, scales, other }) =>
      kernels.dequantizeRowBlocks(codes, false, 4, ROWS, COLUMNS, 32, scales, undefined, 8, other),
  ],
  [
    'statistics: all of one pass of a StatisticsAccumulator',
    (kernels, { values }) => new StatisticsAccumulator({ kernels }).add(values),
  ],
  ['range', (kernels, { values }) => kernels.range(values)],
  ['powerSums', (kernels, { values }) => kernels.powerSums(values, 0.001)],
  ['errorSums', (kernels, { values, other }) => kernels.errorSums(values, other)],
  [
    'binCounts 2,048 bins',
    (kernels, { values }) => kernels.binCounts(values, 2048, -1024, new Uint32Array(2048)),
  ],
  [
    'convert f32 to f16, clipped',
    (kernels, { values, bytes }) =>
      kernels.convert('f32', 'f16', asBytes(values), bytes, COUNT, { clip: 'fp16' }),
  ],
  [
    'convert f32 to f8_e4m3fn',
    (kernels, { values, bytes }) => kernels.convert('f32', 'f8_e4m3fn', asBytes(values), bytes, COUNT),
  ],
  [
    'transpose 4 bytes',
    (kernels, { values, bytes }) => kernels.transpose(asBytes(values), ROWS, COLUMNS, 4, bytes),
  ],
  ['packBits 4', (kernels, { codes, bytes }) => kernels.packBits(codes, 4, 'lowFirst', bytes)],
];

const ROUNDS = 5;
const RUNS_A_ROUND = 3;

const timed = (run: () => unknown): number => {
  const start = performance.now();
  run();
  return (performance.now() - start) / 1000;
};

/** Seconds of one run of each side: medians, in turns, so that a busy moment of the machine meets both. */
function measure(plain: () => unknown, fast: () => unknown): { plain: number; fast: number } {
  const times = { plain: [] as number[], fast: [] as number[] };
  for (const run of [plain, fast, fast]) run();
  for (let round = 0; round < ROUNDS; round++) {
    times.plain.push(timed(plain));
    for (let i = 0; i < RUNS_A_ROUND; i++) times.fast.push(timed(fast));
  }
  return { plain: median(times.plain), fast: median(times.fast) };
}

/** Weights for each second, both sides, for every kernel that has a SIMD form; empty where the machine has no SIMD. */
export async function benchKernels(): Promise<KernelFigure[]> {
  const wasm = await wasmKernels();
  if (wasm === undefined) return [];
  const reference = referenceKernels();
  const random = createRandom(1);
  const values = new Float32Array(COUNT);
  for (let i = 0; i < COUNT; i++) values[i] = random.normal() * 0.05;
  const fast = workspace(wasm, values);
  const plain = workspace(reference, values);
  return RUNS.map(([name, run]) => {
    const seconds = measure(
      () => run(reference, plain),
      () => run(wasm, fast),
    );
    const ours = COUNT / seconds.fast;
    return {
      name,
      unit: 'weights/s',
      ours,
      reference: COUNT / seconds.plain,
      ratio: seconds.plain / seconds.fast,
    };
  });
}
