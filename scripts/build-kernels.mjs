/**
 * Compiles kernels/ (AssemblyScript) to WebAssembly SIMD modules and writes them as TypeScript, which git ignores:
 *
 *   kernels/*.ts                 →  src/kernels/module.gen.ts          always loaded
 *   kernels/ggml/<family>/*.ts   →  src/kernels/ggml/<family>.gen.ts   loaded with the first type of the family
 *   kernels/grid/*.ts            →  src/kernels/grid/module.gen.ts     loaded with the first search of a grid
 *   kernels/algebra/*.ts         →  src/kernels/algebra/module.gen.ts  loaded with the first large factorisation
 *
 * Compilation happens in memory and is deterministic: the manifest.json beside the sources states the compiler, its flags,
 * the size, the SHA-256 and the exports of the module that they give.
 *
 *   node scripts/build-kernels.mjs            build what is not up to date
 *   node scripts/build-kernels.mjs --check    rebuild and compare with the manifests; exit 1 on a difference
 *   node scripts/build-kernels.mjs --update   rebuild and write the manifests
 *
 * Names of families after the mode (`--update k`) limit it to these modules; `core` is the first one.
 */

import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const FLAGS = [
  '--runtime',
  'stub',
  '--importMemory',
  '--noExportMemory',
  '-O3',
  '--converge',
  '--noAssert',
  '--enable',
  'simd',
];

/** Fixed data of a module starts at its base: 4 MiB each from 4 MiB on (src/kernels/wasm-memory.ts). */
const MIB = 1 << 20;
const MODULES = [
  { name: 'core', folder: 'kernels', output: 'src/kernels/module.gen.ts', flags: [] },
  ...['linear', 'k', 'narrow', 'lattice', 'ternary'].map((family, index) => ({
    name: family,
    folder: `kernels/ggml/${family}`,
    output: `src/kernels/ggml/${family}.gen.ts`,
    flags: ['--memoryBase', String((4 + 4 * index) * MIB)],
  })),
  {
    name: 'grid',
    folder: 'kernels/grid',
    output: 'src/kernels/grid/module.gen.ts',
    flags: ['--memoryBase', String(24 * MIB)],
  },
  { name: 'algebra', folder: 'kernels/algebra', output: 'src/kernels/algebra/module.gen.ts', flags: [] },
];

const compiler = createRequire(import.meta.url)('assemblyscript/package.json').version;

function readOptional(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** The module's own sources, and those of kernels/ that it may import. */
function readSources({ folder }) {
  const folders = [...new Set(['kernels', folder])];
  return new Map(
    folders.flatMap((from) =>
      readdirSync(`${root}${from}`)
        .filter((name) => name.endsWith('.ts'))
        .sort()
        .map((name) => [`${from}/${name}`, readFileSync(`${root}${from}/${name}`, 'utf8')]),
    ),
  );
}

/** What a build depends on: its folder, and of kernels/ what it imports (all of it, for the core). */
function stampOf(module, sources) {
  const used = [...sources].filter(
    ([path, text]) =>
      path.startsWith(`${module.folder}/`) ||
      (module.folder !== 'kernels' && isImported(path, sources) && text !== ''),
  );
  return sha256([compiler, ...FLAGS, ...module.flags, ...used.flat()]);
}

function isImported(path, sources) {
  const name = path.slice(path.lastIndexOf('/') + 1, -'.ts'.length);
  return [...sources].some(([from, text]) => from !== path && text.includes(`/${name}'`));
}

function sha256(parts) {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part).update('\0');
  return hash.digest('hex');
}

async function compile(module, sources) {
  const { default: asc } = await import('assemblyscript/asc');
  let binary;
  let messages = '';
  const flags = [...FLAGS, ...module.flags];
  const { error } = await asc.main([`${module.folder}/index.ts`, ...flags, '--outFile', 'module.wasm'], {
    readFile: (name) => sources.get(name.replaceAll('\\', '/').replace(/^\.\//, '')) ?? null,
    writeFile: (name, contents) => {
      if (name.endsWith('.wasm')) binary = contents;
    },
    listFiles: () => [],
    stderr: {
      write: (chunk) => {
        messages += chunk;
        return true;
      },
    },
  });
  if (error !== null || binary === undefined) {
    throw new Error(`${module.folder} does not compile\n${messages}${error?.message ?? ''}`);
  }
  // Said of any module that a further round would shrink by a byte; nothing to act on.
  const worth = messages.replace(/^Last converge was suboptimal\.\n/gm, '');
  if (worth.trim() !== '') process.stderr.write(worth);
  const exports = WebAssembly.Module.exports(new WebAssembly.Module(binary))
    .map((item) => item.name)
    .sort();
  const manifest = {
    compiler: `assemblyscript ${compiler}`,
    flags: flags.join(' '),
    bytes: binary.length,
    sha256: createHash('sha256').update(binary).digest('hex'),
    exports,
  };
  return { binary, manifest };
}

function writeModule({ folder, output }, binary, stamp) {
  const text = `// Generated by scripts/build-kernels.mjs from ${folder}/*.ts. Sources: ${stamp}
/** The WebAssembly module, base64. */
export const KERNEL_MODULE: string =
  '${Buffer.from(binary).toString('base64')}';
`;
  const path = `${root}${output}`;
  if (readOptional(path) === text) return;
  // Other builds may read the file at this moment: replace it in one step.
  const temporary = `${path}.${process.pid}`;
  writeFileSync(temporary, text);
  renameSync(temporary, path);
}

async function build(module, sources, stamp) {
  if (readOptional(`${root}${module.output}`)?.split('\n', 1)[0]?.endsWith(stamp) === true) return;
  writeModule(module, (await compile(module, sources)).binary, stamp);
}

async function update(module, sources, stamp) {
  const { binary, manifest } = await compile(module, sources);
  writeModule(module, binary, stamp);
  writeFileSync(`${root}${module.folder}/manifest.json`, `${JSON.stringify(manifest, null, 2)}\n`);
}

async function check(module, sources) {
  const { manifest } = await compile(module, sources);
  const path = `${module.folder}/manifest.json`;
  const stated = JSON.parse(readOptional(`${root}${path}`) ?? '{}');
  const differences = Object.keys(manifest).filter(
    (key) => JSON.stringify(manifest[key]) !== JSON.stringify(stated[key]),
  );
  for (const key of differences) {
    console.error(
      `${path}: '${key}' is ${JSON.stringify(stated[key])}, built ${JSON.stringify(manifest[key])}`,
    );
  }
  if (differences.length === 0) return;
  console.error(
    `Kernels and manifest disagree: run \`node scripts/build-kernels.mjs --update ${module.name}\` and commit it.`,
  );
  process.exitCode = 1;
}

const words = process.argv.slice(2);
const mode = words[0]?.startsWith('--') ? words.shift() : '--build';
const run = { '--build': build, '--check': check, '--update': update }[mode];
const unknown = words.filter((word) => !MODULES.some(({ name }) => name === word));
if (run === undefined || unknown.length > 0) {
  console.error('usage: node scripts/build-kernels.mjs [--check | --update] [core | family …]');
  process.exitCode = 2;
} else {
  for (const module of MODULES) {
    if (words.length > 0 && !words.includes(module.name)) continue;
    if (!existsSync(`${root}${module.folder}/index.ts`)) continue;
    const sources = readSources(module);
    await run(module, sources, stampOf(module, sources));
  }
}
