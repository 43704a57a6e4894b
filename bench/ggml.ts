/**
 * The encoders of the ggml block types against ggml's own library (`ggml_quantize_chunk`, the prebuilt x86-64 build, through
 * koffi): same process, same values, one thread each, runs taken in turns. Figures are medians of
 * processor time; values are normally distributed, in rows of 4096. The bytes are compared too: a fast encoder that differs is shown as such.
 */

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { BLOCK_TYPES, type BlockType, isBlockType } from '#src/core/ggml-types.js';
import { createRandom } from '#src/core/random.js';
import { wasmKernels } from '#src/kernels/index.js';
import { median } from './statistics.ts';

export interface GgmlFigure {
  readonly type: BlockType;
  readonly imatrix: boolean;
  /** Weights per second. */
  readonly ours: number;
  readonly library: number;
  readonly ratio: number;
  readonly identical: boolean;
}

const COLUMNS = 4096;
const RUNS = 11;
/** Aim for the length of one run of the library, seconds. */
const RUN_SECONDS = 0.05;

/** @param only - types to measure (`BENCH_TYPES=q4_K,q6_K`); default all */
export async function benchGgml(only = process.env.BENCH_TYPES?.split(',')): Promise<GgmlFigure[]> {
  const kernels = await wasmKernels();
  const path = fileURLToPath(
    new URL('../../node_modules/@node-llama-cpp/linux-x64/bins/linux-x64/libggml-base.so', import.meta.url),
  );
  if (kernels === undefined || !existsSync(path)) {
    console.log('  left out: no WebAssembly SIMD, or @node-llama-cpp/linux-x64 is not installed');
    return [];
  }
  const { default: koffi } = await import('koffi');
  const chunk = koffi
    .load(path)
    .func(
      'size_t ggml_quantize_chunk(int type, const float *src, void *dst, int64_t start, int64_t nrows, int64_t n_per_row, const float *imatrix)',
    );
  const random = createRandom(7);
  const all = Float32Array.from({ length: 1024 * COLUMNS }, () => random.normal() * 0.02);
  const importance = Float32Array.from({ length: COLUMNS }, () => random.normal() ** 2);

  const figures: GgmlFigure[] = [];
  for (const type of Object.keys(BLOCK_TYPES)) {
    if (!isBlockType(type) || (only !== undefined && !only.includes(type))) continue;
    const { id, size, bytes, importance: policy } = BLOCK_TYPES[type];
    await kernels.prepareBlocks(type);
    for (const imatrix of [false, true]) {
      if (imatrix ? policy === 'ignored' : policy === 'required') continue;
      const weights = imatrix ? importance : undefined;
      const library = (rows: number, target: Uint8Array): number =>
        seconds(() => chunk(id, all, target, 0, rows, COLUMNS, weights ?? null));
      const room = new Uint8Array(((all.length * bytes) / size) | 0);
      // The first call builds the library's tables, which is not what is measured.
      library(1, room);
      const once = library(4, room);
      const rows = Math.max(4, Math.min(1024, Math.floor((4 * RUN_SECONDS) / once / 4) * 4));
      const length = ((rows * COLUMNS) / size) * bytes;
      const arena = kernels.arena(rows * COLUMNS * 4 + length + COLUMNS * 4 + 1024);
      const values = arena.f32(rows * COLUMNS);
      values.set(all.subarray(0, values.length));
      const target = arena.u8(length);
      const own = arena.f32(COLUMNS);
      own.set(importance);
      const ours = (): number =>
        seconds(() => kernels.quantizeBlocks(type, values, COLUMNS, imatrix ? own : undefined, target));
      ours();
      const pairs = Array.from({ length: RUNS }, () => [ours(), library(rows, room)] as const);
      const a = median(pairs.map(([x]) => x));
      const b = median(pairs.map(([, x]) => x));
      const identical = Buffer.compare(target, room.subarray(0, length)) === 0;
      const figure = {
        type,
        imatrix,
        ours: values.length / a,
        library: values.length / b,
        ratio: b / a,
        identical,
      };
      figures.push(figure);
      print(figure);
    }
  }
  if (figures.length > 0) {
    const mean = Math.exp(figures.reduce((sum, { ratio }) => sum + Math.log(ratio), 0) / figures.length);
    console.log(`  geometric mean ${mean.toFixed(2)}×`);
  }
  return figures;
}

function print({ type, imatrix, ours, library, ratio, identical }: GgmlFigure): void {
  const name = `${type}${imatrix ? ' with imatrix' : ''}`;
  console.log(
    `  ${name.padEnd(24)} ${(ours / 1e6).toFixed(1).padStart(7)} M/s  ggml ${(library / 1e6).toFixed(1).padStart(7)} M/s  ${ratio.toFixed(2).padStart(6)}×  ${identical ? 'same bytes' : 'BYTES DIFFER'}`,
  );
}

/** Processor time: what other processes take from the machine meanwhile is no part of it. Both sides run on this thread. */
function seconds(run: () => unknown): number {
  const start = process.cpuUsage();
  run();
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1e6;
}
