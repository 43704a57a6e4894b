/** What the published package holds: every path that package.json promises, the program, and no more dependencies than are used. */

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly license: string;
  readonly bin: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
  readonly files: readonly string[];
  readonly dependencies: Readonly<Record<string, string>>;
  readonly peerDependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
}

const manifest: Manifest = JSON.parse(read('package.json'));

function sources(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(folder, name));
}

/** Packages that `text` imports, statically, lazily or for types. */
function importedPackages(text: string): string[] {
  const words = text.matchAll(
    /(?:^(?:import|export)[\w\s{},*$]*\bfrom |^import |\bimport\()'([^'.#/][^']*)'/gm,
  );
  return [...words]
    .map(([, name = '']) =>
      name
        .split('/')
        .slice(0, name.startsWith('@') ? 2 : 1)
        .join('/'),
    )
    .filter((name) => !name.startsWith('node:') && !builtinModules.includes(name));
}

describe('package.json', () => {
  test('dependencies are exactly the packages that src imports; peers are imported only at run time', () => {
    const imported = new Set(sources('src').flatMap((file) => importedPackages(read(file))));
    const peers = Object.keys(manifest.peerDependencies);
    expect([...imported].filter((name) => !peers.includes(name)).sort()).toEqual(
      Object.keys(manifest.dependencies).sort(),
    );
  });

  test('every development dependency is used by a test, the demo, the bench, a script or a setting', () => {
    const folders = ['test', 'demo', 'bench', 'src', 'kernels', 'scripts'];
    const texts = folders.flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
        .filter((name) => /\.(ts|mjs|json)$/.test(name) && statSync(join(root, folder, name)).size < 1e5)
        .map((name) => read(join(folder, name))),
    );
    const settings = ['package.json', 'biome.json', 'vitest.config.ts', 'tsconfig.base.json'].map(read);
    const scripts = settings.join('\n').replace(/"(dev|peer)?[dD]ependencies": \{[^}]*\}/g, '');
    // Command-line tools and ambient types are named differently where they are used.
    const words: Readonly<Record<string, string>> = { '@biomejs/biome': 'biome', typescript: 'tsc' };
    const all = [...texts, scripts].join('\n');
    const unused = Object.keys(manifest.devDependencies).filter(
      (name) => name !== '@types/node' && name !== 'playwright' && !all.includes(words[name] ?? name),
    );
    expect(unused).toEqual([]);
  });

  test('the lock file states the same dependencies', () => {
    const lock: { packages: Readonly<Record<string, Partial<Manifest>>> } = JSON.parse(
      read('package-lock.json'),
    );
    const top = lock.packages[''];
    expect(top?.dependencies).toEqual(manifest.dependencies);
    expect(top?.devDependencies).toEqual(manifest.devDependencies);
    expect(top?.peerDependencies).toEqual(manifest.peerDependencies);
    expect(top?.version).toBe(manifest.version);
    for (const [name, version] of Object.entries(manifest.dependencies)) {
      expect(lock.packages[`node_modules/${name}`]?.version).toBe(version);
    }
  });

  test('what is published exists: licence, documents, nothing of the tests', () => {
    expect(manifest.license).toBe('Apache-2.0');
    for (const path of manifest.files.filter((name) => name !== 'dist' && !name.startsWith('!'))) {
      expect(existsSync(join(root, path)), path).toBe(true);
    }
    expect(read('LICENSE')).toContain('Apache License');
    expect(manifest.files.join()).not.toMatch(/src|test|demo|bench/);
    expect(manifest.files).toContain('!dist/.tsbuildinfo');
  });

  test('ARCHITECTURE.md explains every dependency', () => {
    const text = read('ARCHITECTURE.md');
    const table = text.slice(text.indexOf('## Dependencies'));
    for (const name of Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies })) {
      expect(table).toContain(`\`${name}\``);
    }
    expect(table).not.toContain('bomb.sh');
  });
});

const built = existsSync(join(root, 'dist'));
describe.skipIf(!built)(built ? 'the built package' : 'the built package (run npm run build first)', () => {
  test('every entry of exports leads to a module with types, and importing it by name works', async () => {
    for (const [entry, target] of Object.entries(manifest.exports)) {
      const paths = typeof target === 'string' ? [target] : Object.values(target);
      for (const path of paths) expect(existsSync(join(root, path)), path).toBe(true);
      if (typeof target === 'string') continue;
      expect(Object.keys(target)[0]).toBe('types');
      const loaded: object = await import(new URL(`../${target.default}`, import.meta.url).href);
      expect(Object.keys(loaded).length, entry).toBeGreaterThan(0);
    }
  });

  test('the program starts with a shebang and may be executed', () => {
    for (const path of Object.values(manifest.bin)) {
      expect(read(path).startsWith('#!/usr/bin/env node\n')).toBe(true);
      if (process.platform !== 'win32') expect(statSync(join(root, path)).mode & 0o111).toBe(0o111);
    }
  });

  test('dist holds modules and types only: no tests, and nothing whose source is gone', () => {
    const names = readdirSync(join(root, 'dist'), { recursive: true, withFileTypes: true }).flatMap(
      (entry) =>
        entry.isFile() ? [join(entry.parentPath, entry.name).slice(join(root, 'dist/').length)] : [],
    );
    for (const name of names.filter((one) => one !== '.tsbuildinfo')) {
      expect(name).toMatch(/\.(js|d\.ts|js\.map|d\.ts\.map)$/);
      expect(name).not.toMatch(/\.test\./);
    }
    const orphans = names
      .filter((name) => name.endsWith('.js'))
      .filter((name) => !existsSync(join(root, 'src', name.replace(/\.js$/, '.ts'))));
    expect(orphans).toEqual([]);
  });
});
