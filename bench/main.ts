/**
 * `npm run bench [-- kernels algorithms threads quantize ggml gguf gguf-quality start models] [-- --compare bench/results/<file>.json]`
 *
 * Every figure is a ratio of two things measured in one run on one machine; seconds are printed for orientation only.
 * Results are kept in bench/results/ (not in git) so that a later run can be compared with them.
 */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { algorithmTable, benchAlgorithms } from './algorithms.ts';
import { benchGgml } from './ggml.ts';
import { benchGguf } from './gguf.ts';
import { benchGgufQuality } from './gguf-quality.ts';
import { benchKernels } from './kernels.ts';
import { encoderTable, fileTable } from './markdown.ts';
import { benchModels } from './models.ts';
import { benchQuantize } from './quantize.ts';
import { benchSolving, type SolvingFigure, solvingTable } from './solving.ts';
import { benchStart } from './start.ts';
import { benchThreads } from './threads.ts';

const BENCHES = {
  kernels: async () => ratios(await benchKernels()),
  algorithms: async () => ({
    ...ratios(keep(algorithmTable, await benchAlgorithms()), 'grid searches'),
    ...targets(keep(solvingTable, await benchSolving())),
  }),
  quantize: async () => numbers(await benchQuantize()),
  threads: async () => numbers(await benchThreads()),
  ggml: async () => ggmlRatios(keep(encoderTable, await benchGgml())),
  gguf: async () => {
    const figures = await benchGguf(Number(process.env.BENCH_RUNS ?? 3));
    keep(fileTable, figures.files);
    return numbers(figures);
  },
  'gguf-quality': async () =>
    numbers(Object.fromEntries((await benchGgufQuality()).map(({ type, divergence }) => [type, divergence]))),
  start: async () => numbers(benchStart()),
  models: async () => numbers(await benchModels()),
} as const;

/** Tables for README.md that the chosen benches made. */
const tables: string[] = [];

function keep<T>(render: (figures: T) => string, figures: T): T {
  tables.push(render(figures));
  return figures;
}

type BenchName = keyof typeof BENCHES;
type Figures = Record<string, number>;

const RESULTS = fileURLToPath(new URL('../../bench/results/', import.meta.url));

function isBench(name: string): name is BenchName {
  return Object.hasOwn(BENCHES, name);
}

type KernelRatio = Pick<
  Awaited<ReturnType<typeof benchKernels>>[number],
  'name' | 'ours' | 'reference' | 'ratio'
>;

function ratios(rows: readonly KernelRatio[], what = 'kernels'): Figures {
  console.log(`${what}: WebAssembly against the plain-TypeScript reference, one thread\n`);
  const figures: Figures = {};
  for (const { name, ours, reference, ratio } of rows) {
    console.log(
      `  ${name.padEnd(44)} ${(ours / 1e6).toFixed(0).padStart(6)} M/s  ${(reference / 1e6).toFixed(1).padStart(7)} M/s  ${ratio.toFixed(1).padStart(5)}×`,
    );
    figures[name] = ratio;
  }
  return figures;
}

/** Figures that are no ratios, each beside what it is to be. */
function targets(rows: readonly SolvingFigure[]): Figures {
  console.log('\nsolving on data\n');
  for (const { name, value, unit, target } of rows)
    console.log(`  ${name.padEnd(48)} ${value.toPrecision(3).padStart(8)} ${unit.padEnd(10)} ${target}`);
  return Object.fromEntries(rows.map(({ name, value }) => [name, value]));
}

function ggmlRatios(rows: Awaited<ReturnType<typeof benchGgml>>): Figures {
  return Object.fromEntries(
    rows.map(({ type, imatrix, ratio }) => [`${type}${imatrix ? '.imatrix' : ''}`, ratio]),
  );
}

/** Flattens nested figures; the parts print their own tables. */
function numbers(result: object, prefix = ''): Figures {
  const figures: Figures = {};
  for (const [key, value] of Object.entries(result)) {
    if (typeof value === 'number') figures[prefix + key] = value;
    else if (typeof value === 'object' && value !== null)
      Object.assign(figures, numbers(value, `${prefix}${key}.`));
  }
  if (prefix === '') {
    for (const [key, value] of Object.entries(figures))
      console.log(`  ${key.padEnd(44)} ${value.toFixed(3)}`);
  }
  return figures;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { compare: { type: 'string' } },
});
const unknown = positionals.filter((name) => !isBench(name));
if (unknown.length > 0) {
  console.error(`No bench named ${unknown.join(', ')}; there are ${Object.keys(BENCHES).join(', ')}.`);
  process.exit(2);
}
const chosen = positionals.length === 0 ? Object.keys(BENCHES) : positionals;
const results: Record<string, Figures> = {};
for (const name of chosen.filter(isBench)) {
  console.log(`\n${name}`);
  results[name] = await BENCHES[name]();
}

const report = {
  date: new Date().toISOString(),
  node: process.version,
  cpu: cpus()[0]?.model ?? 'unknown',
  cores: cpus().length,
  memoryGiB: Math.round(totalmem() / 2 ** 30),
  results,
};
mkdirSync(RESULTS, { recursive: true });
const path = `${RESULTS}${report.date.replaceAll(':', '-')}.json`;
writeFileSync(path, `${JSON.stringify(report, null, 2)}\n`);
console.log(`\nKept in ${path}`);
if (tables.length > 0) {
  const markdown = path.replace(/json$/, 'md');
  writeFileSync(markdown, `${tables.join('\n\n')}\n`);
  console.log(`Tables in ${markdown}`);
}

if (values.compare !== undefined) {
  const before: typeof report = JSON.parse(readFileSync(values.compare, 'utf8'));
  console.log(`\nAgainst ${values.compare} (${before.date}, ${before.cpu})`);
  for (const [bench, figures] of Object.entries(results)) {
    for (const [name, now] of Object.entries(figures)) {
      const then = before.results[bench]?.[name];
      if (then === undefined) continue;
      const change = ((now / then - 1) * 100).toFixed(0);
      console.log(`  ${`${bench}.${name}`.padEnd(54)} ${then.toFixed(3)} → ${now.toFixed(3)} (${change} %)`);
    }
  }
}
