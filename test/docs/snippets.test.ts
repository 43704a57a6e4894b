/**
 * Every TypeScript snippet of README.md and docs/ is complete: it passes the compiler against the public types, and (but for
 * those marked `ts page`) it runs as it stands beside the files model.onnx and model.gguf. The public types are complete too: what a signature names is exported.
 */

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { writeSmallGguf } from '../cli/small-gguf.ts';
import { writeTinyClassifier } from '../models/tiny-models.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const ENTRIES: Readonly<Record<string, string>> = {
  whittle: `${root}src/index.ts`,
  'whittle/browser': `${root}src/browser.ts`,
  'whittle/recipes': `${root}src/planning/recipe-schema.ts`,
  'whittle/report': `${root}src/report/index.ts`,
};
const AsyncFunction = (async () => undefined).constructor;
const IMPORT = /^import \{([^}]*)\} from '((?:whittle|node:)[^']*)';.*$/gm;

const snippets = ['README.md', ...readdirSync(`${root}docs`).map((name) => `docs/${name}`)].flatMap((file) =>
  [
    ...readFileSync(root + file, 'utf8').matchAll(
      /^```(?:ts|js|typescript|javascript)( page)?\n([\s\S]*?)^```$/gm,
    ),
  ].map((match, index) => ({
    name: `${file} ${index + 1}`,
    path: `${root}snippet-${file.replace(/\W/g, '-')}-${index}.ts`,
    code: match[2] ?? '',
    /** Of a page: it needs a document, or a worker. */
    runs: match[1] === undefined,
  })),
);

function createProgram(): ts.Program {
  const { config } = ts.readConfigFile(`${root}tsconfig.base.json`, ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
  const paths = Object.fromEntries(Object.entries(ENTRIES).map(([name, path]) => [name, [path]]));
  const settings: ts.CompilerOptions = { ...options, noEmit: true, paths, noUnusedLocals: false };
  const host = ts.createCompilerHost(settings);
  const texts = new Map(snippets.map(({ path, code }) => [path, `${code}\nexport {};\n`]));
  const { readFile, fileExists } = host;
  host.readFile = (path) => texts.get(path) ?? readFile(path);
  host.fileExists = (path) => texts.has(path) || fileExists(path);
  return ts.createProgram([...texts.keys(), ...Object.values(ENTRIES)], settings, host);
}
let program: ts.Program;
const folder = mkdtempSync(join(tmpdir(), 'whittle-snippets-'));
const before = process.cwd();

beforeAll(async () => {
  program = createProgram();
  await writeTinyClassifier(folder);
  const model = readdirSync(join(folder, 'onnx')).find((name) => name.endsWith('.onnx')) ?? '';
  await copyFile(join(folder, 'onnx', model), join(folder, 'model.onnx'));
  await writeSmallGguf(folder, 'model.gguf');
  process.chdir(folder);
});
afterAll(() => {
  process.chdir(before);
  rmSync(folder, { recursive: true, force: true });
});

test('there are snippets of tensors, encodings and models', () => {
  expect(snippets.length).toBeGreaterThanOrEqual(9);
});

describe.each(snippets)('$name', ({ path, code, runs }) => {
  test('passes the compiler', () => {
    const file = program.getSourceFile(path);
    const found = [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)];
    expect(found.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))).toEqual([]);
  });

  test.runIf(runs)('runs and prints', async () => {
    const names: string[] = [];
    const values: unknown[] = [];
    for (const [, list = '', entry = ''] of code.matchAll(IMPORT)) {
      const module: Record<string, unknown> = await import(ENTRIES[entry] ?? entry);
      for (const name of list.split(',').map((part) => part.trim())) {
        expect(module, `${name} of ${entry}`).toHaveProperty(name);
        names.push(name);
        values.push(module[name]);
      }
    }
    const body = ts.transpileModule(code.replaceAll(IMPORT, ''), {
      compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
    }).outputText;
    const print = vi.spyOn(console, 'log').mockImplementation(() => undefined);
    try {
      const run: unknown = Reflect.construct(AsyncFunction, [...names, body]);
      if (typeof run !== 'function') throw new Error('not a function');
      await Reflect.apply(run, undefined, values);
      expect(print).toHaveBeenCalled();
      expect(print.mock.calls.flat()).not.toContain(undefined);
    } finally {
      print.mockRestore();
    }
  });
});

/** Types of this project that the declarations of an entry name without exporting them; `elsewhere` = exported by another. */
function hiddenTypes(entry: string, elsewhere: ReadonlySet<ts.Symbol>): string[] {
  const checker = program.getTypeChecker();
  const exported = exportsOf(entry);
  const hidden = new Set<string>();
  const visit = (node: ts.Node, owner: string): void => {
    if (ts.isBlock(node)) return;
    if (ts.isClassElement(node) && node.name !== undefined && ts.isPrivateIdentifier(node.name)) return;
    if (ts.isTypeReferenceNode(node)) {
      const named = resolveAlias(checker.getSymbolAtLocation(node.typeName));
      const file = named?.declarations?.[0]?.getSourceFile().fileName;
      const own =
        file?.startsWith(`${root}src/`) === true && (named!.flags & ts.SymbolFlags.TypeParameter) === 0;
      if (own && !exported.has(named!) && !elsewhere.has(named!)) hidden.add(`${named!.name} of ${owner}`);
    }
    ts.forEachChild(node, (child) => visit(child, owner));
  };
  for (const item of exported) for (const node of item.declarations ?? []) visit(node, item.name);
  return [...hidden];
}

function resolveAlias(symbol: ts.Symbol | undefined): ts.Symbol | undefined {
  const alias = symbol !== undefined && (symbol.flags & ts.SymbolFlags.Alias) !== 0;
  return alias ? program.getTypeChecker().getAliasedSymbol(symbol) : symbol;
}

function exportsOf(entry: string): Set<ts.Symbol> {
  const checker = program.getTypeChecker();
  const module = checker.getSymbolAtLocation(program.getSourceFile(ENTRIES[entry] ?? '')!);
  return new Set(checker.getExportsOfModule(module!).map((item) => resolveAlias(item)!));
}

test.each(Object.keys(ENTRIES))('%s exports every type that its signatures name', (entry) => {
  const elsewhere = entry === 'whittle' ? new Set<ts.Symbol>() : exportsOf('whittle');
  expect(hiddenTypes(entry, elsewhere)).toEqual([]);
});
