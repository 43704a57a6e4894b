/**
 * `npm run bench:quality`: how far the shared language model drifts when its layers (all but embedding and head) are quantized
 * with asymmetric groups along the input, by bits, group size and algorithm, beside what reference implementations gave.
 * Dequantized weights are evaluated, since no runtime stores 3 bits. The table goes to the terminal and to
 * bench/results/quality.md, the figures to bench/results/quality.json.
 *
 *     QUALITY_ROWS=3/32,2/32       only these bits/group (default: all of the reference)
 *     QUALITY_METHODS=gptq,best    only these methods (default: those of the reference, fit and best); /real: on real zero points
 *     QUALITY_SEQUENCES=24         windows that are evaluated (default 96; other counts cannot be compared with the reference)
 *     QUALITY_OFFSET=96            windows of the text that are left out before them: what settings are chosen on
 *     QUALITY_SAMPLES=16           windows of calibration (default 64)
 *     QUALITY_THREADS=1            threads of onnxruntime (default 2)
 *     QUALITY_LAYERS=1             prints every layer's report
 *     QUALITY_DOCS=1               puts the table into docs/algorithms.md
 *     QUALITY_MODULE=/path/x.js    methods of your own: a module that exports `methods: Method[]`
 */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { Dataset } from '#src/calibration/data/dataset.js';
import { createCollector } from '#src/compress/solve/collector.js';
import { findLayers, type Layer } from '#src/compress/solve/layers.js';
import { METHODS, roundToNearest } from '#src/compress/solve/methods.js';
import { type Method, solveLayers } from '#src/compress/solve/solve.js';
import { openOnnx } from '#src/formats/onnx/open.js';
import { selectKernels } from '#src/kernels/index.js';
import { onnxruntimeNode } from '#src/runtime/onnxruntime-node.js';
import { CONTEXT, createEvaluation, modelInputs, tokenWindows } from './quality-model.js';
import { REFERENCE, REFERENCE_FLOAT } from './quality-reference.js';

const shared = fileURLToPath(new URL('../../../shared/', import.meta.url));
const results = fileURLToPath(new URL('../../bench/results/', import.meta.url));
const { env } = process;
const threads = Number(env.QUALITY_THREADS ?? 2);

interface Figure {
  readonly bits: number;
  readonly groupSize: number;
  readonly method: string;
  readonly dataFree: boolean;
  readonly perplexity: number;
  readonly divergence: number;
  /** Perplexity and divergence over the reference's. */
  readonly perplexityRatio?: number | undefined;
  readonly divergenceRatio?: number | undefined;
  readonly seconds: number;
}

const model = await openOnnx(`${shared}models/lm/onnx/model.onnx`);
const kernels = await selectKernels();
const tokenizer = `${shared}models/lm/tokenizer.json`;
const vocabulary = 4096;
const layers = findLayers(model.proto).filter(({ outputs }) => outputs !== vocabulary);

const evaluation = await createEvaluation(
  model,
  kernels,
  tokenWindows(
    `${shared}data/lm-eval.txt`,
    tokenizer,
    Number(env.QUALITY_SEQUENCES ?? 96),
    Number(env.QUALITY_OFFSET ?? 0),
  ),
  threads,
);
console.log(`float: perplexity ${evaluation.float.toFixed(3)} (reference ${REFERENCE_FLOAT})\n`);

const windows = tokenWindows(`${shared}data/lm-calib.txt`, tokenizer, Number(env.QUALITY_SAMPLES ?? 64));
const BATCH = 4;
const dataset: Dataset = {
  count: Math.ceil(windows.length / BATCH),
  description: `${windows.length} × ${CONTEXT} tokens of lm-calib.txt`,
  synthetic: false,
  notes: [],
  async *samples() {
    for (let start = 0; start < windows.length; start += BATCH)
      yield { inputs: modelInputs(windows.slice(start, start + BATCH), 6) };
  },
};

const source = { proto: model.proto, resolve: model.tensorBytes };

async function readLayer({ weight }: Layer): Promise<Float32Array> {
  const bytes = await model.readTensor(weight.tensor);
  return new Float32Array(bytes.slice().buffer);
}

/** A method, and whether the form has real zero points; the name says so. */
interface Column {
  readonly name: string;
  readonly method: Method;
  readonly zeroPoints: 'integer' | 'real';
}

async function measure(bits: number, groupSize: number, column: Column): Promise<Figure> {
  const started = performance.now();
  const { method, zeroPoints, name } = column;
  const grid = { bits, groupSize, symmetric: false, zeroPoints };
  await using collector = createCollector(source, dataset, layers, {
    runtime: onnxruntimeNode(),
    kernels,
    threads,
  });
  const solved = await solveLayers(layers, {
    method,
    baseline: roundToNearest,
    gridOf: () => grid,
    read: readLayer,
    collect: collector.collect,
    onLayer: (report) => {
      if (env.QUALITY_LAYERS !== undefined) console.log(JSON.stringify(report));
    },
  });
  const seconds = (performance.now() - started) / 1000;
  const values = new Map([...solved].map(([key, layer]) => [key, layer.values]));
  const { perplexity, divergence } = await evaluation.evaluate(values);
  const reference = REFERENCE.find((row) => row.bits === bits && row.groupSize === groupSize)?.figures[name];
  return {
    bits,
    groupSize,
    method: name,
    dataFree: method.needs.length === 0,
    perplexity,
    divergence,
    perplexityRatio: reference && perplexity / reference[0],
    divergenceRatio: reference && divergence / reference[1],
    seconds,
  };
}

async function ownMethods(path: string | undefined): Promise<readonly Method[]> {
  if (path === undefined) return [];
  const { methods }: { methods: readonly Method[] } = await import(pathToFileURL(path).href);
  return methods;
}

/** Markdown: one line for each row, `perplexity (divergence, ratio to the reference)` in each column. */
function table(figures: readonly Figure[]): string {
  const names = [...new Set(figures.map(({ method }) => method))];
  const lines = [
    `| bits/group | ${names.join(' | ')} | best / best reference | best without data / RTN |`,
    `|${' --- |'.repeat(names.length + 3)}`,
  ];
  for (const { bits, groupSize, figures: known } of REFERENCE) {
    const row = figures.filter((figure) => figure.bits === bits && figure.groupSize === groupSize);
    if (row.length === 0) continue;
    const cells = names.map((name) => {
      const found = row.find(({ method }) => method === name);
      if (found === undefined) return '';
      const ratio = found.divergenceRatio === undefined ? '' : `, ${found.divergenceRatio.toFixed(2)}×`;
      return `${found.perplexity.toFixed(3)} (${found.divergence.toFixed(5)}${ratio})`;
    });
    const best = Math.min(...row.map(({ divergence }) => divergence));
    const bestKnown = Math.min(...Object.values(known).map(([, divergence]) => divergence));
    const free = Math.min(...row.filter(({ dataFree }) => dataFree).map(({ divergence }) => divergence));
    const ends = [best / bestKnown, free / (known.rtn?.[1] ?? 0)].map((ratio) =>
      Number.isFinite(ratio) ? ratio.toFixed(2) : '',
    );
    lines.push(`| ${bits} / ${groupSize} | ${[...cells, ...ends].join(' | ')} |`);
  }
  return lines.join('\n');
}

const wantedRows = env.QUALITY_ROWS?.split(',');
const wantedMethods = env.QUALITY_METHODS?.split(',');
const all = [...METHODS.values(), ...(await ownMethods(env.QUALITY_MODULE))].flatMap((method): Column[] => [
  { name: method.name, method, zeroPoints: 'integer' },
  { name: `${method.name}/real`, method, zeroPoints: 'real' },
]);
const names = wantedMethods ?? [
  ...Object.keys(REFERENCE[0]?.figures ?? {}),
  ...['fit', 'fit/real', 'best', 'best/real'],
];
const columns = all
  .filter(({ name }) => names.includes(name))
  .sort((a, b) => names.indexOf(a.name) - names.indexOf(b.name));
const figures: Figure[] = [];
for (const { bits, groupSize } of REFERENCE) {
  if (wantedRows !== undefined && !wantedRows.includes(`${bits}/${groupSize}`)) continue;
  for (const column of columns) {
    const figure = await measure(bits, groupSize, column);
    figures.push(figure);
    const ratio = figure.divergenceRatio === undefined ? '' : `  ${figure.divergenceRatio.toFixed(3)}×`;
    console.log(
      `${bits}/${groupSize}`.padEnd(7),
      column.name.padEnd(20),
      figure.perplexity.toFixed(3),
      figure.divergence.toFixed(5) + ratio,
      `  ${figure.seconds.toFixed(1)} s`,
    );
  }
}
await model.close();
mkdirSync(results, { recursive: true });
const report = { date: new Date().toISOString(), node: process.version, float: evaluation.float, figures };
writeFileSync(`${results}quality.json`, `${JSON.stringify(report, null, 2)}\n`);
writeFileSync(`${results}quality.md`, `${table(figures)}\n`);
console.log(`\n${table(figures)}`);
if (env.QUALITY_DOCS !== undefined) {
  const docs = fileURLToPath(new URL('../../docs/algorithms.md', import.meta.url));
  const between = /(<!-- quality -->\n)[\s\S]*(<!-- \/quality -->)/;
  writeFileSync(docs, readFileSync(docs, 'utf8').replace(between, `$1\n${table(figures)}\n\n$2`));
}
