/**
 * The order of the layers, held by a test: an import may only point right or down.
 *
 *   cli → compress → execution → planning, hub, verify → algorithms → calibration → formats → numerics → kernels → core
 *
 * `browser`, the entry for pages, stands beside `index` and reaches nothing of Node.
 * `io`, `runtime` and `report` stand beside the chain: they know core and plain result types only.
 */

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const src = join(root, 'src');

/** What a layer may import, besides itself. `types` = with `import type` only. */
const MAY_IMPORT: Record<string, { values: readonly string[]; types?: readonly string[] }> = {
  errors: { values: [] },
  core: { values: ['errors'] },
  io: { values: ['core', 'errors'] },
  kernels: { values: ['core', 'errors'] },
  numerics: { values: ['kernels', 'core', 'errors'] },
  calibration: { values: ['formats', 'numerics', 'kernels', 'io', 'runtime', 'core', 'errors'] },
  algorithms: { values: ['calibration', 'numerics', 'kernels', 'core', 'errors'] },
  formats: { values: ['numerics', 'io', 'core', 'errors'] },
  runtime: { values: ['core', 'errors'] },
  report: { values: ['core', 'errors'], types: ['numerics', 'planning', 'verify', 'runtime'] },
  verify: { values: ['calibration', 'formats', 'runtime', 'numerics', 'kernels', 'io', 'core', 'errors'] },
  planning: { values: ['formats', 'numerics', 'core', 'errors'], types: ['io'] },
  hub: { values: ['formats', 'io', 'core', 'errors'] },
  execution: { values: ['planning', 'algorithms', 'formats', 'numerics', 'kernels', 'io', 'core', 'errors'] },
  compress: {
    values: [
      'execution',
      'planning',
      'hub',
      'verify',
      'runtime',
      'algorithms',
      'calibration',
      'formats',
      'numerics',
      'kernels',
      'io',
      'core',
      'errors',
    ],
  },
  browser: {
    values: [
      'compress',
      'execution',
      'planning',
      'hub',
      'algorithms',
      'calibration',
      'formats',
      'numerics',
      'kernels',
      'io',
      'core',
      'errors',
    ],
  },
  index: {
    values: [
      'compress',
      'execution',
      'planning',
      'hub',
      'verify',
      'runtime',
      'report',
      'algorithms',
      'calibration',
      'formats',
      'numerics',
      'kernels',
      'io',
      'core',
      'errors',
    ],
  },
  cli: {
    values: [
      'compress',
      'execution',
      'planning',
      'hub',
      'verify',
      'runtime',
      'report',
      'algorithms',
      'calibration',
      'formats',
      'numerics',
      'kernels',
      'io',
      'core',
      'errors',
    ],
  },
};

const FORBIDDEN_NAMES = /^(utils?|helpers?|common|misc|shared)$/;
const MAX_LINES = 600;

function sources(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) return sources(path);
    return name.endsWith('.ts') && !name.endsWith('.gen.ts') ? [path] : [];
  });
}

/** Files of src/compress/ and src/compress.ts form one layer, as do those of browser; src/index.ts and src/errors.ts are one each. */
function layerOf(path: string): string {
  const [first = ''] = relative(src, path).split(/[\\/]/);
  return first.replace(/\.ts$/, '');
}

interface Import {
  readonly from: string;
  readonly to: string;
  readonly typeOnly: boolean;
}

function importsOf(file: string): Import[] {
  const text = readFileSync(file, 'utf8');
  const found: Import[] = [];
  const pattern =
    /(?:^|\n)\s*(?:import|export)\s+(type\s)?[^'";]*?from\s+'(\.[^']+)'|import\(\s*'(\.[^']+)'\s*\)|(?:^|\n)import\s+'(\.[^']+)'/g;
  for (const match of text.matchAll(pattern)) {
    const target = match[2] ?? match[3] ?? match[4];
    if (target === undefined) continue;
    found.push({ from: file, to: resolve(dirname(file), target), typeOnly: match[1] !== undefined });
  }
  return found;
}

/** The file with all that it imports at run time, lazily too. */
function reachable(entry: string): string[] {
  const found = new Set<string>();
  const visit = (file: string): void => {
    if (found.has(file)) return;
    found.add(file);
    for (const { to, typeOnly } of importsOf(file)) if (!typeOnly) visit(to);
  };
  visit(entry);
  return [...found];
}

const files = sources(src);
const imports = files.flatMap(importsOf);

test('every folder of src is a known layer', () => {
  expect([...new Set(files.map(layerOf))].filter((layer) => !(layer in MAY_IMPORT))).toEqual([]);
});

test('imports point only right or down the chain of layers', () => {
  const wrong = imports
    .filter(({ from, to, typeOnly }) => {
      const source = layerOf(from);
      const target = layerOf(to);
      if (source === target) return false;
      const rule = MAY_IMPORT[source];
      if (rule === undefined) return true;
      return !rule.values.includes(target) && !(typeOnly && rule.types?.includes(target));
    })
    .map(({ from, to }) => `${relative(src, from)} → ${relative(src, to)}`);
  expect(wrong).toEqual([]);
});

test('no import cycle among values', () => {
  const graph = new Map<string, string[]>();
  for (const { from, to, typeOnly } of imports) {
    if (!typeOnly) graph.set(from, [...(graph.get(from) ?? []), to]);
  }
  const state = new Map<string, 'open' | 'done'>();
  const cycles: string[] = [];
  const visit = (file: string, path: string[]): void => {
    if (state.get(file) === 'done') return;
    if (state.get(file) === 'open') {
      cycles.push([...path.slice(path.indexOf(file)), file].map((f) => relative(src, f)).join(' → '));
      return;
    }
    state.set(file, 'open');
    for (const next of graph.get(file) ?? []) visit(next, [...path, file]);
    state.set(file, 'done');
  };
  for (const file of files) visit(file, []);
  expect(cycles).toEqual([]);
});

test('folders and files are named for what they hold', () => {
  const bad = files.flatMap((file) =>
    relative(src, file)
      .split(/[\\/]/)
      .map((piece) => piece.replace(/\.ts$/, ''))
      .filter((piece) => FORBIDDEN_NAMES.test(piece)),
  );
  expect(bad).toEqual([]);
});

test(`no hand-written file is longer than ${MAX_LINES} lines`, () => {
  const long = [...files, ...sources(join(root, 'kernels')), ...sources(join(root, 'test'))]
    .map((file) => ({ file: relative(root, file), lines: readFileSync(file, 'utf8').split('\n').length }))
    .filter(({ lines }) => lines > MAX_LINES);
  expect(long).toEqual([]);
});

test('every source file opens with a comment that says what it is for', () => {
  const silent = files.filter((file) => !/^(#!.*\n)?\/\*\*/.test(readFileSync(file, 'utf8')));
  expect(silent.map((file) => relative(root, file))).toEqual([]);
});

test('core modules outside io, execution and cli do not touch the file system', () => {
  const offenders = files
    .filter((file) => !['io', 'execution', 'cli', 'compress', 'runtime', 'hub'].includes(layerOf(file)))
    .filter((file) =>
      /from 'node:(fs|child_process|worker_threads|net|http)/.test(readFileSync(file, 'utf8')),
    );
  expect(offenders.map((file) => relative(root, file))).toEqual([]);
});

describe("the page's entry", () => {
  const page = reachable(join(src, 'browser.ts'));
  const withoutComments = (file: string): string =>
    readFileSync(file, 'utf8')
      .replace(/\/\*[\s\S]*?\*\//g, '')
      .replace(/(^|\s)\/\/.*$/gm, '');

  test('reaches the formats, the planner, the engine and the kernels', () => {
    const names = page.map((file) => relative(src, file).replaceAll('\\', '/'));
    expect(names).toEqual(
      expect.arrayContaining([
        'formats/gguf/reader.ts',
        'formats/onnx/scan.ts',
        'planning/gguf/plan-gguf.ts',
        'planning/plan-onnx.ts',
        'execution/run-job.ts',
        'kernels/ggml/k/wasm.ts',
        'kernels/ggml/ternary.gen.ts',
      ]),
    );
  });

  test('imports no module of Node and no package, however indirectly', () => {
    const foreign = page.flatMap((file) =>
      [...withoutComments(file).matchAll(/(?:from\s+|import\(\s*|^import\s+)'([^'.][^']*)'/gm)]
        .filter(([statement]) => !/^import type/.test(statement))
        .map(([, name = '']) => `${relative(src, file)}: ${name}`),
    );
    expect(foreign).toEqual([]);
  });

  test('uses no global that only Node has, but for the quick turn where there is one', () => {
    const globals =
      /\b(?:process|Buffer|__dirname|__filename|require|setImmediate|SharedArrayBuffer)\b(?=[.([])/;
    const users = page
      .filter((file) => globals.test(withoutComments(file)))
      .map((file) => relative(src, file));
    expect(users).toEqual([join('core', 'turn.ts')]);
  });

  test('disposes of nothing with "using", which some browsers lack', () => {
    expect(page.filter((file) => /\busing\s+\w+\s*=/.test(withoutComments(file)))).toEqual([]);
  });
});
