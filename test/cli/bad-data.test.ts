/** Bad data, end to end through the command line: every refusal has its code, names what is wrong, and says what the model wants. */

import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { ModelProto } from '../../src/formats/onnx/messages.ts';
import { floats, graph, model, node, value, withFolder, writeModel } from '../formats/build-onnx.ts';
import { BUILT, NOT_BUILT, run, whittle } from './run.ts';

const wave = (count: number, step: number) => Array.from({ length: count }, (_, i) => Math.sin(i * step));

/** Ids of 12 tokens → scores of the next one. */
function language(): ModelProto {
  return model(
    graph({
      nodes: [
        node('Gather', ['table', 'input_ids'], ['e']),
        node('MatMul', ['e', 'w'], ['h']),
        node('MatMul', ['h', 'head'], ['logits']),
      ],
      initializers: [
        floats('table', [12, 32], wave(384, 1.3)),
        floats('w', [32, 32], wave(1024, 0.9)),
        floats('head', [32, 12], wave(384, 1.7)),
      ],
      inputs: [value('input_ids', 'int64', ['batch', 'sequence'])],
      outputs: [value('logits', 'f32', ['batch', 'sequence', 12])],
    }),
  );
}

/** Two products behind an operator. */
function dense(first: string): ModelProto {
  return model(
    graph({
      nodes: [
        node(first, ['x'], ['a'], { name: 'first' }),
        node('MatMul', ['a', 'w1'], ['b']),
        node('Relu', ['b'], ['c']),
        node('MatMul', ['c', 'w2'], ['y']),
      ],
      initializers: [floats('w1', [32, 32], wave(1024, 1.1)), floats('w2', [32, 32], wave(1024, 2.3))],
      inputs: [value('x', 'f32', ['n', 32])],
      outputs: [value('y', 'f32', ['n', 32])],
    }),
  );
}

function filter(): ModelProto {
  return model(
    graph({
      nodes: [node('Conv', ['x', 'w'], ['y'])],
      initializers: [floats('w', [4, 3, 3, 3], wave(108, 0.7))],
      inputs: [value('x', 'f32', [1, 3, 16, 16])],
      outputs: [value('y', 'f32', [1, 4, 14, 14])],
    }),
  );
}

const MODELS = { language: language(), dense: dense('Identity'), log: dense('Log'), filter: filter() };

/** 16 words, of which the model knows 12. */
const TOKENIZER = {
  version: '1.0',
  added_tokens: [],
  normalizer: null,
  pre_tokenizer: { type: 'Whitespace' },
  post_processor: null,
  decoder: null,
  truncation: null,
  padding: null,
  model: {
    type: 'WordLevel',
    vocab: Object.fromEntries([...'abcdefghijklmnop'].map((word, id) => [word, id])),
    unk_token: 'a',
  },
};

/** A header of 8 × 32 floats, and the first 125 of them. */
function truncatedNpy(): Uint8Array {
  const header = `${"{'descr': '<f4', 'fortran_order': False, 'shape': (8, 32), }".padEnd(117)}\n`;
  return Buffer.concat([
    Buffer.from([0x93, ...Buffer.from('NUMPY'), 1, 0, 118, 0]),
    Buffer.from(header),
    Buffer.alloc(500),
  ]);
}

interface Case {
  readonly name: string;
  readonly model: keyof typeof MODELS;
  readonly file: string;
  readonly content: string | Uint8Array | object;
  readonly to?: string;
  readonly error: Readonly<Record<string, unknown>>;
}

const text = (part: string): unknown => expect.stringContaining(part);

const CASES: readonly Case[] = [
  {
    name: 'a name that is no input',
    model: 'dense',
    file: 'rows.json',
    content: [{ xx: wave(32, 1) }],
    error: {
      code: 'E_DATA',
      message: text('no input named xx'),
      expected: 'x (f32, n×32)',
      hint: 'Did you mean x?',
    },
  },
  {
    name: 'a row of another shape',
    model: 'dense',
    file: 'rows.json',
    content: [{ x: wave(31, 1) }],
    error: { code: 'E_SHAPE', tensor: 'x', expected: text('n×32'), found: text('31') },
  },
  {
    name: 'fractions for whole numbers',
    model: 'language',
    file: 'rows.json',
    content: [{ input_ids: [1.5, 2] }],
    error: { code: 'E_DTYPE', tensor: 'input_ids', expected: text('int64'), found: '1.5 at [0, 0]' },
  },
  {
    name: 'an id beyond the vocabulary',
    model: 'language',
    file: 'rows.json',
    content: [{ input_ids: [1, 2] }, { input_ids: [3, 12] }],
    error: { code: 'E_DATA', message: text('row 2'), expected: 'ids from 0 to 11', found: '12 at [0, 1]' },
  },
  {
    name: 'a tokenizer that yields ids beyond the vocabulary',
    model: 'language',
    file: 'data.txt',
    content: 'a b c d e f g h i j k l m n o p '.repeat(20),
    error: {
      code: 'E_DATA',
      file: text('tokenizer.json'),
      expected: 'ids from 0 to 11',
      hint: text('tokenizer'),
    },
  },
  {
    name: 'an array that ends early',
    model: 'dense',
    file: 'x.npy',
    content: truncatedNpy(),
    error: { code: 'E_TRUNCATED', offset: 628, expected: text('1024 bytes'), found: '500 bytes' },
  },
  {
    name: 'JSON that ends early',
    model: 'dense',
    file: 'rows.json',
    content: '[{"x": [1, 2',
    error: { code: 'E_TRUNCATED', offset: 12, hint: text('incomplete') },
  },
  {
    name: 'text for a model without tokens',
    model: 'dense',
    file: 'data.txt',
    content: 'hello world',
    error: { code: 'E_USAGE', expected: text('input_ids'), hint: text('arrays keyed by input name') },
  },
  {
    name: 'no rows at all',
    model: 'dense',
    file: 'rows.json',
    content: [],
    error: { code: 'E_EMPTY', file: text('rows.json') },
  },
  {
    name: 'data on which the model computes NaN',
    model: 'log',
    file: 'rows.json',
    content: [{ x: wave(32, 1) }],
    error: { code: 'E_NONFINITE', tensor: 'a', node: 'first (Log)', hint: text('data') },
  },
  {
    name: 'data on which a static mode computes NaN',
    model: 'log',
    file: 'rows.json',
    content: [{ x: wave(32, 1) }],
    to: 'static-int8',
    error: { code: 'E_NONFINITE', tensor: 'a', node: 'first (Log)' },
  },
  {
    name: 'values whose squares overflow',
    model: 'dense',
    file: 'rows.json',
    content: [{ x: wave(32, 1).map((each) => each * 3e19) }],
    error: { code: 'E_NONFINITE', tensor: 'a', hint: text('Leave the weight') },
  },
];

describe('data that does not fit is refused, and nothing is written', () => {
  test.each(CASES)('$name', async ({ model: name, file, content, to = 'q4', error }) => {
    await withFolder(async (folder) => {
      const path = await writeModel(folder, MODELS[name]);
      await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(TOKENIZER));
      const data = join(folder, file);
      const plain = typeof content === 'string' || content instanceof Uint8Array;
      await writeFile(data, plain ? content : JSON.stringify(content));
      const before = await readdir(folder);
      const algorithm = to === 'q4' ? ['--algorithm', 'gptq'] : [];
      const words = ['quantize', path, '--to', to, ...algorithm, '--data', data, '--sequence', '16'];
      const { code, stdout } = await run([...words, '--threads', '1', '--json']);
      expect(JSON.parse(stdout).error).toMatchObject(error);
      expect(code).toBeGreaterThan(1);
      expect(await readdir(folder)).toEqual(before);
    });
  });

  test('a picture that is none is named', async () => {
    await withFolder(async (folder) => {
      const path = await writeModel(folder, MODELS.filter);
      await mkdir(join(folder, 'images'));
      await writeFile(join(folder, 'images', 'a.png'), 'no picture');
      const words = ['quantize', path, '--to', 'static-int8', '--data', join(folder, 'images'), '--json'];
      const { error } = JSON.parse((await run(words)).stdout);
      expect(error).toMatchObject({ code: 'E_DATA', file: text('a.png'), hint: text('Remove it') });
    });
  });

  test('too few samples and channels that are always zero are told, and do no harm', async () => {
    await withFolder(async (folder) => {
      const path = await writeModel(folder, MODELS.dense);
      const data = join(folder, 'rows.json');
      const rows = [1, 2, 3, 4].map((step) => ({ x: wave(32, step).map((each, i) => (i < 3 ? 0 : each)) }));
      await writeFile(data, JSON.stringify(rows));
      const words = ['quantize', path, '--to', 'q4', '--algorithm', 'gptq', '--data', data, '--runs', '1'];
      const { code, stderr } = await run([...words, '--threads', '1']);
      expect(code).toBe(0);
      expect(stderr).toMatch(/Too few samples: 2 of 2 layers have more inputs than the 4 rows they saw/);
      expect(stderr).toMatch(/inputs of .* were zero in all samples; their weights were rounded to nearest/);
    });
  });
});

/** Modules that cannot be found, as where an optional package is not installed. */
const HOOKS = `
const absent = process.env.WHITTLE_TEST_ABSENT ?? '';
export async function resolve(specifier, context, next) {
  if (specifier !== absent) return next(specifier, context);
  throw Object.assign(new Error('Cannot find package ' + specifier), { code: 'ERR_MODULE_NOT_FOUND' });
}`;

describe.skipIf(!BUILT)(BUILT ? 'a package that is not installed' : `not installed (${NOT_BUILT})`, () => {
  test.each([
    ['onnxruntime-node', 'dense', 'q4', 'rows.json'],
    ['onnxruntime-node', 'filter', 'static-int8', 'rows.json'],
    ['@huggingface/tokenizers', 'language', 'q4', 'data.txt'],
    ['sharp', 'filter', 'static-int8', 'images'],
  ] as const)(
    '%s is named with the command that installs it (%s, %s, %s)',
    async (absent, name, to, file) => {
      await withFolder(async (folder) => {
        const path = await writeModel(folder, MODELS[name]);
        await mkdir(join(folder, 'images'));
        await writeFile(join(folder, 'images', 'a.png'), 'is not even opened');
        await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(TOKENIZER));
        await writeFile(join(folder, 'data.txt'), 'a b c d');
        await writeFile(join(folder, 'rows.json'), '[]');
        await writeFile(join(folder, 'hooks.mjs'), HOOKS);
        const register = `import { register } from 'node:module'; register('./hooks.mjs', import.meta.url);`;
        await writeFile(join(folder, 'register.mjs'), register);
        const words = ['quantize', path, '--to', to, '--data', join(folder, file), '--json'];
        const env = { WHITTLE_TEST_ABSENT: absent, NODE_OPTIONS: `--import=${join(folder, 'register.mjs')}` };
        const { code, stdout } = await whittle(words, { env });
        expect(code).toBe(2);
        const hint = expect.stringContaining(`npm install ${absent}`);
        expect(JSON.parse(stdout).error).toMatchObject({
          code: 'E_MISSING_PEER',
          message: text(absent),
          hint,
        });
        expect(JSON.parse(stdout).error.hint).not.toContain('--no-verify');
      });
    },
  );
});
