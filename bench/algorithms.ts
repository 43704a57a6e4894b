/**
 * The searches of a grid on one thread: SIMD kernels beside their plain-TypeScript definition, in one process on the same values,
 * 4 bits in groups of 32, 20 candidates. Medians in weights a second.
 */

import { createRandom } from '#src/core/random.js';
import {
  type GridKernels,
  type GridShape,
  type GridTarget,
  referenceGridKernels,
  wasmGridKernels,
} from '#src/kernels/grid/index.js';
import { median } from './statistics.ts';

export interface AlgorithmFigure {
  readonly name: string;
  readonly ours: number;
  readonly reference: number;
  readonly ratio: number;
}

const ROWS = 1024;
const COLUMNS = 1024;
const COUNT = ROWS * COLUMNS;
const ROUNDS = 5;
const SHAPE: GridShape = {
  rows: ROWS,
  columns: COLUMNS,
  groupSize: 32,
  bits: 4,
  symmetric: false,
  half: false,
};
const FACTORS = Float32Array.from({ length: 20 }, (_, k) => 1 - 0.015 * k);

type Run = (kernels: GridKernels, values: Float32Array, target: GridTarget) => void;

function search(refits: number, realZeros: boolean, weighted: boolean): Run {
  const importance = Float32Array.from({ length: COLUMNS }, (_, i) => 0.5 + (i % 7));
  const options = { factors: FACTORS, reach: 0, refits, coherence: 4, realZeros };
  return (kernels, values, target) =>
    kernels.search(values, SHAPE, weighted ? importance : undefined, options, target);
}

const RUNS: readonly (readonly [name: string, run: Run])[] = [
  ['clip search, 20 points', search(0, false, false)],
  ['clip search by E[x²], 20 points', search(0, false, true)],
  ['grid fit, 20 points', search(4, false, false)],
  ['grid fit with real zeros, 20 points', search(4, true, false)],
  [
    'HQQ, up to 20 iterations',
    (kernels, values, target) =>
      kernels.halfQuadratic(
        values,
        SHAPE,
        { norm: 0.7, beta: 10, kappa: 1.01, iterations: 20, roundStart: true },
        target,
      ),
  ],
];

function seconds(run: () => void): number {
  const start = performance.now();
  run();
  return (performance.now() - start) / 1000;
}

/** Empty where the machine has no SIMD. */
export async function benchAlgorithms(): Promise<AlgorithmFigure[]> {
  const wasm = await wasmGridKernels();
  if (wasm === undefined) return [];
  const reference = referenceGridKernels();
  const random = createRandom(1);
  const values = Float32Array.from({ length: COUNT }, () => random.normal() * 0.05);
  const target = {
    codes: new Uint8Array(COUNT),
    scales: new Float32Array(COUNT / 32),
    zeros: new Float32Array(COUNT / 32),
  };
  return RUNS.map(([name, run]) => {
    const fast: number[] = [];
    const plain: number[] = [];
    for (let warm = 0; warm < 3; warm++) run(wasm, values, target);
    run(reference, values, target);
    for (let round = 0; round < ROUNDS; round++) {
      plain.push(seconds(() => run(reference, values, target)));
      for (let i = 0; i < 3; i++) fast.push(seconds(() => run(wasm, values, target)));
    }
    const ours = COUNT / median(fast);
    const theirs = COUNT / median(plain);
    return { name, ours, reference: theirs, ratio: ours / theirs };
  });
}

/** For the README: what a thread searches in a second. */
export function algorithmTable(figures: readonly AlgorithmFigure[]): string {
  const million = (rate: number): string => (rate / 1e6).toFixed(1);
  return [
    '| 4 bits, groups of 32, one thread | SIMD, million weights/s | plain TypeScript | ratio |',
    '| --- | ---: | ---: | ---: |',
    ...figures.map(
      ({ name, ours, reference, ratio }) =>
        `| ${name} | ${million(ours)} | ${million(reference)} | ${ratio.toFixed(1)}× |`,
    ),
  ].join('\n');
}
