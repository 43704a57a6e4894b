/**
 * What solving on data costs, beside what it may cost: sums of H in the runtime, factorisation, GPTQ of a layer with its statistics,
 * and calibration beside the forward passes. One thread by CPU time where that says more (machines with neighbours); GPTQ by the clock.
 */

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { factorise } from '#src/algorithms/cholesky.js';
import { gptq } from '#src/algorithms/gptq.js';
import { collectInputStatistics } from '#src/calibration/collect/collect-inputs.js';
import { findProducts } from '#src/calibration/collect/find-products.js';
import type { CalibrationModel } from '#src/calibration/collect/tapped-model.js';
import type { Dataset } from '#src/calibration/data/dataset.js';
import { openModelData } from '#src/compress/calibration-data.js';
import { createRandom } from '#src/core/random.js';
import { numberOfDtype } from '#src/formats/onnx/data-types.js';
import type { ModelProto, ValueInfoProto } from '#src/formats/onnx/messages.js';
import { openOnnx } from '#src/formats/onnx/open.js';
import { makeNode, rawTensor } from '#src/formats/onnx/rewrite/build.js';
import { wasmAlgebraKernels } from '#src/kernels/algebra/index.js';
import { selectGridKernels } from '#src/kernels/grid/index.js';
import { onnxruntimeNode } from '#src/runtime/onnxruntime-node.js';
import type { RuntimeTensor } from '#src/runtime/runtime.js';

export interface SolvingFigure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What it is to be: at least for rates, at most for times. */
  readonly target: string;
}

const ROWS = 2048;
const runtime = onnxruntimeNode();

async function cpuSeconds(run: () => unknown): Promise<number> {
  const before = process.cpuUsage();
  await run();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}

async function seconds(run: () => unknown): Promise<number> {
  const start = performance.now();
  await run();
  return (performance.now() - start) / 1000;
}

function valueInfo(name: string, columns: number): ValueInfoProto {
  const dim = [
    { dimParam: 'rows', unknown: [] },
    { dimValue: BigInt(columns), unknown: [] },
  ];
  const tensorType = { elemType: numberOfDtype('f32'), shape: { dim, unknown: [] }, unknown: [] };
  return { name, type: { tensorType, unknown: [] }, metadataProps: [], unknown: [] };
}

/** x [rows, n] times a small weight. */
function productModel(n: number): CalibrationModel {
  const proto: ModelProto = {
    irVersion: 8n,
    opsetImport: [{ domain: '', version: 17n, unknown: [] }],
    graph: {
      name: 'product',
      node: [makeNode('MatMul', ['x', 'w'], ['y'])],
      initializer: [rawTensor('w', 'f32', [n, 2], new Uint8Array(8 * n))],
      input: [valueInfo('x', n)],
      output: [valueInfo('y', 2)],
      valueInfo: [],
      metadataProps: [],
      unknown: [],
    },
    metadataProps: [],
    functions: [],
    unknown: [],
  };
  return { proto, resolve: () => Promise.reject(new Error('no tensor is external')) };
}

/** `count` samples of the same correlated rows. */
function rowsOf(n: number, count: number): Dataset {
  const random = createRandom(n);
  const values = new Float32Array(ROWS * n);
  for (let i = 0; i < values.length; i++)
    values[i] = random.normal() + (i % n === 0 ? 0 : 0.9 * values[i - 1]!);
  const x: RuntimeTensor = { dtype: 'f32', shape: [ROWS, n], data: new Uint8Array(values.buffer) };
  return {
    count,
    description: 'random rows',
    synthetic: true,
    notes: [],
    async *samples() {
      for (let i = 0; i < count; i++) yield { inputs: new Map([['x', x]]) };
    },
  };
}

function collectGram(n: number, samples: number, threads: number) {
  const model = productModel(n);
  return collectInputStatistics(model, rowsOf(n, samples), findProducts(model.proto), {
    runtime,
    collect: ['gram'],
    threads,
  });
}

/** The difference of two runs: what opening costs is in both. */
async function gramRate(n: number): Promise<number> {
  const more = Math.max(9, Math.ceil(2 ** 34 / (ROWS * n * n)) + 1);
  // The first run pays for loading the runtime.
  await collectGram(n, 1, 1);
  const one = await cpuSeconds(() => collectGram(n, 1, 1));
  const many = await cpuSeconds(() => collectGram(n, more, 1));
  return ((more - 1) * 2 * ROWS * n * n) / (many - one) / 1e9;
}

/** Of sums that the runtime made, damped as GPTQ damps them. */
async function factorisation(n: number): Promise<number> {
  const algebra = await wasmAlgebraKernels();
  const gram = (await collectGram(n, 1 + Math.ceil(n / ROWS), 2)).get('w')?.gram;
  if (gram === undefined) throw new Error('no sums');
  const h = Float64Array.from(gram);
  let trace = 0;
  for (let i = 0; i < n; i++) trace += h[i * n + i]!;
  for (let i = 0; i < n; i++) h[i * n + i] = h[i * n + i]! + (0.01 * trace) / n;
  return cpuSeconds(() => {
    if (factorise(h, n, algebra) >= 0) throw new Error('not positive definite');
  });
}

/** Statistics of 16k tokens and GPTQ of 2048 × 2048 weights. */
async function layer(): Promise<number> {
  const n = 2048;
  const random = createRandom(1);
  const values = Float32Array.from({ length: n * n }, () => random.normal() * 0.05);
  const algebra = await wasmAlgebraKernels();
  const grids = await selectGridKernels();
  return seconds(async () => {
    const statistics = (await collectGram(n, 8, 2)).get('w');
    if (statistics === undefined) throw new Error('no statistics');
    const grid = { bits: 4, groupSize: 32, symmetric: false, activationOrder: true };
    gptq({ values, outputs: n, inputs: n }, statistics, grid, grids, algebra);
  });
}

/** Calibration of all layers of a decoder for GPTQ, as a multiple of its forward passes; undefined without ../shared. */
async function overhead(): Promise<number | undefined> {
  const shared = fileURLToPath(new URL('../../../shared/', import.meta.url));
  const file = `${shared}models/lm/onnx/model.onnx`;
  const text = `${shared}data/lm-calib.txt`;
  if (!existsSync(file) || !existsSync(text)) return undefined;
  const model = await openOnnx(file);
  const data = await openModelData(
    model,
    { source: { kind: 'text', file: text, tokenizer: `${shared}models/lm` }, samples: 24 },
    { threads: 1 },
  );
  const session = await runtime.load(file, { threads: 1 });
  const forward = await cpuSeconds(async () => {
    for await (const { inputs } of data.samples()) {
      const feeds = session.inputs.flatMap(({ name }) => {
        const value = inputs.get(name);
        return value === undefined ? [] : [[name, value] as const];
      });
      await session.run(new Map(feeds));
    }
  });
  await session.close();
  const products = findProducts(model.proto);
  const float = { proto: model.proto, resolve: model.tensorBytes.bind(model) };
  const calibration = await cpuSeconds(() =>
    collectInputStatistics(float, data, products, { runtime, collect: ['gram'], threads: 1 }),
  );
  await model.close();
  return calibration / forward;
}

export async function benchSolving(): Promise<SolvingFigure[]> {
  const figures: SolvingFigure[] = [];
  for (const n of [256, 1024, 2048])
    figures.push({
      name: `sums of H, ${n} inputs`,
      value: await gramRate(n),
      unit: 'GFLOP/s',
      target: '≥ 60',
    });
  for (const [n, target] of [
    [2048, ''],
    [4096, '≤ 1.5'],
  ] as const)
    figures.push({ name: `Cholesky, n = ${n}`, value: await factorisation(n), unit: 'CPU s', target });
  figures.push({
    name: 'GPTQ 2048 × 2048 with 16k tokens, two threads',
    value: await layer(),
    unit: 's',
    target: '≤ 15',
  });
  const times = await overhead();
  if (times !== undefined)
    figures.push({ name: 'calibration of a decoder', value: times, unit: '× forward', target: '≤ 2.5' });
  return figures;
}

/** For the docs. */
export function solvingTable(figures: readonly SolvingFigure[]): string {
  return [
    '| solving on data | measured | target |',
    '| --- | ---: | ---: |',
    ...figures.map(
      ({ name, value, unit, target }) => `| ${name} | ${value.toPrecision(3)} ${unit} | ${target} |`,
    ),
  ].join('\n');
}
