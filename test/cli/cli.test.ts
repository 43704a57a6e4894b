/** What the command line says and answers, run in this process on streams of its own. */

import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { textWidth } from '../../src/report/text.ts';
import { floats, linearModel, withFolder, writeModel } from '../formats/build-onnx.ts';
import { type Outcome, run } from './run.ts';

const COMMANDS = [
  'inspect',
  'quantize',
  'dequantize',
  'prepare',
  'compare',
  'perplexity',
  'modes',
  'types',
  'imatrix',
  'split',
  'merge',
  'completion',
];

/** Big enough for every mode: 64×64 weights. */
async function smallModel(folder: string, name = 'model.onnx'): Promise<string> {
  const proto = linearModel(64, 64);
  const values = Array.from({ length: 4096 }, (_, i) => Math.sin(i * 12.9898) * 0.5);
  proto.graph!.initializer = [floats('w', [64, 64], values), floats('b', [64], values.slice(0, 64))];
  return writeModel(folder, proto, { name });
}

function expectNoStack({ stdout, stderr }: Outcome): void {
  expect(stdout + stderr).not.toMatch(
    /\n\s+at .*[(:]\d+:\d+|node:internal|TypeError|RangeError|ReferenceError/,
  );
}

describe('whittle', () => {
  test('--help lists every command, examples and exit codes', async () => {
    const { code, stdout, stderr } = await run(['--help']);
    expect(code).toBe(0);
    expect(stderr).toBe('');
    for (const command of COMMANDS) expect(stdout).toContain(`\n  ${command}`);
    expect(stdout).toContain('Examples:');
    expect(stdout).toContain('Exit codes:');
  });

  test('without a command: the help, on stderr, and exit code 2', async () => {
    const { code, stdout, stderr } = await run([]);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain('Usage: whittle');
  });

  test.each(COMMANDS)('%s --help has examples', async (command) => {
    const { code, stdout } = await run([command, '--help']);
    expect(code).toBe(0);
    expect(stdout).toContain('Examples:');
    expect(stdout).toContain(`whittle ${command}`);
    expect(stdout).toContain('--json');
  });

  test.each([
    [['quantise', 'm.onnx'], 'Did you mean quantize?'],
    [['quantize', 'm.onnx', '--too', 'q4'], 'Did you mean --to?'],
    [['quantize', 'm.onnx', '--to', 'q44'], 'Did you mean q4?'],
    [['quantize', 'm.onnx', '--to', 'q4', '--target', 'onnxruntime-nod'], 'Did you mean onnxruntime-node?'],
  ])('%j suggests what was meant', async (args, hint) => {
    const outcome = await run(args);
    expect(outcome.code).toBe(2);
    expect(outcome.stderr).toContain('E_USAGE');
    expect(outcome.stderr).toContain(hint);
    expectNoStack(outcome);
  });

  test.each([
    [['quantize']],
    [['quantize', 'm.onnx']],
    [['quantize', 'm.onnx', '--to', '']],
    [['quantize', 'm.onnx', '--to', 'q4', '--threads', 'many']],
    [['quantize', 'm.onnx', '--to', 'q4', '--threads', '0']],
    [['quantize', 'm.onnx', '--to', 'q4', '--bits', '99']],
    [['quantize', 'm.onnx', '--to', 'q4', '--shape', 'x']],
    [['quantize', 'm.onnx', '--to', 'q4', '--shape', 'x=1,two']],
    [['quantize', 'm.onnx', '--to', 'q4', '--input', 'x=']],
    [['quantize', 'm.onnx', '--to', 'q4', '--symmetric', '--asymmetric']],
    [['quantize', 'm.onnx', '--to', 'q4', '--dry-run', '--min-cosine', '0.9']],
    [['inspect', 'm.onnx', '--sort', 'beauty']],
    [['inspect', 'm.onnx', '--no-stats', '--tensor', 'w']],
    [['modes', 'q4', 'q8']],
    [['completion', 'powershell']],
    [['--color', 'perhaps', 'modes']],
  ])('wrong use %j is exit code 2, one coded message and no stack', async (args) => {
    const outcome = await run(args);
    expect(outcome.code).toBe(2);
    expect(outcome.stdout).toBe('');
    expect(outcome.stderr).toMatch(/^E_USAGE: /);
    expectNoStack(outcome);
  });

  test('a missing file is exit code 5, with and without --json', async () => {
    for (const command of [['inspect'], ['quantize', '--to', 'q8'], ['dequantize']]) {
      const outcome = await run([...command, '/nowhere/model.onnx']);
      expect(outcome.code).toBe(5);
      expect(outcome.stderr).toContain('E_NOT_FOUND');
      expectNoStack(outcome);
    }
    const outcome = await run(['inspect', '/nowhere/model.onnx', '--json']);
    expect(outcome.code).toBe(5);
    expect(outcome.stderr).toBe('');
    expect(JSON.parse(outcome.stdout)).toMatchObject({ error: { code: 'E_NOT_FOUND', exitCode: 5 } });
  });

  test.each([
    ['empty', '', 'E_EMPTY'],
    ['text', 'hello world, this is no model at all', undefined],
    [
      'a git-lfs pointer',
      'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n',
      'E_LFS_POINTER',
    ],
    ['a pickle', '\x80\x02}q\x00.', undefined],
  ])('a file that is %s is exit code 3 and no stack', async (_what, content, expected) => {
    await withFolder(async (folder) => {
      const file = join(folder, 'm.onnx');
      await writeFile(file, content, 'latin1');
      for (const args of [
        ['inspect', file],
        ['quantize', file, '--to', 'q8'],
      ]) {
        const outcome = await run(args);
        expect(outcome.code).toBe(3);
        expect(outcome.stderr).toMatch(/^E_[A-Z_]+: /);
        if (expected !== undefined) expect(outcome.stderr).toContain(expected);
        expectNoStack(outcome);
      }
      expect(await readdir(folder)).toEqual(['m.onnx']);
    });
  });

  test('inspect: a table for people, one document for programs, a page', async () => {
    await withFolder(async (folder) => {
      const file = await smallModel(folder);
      const page = join(folder, 'report.html');
      const table = await run(['inspect', file, '--html', page]);
      expect(table.code).toBe(0);
      expect(table.stdout).toMatch(/\n\s*w\s+64×64\s+f32\s+4\.10k/);
      expect(table.stdout).toContain('4,160 parameters');
      expect(table.stdout).not.toContain('\u001b');
      expect(await readFile(page, 'utf8')).toContain('</html>');
      const json = await run(['inspect', file, '--json']);
      const summary = JSON.parse(json.stdout);
      expect(summary).toMatchObject({ format: 'onnx', parameters: 4160, nodes: 2 });
      expect(summary.tensors).toHaveLength(2);
      const quick = await run(['inspect', file, '--no-stats', '--quiet']);
      expect(quick.stdout).toContain('MatMul');
      expect(quick.stderr).toBe('');
      const one = await run(['inspect', file, '--tensor', 'b']);
      expect(one.stdout).toContain('skewness');
      const none = await run(['inspect', file, '--tensor', 'zzz']);
      expect(none.code).toBe(2);
    });
  });

  test('inspect of a model with absurdly many weights leaves the modes out and says so', async () => {
    await withFolder(async (folder) => {
      const proto = linearModel(2, 2);
      proto.graph!.initializer = [
        floats('w', [2, 2], [1, 2, 3, 4]),
        floats('b', [2], [0, 0]),
        ...Array.from({ length: 20_001 }, (_, i) => floats(`n${i}`, [1], [i])),
      ];
      const { code, stdout } = await run(['inspect', await writeModel(folder, proto), '--no-stats']);
      expect(code).toBe(0);
      expect(stdout).toContain('Modes were not tried');
    });
  });

  test('inspect keeps to the width of the terminal, table and facts', async () => {
    await withFolder(async (folder) => {
      const file = await smallModel(folder, 'm.onnx');
      for (const columns of [60, 80, 120]) {
        const { code, stdout } = await run(['inspect', file, '--color', 'never'], { columns });
        expect(code).toBe(0);
        const lines = stdout.split('\n').filter((line) => !line.includes(folder));
        for (const line of lines) expect(textWidth(line), line).toBeLessThanOrEqual(columns);
      }
    });
  });

  test('inspect never prints control characters of names', async () => {
    await withFolder(async (folder) => {
      const proto = linearModel(64, 64);
      const evil = 'w\u001b[2J\u202e\n<script>';
      proto.graph!.initializer[0] = floats(evil, [64, 64]);
      proto.graph!.node[0]!.input[1] = evil;
      const file = await writeModel(folder, proto);
      const { code, stdout } = await run(['inspect', file]);
      expect(code).toBe(0);
      expect(stdout).not.toMatch(/[\p{Cf}]/u);
      expect(stdout).not.toContain('\u001b');
      expect(stdout).toContain('w\\u001b[2J\\u202e\\u000a<script>');
    });
  });

  test('quantize: several modes in one go, proved, as a table and as JSON; existing outputs are kept', async () => {
    await withFolder(async (folder) => {
      const file = await smallModel(folder);
      const page = join(folder, 'q.html');
      const first = await run(['quantize', file, '--to', 'q8,q4', '--runs', '1', '--html', page]);
      expect(first.stderr).not.toContain('E_');
      expect(first.code).toBe(0);
      expect(first.stdout).toContain('model_quantized.onnx');
      expect(first.stdout).toContain('model_q4.onnx');
      expect(first.stdout).toMatch(/0\.9\d+/);
      expect((await readdir(folder)).sort()).toEqual([
        'model.onnx',
        'model_q4.onnx',
        'model_quantized.onnx',
        'q.html',
      ]);
      expect((await stat(join(folder, 'model_q4.onnx'))).size).toBeLessThan((await stat(file)).size);
      const again = await run(['quantize', file, '--to', 'q4', '--json']);
      expect(again.code).toBe(2);
      expect(JSON.parse(again.stdout)).toMatchObject({ error: { code: 'E_OUTPUT_EXISTS' } });
      const forced = await run(['quantize', file, '--to', 'q4', '--force', '--json', '--runs', '1']);
      expect(forced.code).toBe(0);
      expect(forced.stderr).toBe('');
      const report = JSON.parse(forced.stdout);
      expect(report.results[0]).toMatchObject({ mode: 'q4', verification: { runtime: 'onnxruntime-node' } });
      expect(report.results[0].verification.cosine).toBeGreaterThan(0.9);
    });
  });

  test('quantize --dry-run writes nothing and tells the exact size', async () => {
    await withFolder(async (folder) => {
      const file = await smallModel(folder);
      const dry = await run(['quantize', file, '--to', 'q4', '--dry-run', '--json']);
      expect(dry.code).toBe(0);
      expect(await readdir(folder)).toEqual(['model.onnx']);
      const text = await run(['quantize', file, '--to', 'q4', '--dry-run']);
      expect(text.stdout).toContain('4-bit blocks of 32');
      await run(['quantize', file, '--to', 'q4', '--no-verify']);
      const planned = JSON.parse(dry.stdout).results[0].bytes;
      expect((await stat(join(folder, 'model_q4.onnx'))).size).toBe(planned);
    });
  });

  test('quantize: overrides, a recipe file and a saved plan', async () => {
    await withFolder(async (folder) => {
      const file = await smallModel(folder);
      const recipe = join(folder, 'mine.json');
      const printed = await run(['modes', 'q4']);
      const q4 = JSON.parse(printed.stdout);
      await writeFile(recipe, JSON.stringify({ ...q4, name: 'mine', suffix: '_mine' }));
      const plan = join(folder, 'plan.json');
      const made = await run([
        'quantize',
        file,
        '--recipe',
        recipe,
        '--block-size',
        '64',
        '--asymmetric',
        '--no-verify',
        '--save-plan',
        plan,
      ]);
      expect(made.stderr).not.toContain('E_');
      expect(made.code).toBe(0);
      const saved = JSON.parse(await readFile(plan, 'utf8'));
      const weight = saved.tensors.find(({ name }: { name: string }) => name === 'w');
      expect(weight.scheme).toMatchObject({ as: 'matmul-nbits', blockSize: 64, symmetric: false });
      expect(await readdir(folder)).toContain('model_mine.onnx');
    });
  });

  test('--min-cosine turns the proof into a gate with exit code 6', async () => {
    await withFolder(async (folder) => {
      const file = await smallModel(folder);
      const outcome = await run(['quantize', file, '--to', 'q2', '--runs', '1', '--min-cosine', '0.99999']);
      expect(outcome.code).toBe(6);
      expect(outcome.stderr).toContain('E_VERIFICATION');
      expectNoStack(outcome);
    });
  });

  test('--min-cosine with --json: still one document, the report with the error in it', async () => {
    await withFolder(async (folder) => {
      const file = await smallModel(folder);
      const outcome = await run([
        'quantize',
        file,
        '--to',
        'q2',
        '--runs',
        '1',
        '--min-cosine',
        '0.99999',
        '--json',
      ]);
      expect(outcome.code).toBe(6);
      expect(JSON.parse(outcome.stdout)).toMatchObject({
        results: [{ mode: 'q2' }],
        error: { code: 'E_VERIFICATION', exitCode: 6 },
      });
    });
  });

  test('compare: weights and outputs of a model and its quantized self, a gate, and back to floats', async () => {
    await withFolder(async (folder) => {
      const file = await smallModel(folder);
      await run(['quantize', file, '--to', 'q4', '--no-verify']);
      const small = join(folder, 'model_q4.onnx');
      const table = await run(['compare', file, small, '--runs', '1']);
      expect(table.code).toBe(0);
      expect(table.stdout).toMatch(/\nw\s+4\.10k\s+f32/);
      expect(table.stdout).toMatch(/\ny\s+0\.99/);
      const gate = await run(['compare', file, small, '--runs', '1', '--min-cosine', '0.9999999', '--json']);
      expect(gate.code).toBe(6);
      expect(JSON.parse(gate.stdout)).toMatchObject({ error: { code: 'E_VERIFICATION' } });
      const back = join(folder, 'back.onnx');
      expect((await run(['dequantize', small, '-o', back])).code).toBe(0);
      const same = await run(['compare', small, back, '--runs', '1', '--json']);
      expect(JSON.parse(same.stdout).verification.cosine).toBeGreaterThan(0.99999);
    });
  });

  test('a mode with nothing to do is exit code 4 and says why', async () => {
    await withFolder(async (folder) => {
      const file = await writeModel(folder, linearModel(4, 3));
      const outcome = await run(['quantize', file, '--to', 'q4']);
      expect(outcome.code).toBe(4);
      expect(outcome.stderr).toContain('E_NOTHING_TO_DO');
      expectNoStack(outcome);
    });
  });

  test('the output may not be the input', async () => {
    await withFolder(async (folder) => {
      const file = await smallModel(folder);
      const before = await readFile(file);
      const outcome = await run(['quantize', file, '--to', 'q4', '-o', file, '--force', '--no-verify']);
      expect(outcome.code).toBe(2);
      expect(outcome.stderr).toContain('E_OUTPUT_IS_INPUT');
      const page = await run(['inspect', file, '--html', file]);
      expect(page.code).toBe(2);
      expect(page.stderr).toContain('E_OUTPUT_IS_INPUT');
      expect(await readFile(file)).toEqual(before);
    });
  });

  test('a report never replaces a file that is not one, and is refused before any work is done', async () => {
    await withFolder(async (folder) => {
      const file = await smallModel(folder);
      const data = join(folder, 'model.onnx_data');
      await writeFile(data, 'weights of another model');
      const before = await readdir(folder);
      for (const words of [
        ['inspect', file, '--html', data],
        ['quantize', file, '--to', 'q4', '--html', data],
        ['quantize', file, '--to', 'q4', '--save-plan', data],
      ]) {
        const outcome = await run(words);
        expect(outcome.stderr).toContain('E_OUTPUT_EXISTS');
        expect(outcome.code).toBe(2);
      }
      for (const html of [file, join(folder, 'absent', 'page.html'), folder]) {
        const outcome = await run(['quantize', file, '--to', 'q4', '--html', html]);
        expect(outcome.stderr).toMatch(/E_OUTPUT_IS_INPUT|E_NOT_FOUND|E_USAGE/);
        expect(outcome.stderr).not.toContain('.partial');
      }
      const both = join(folder, 'both');
      expect((await run(['quantize', file, '--to', 'q4', '--html', both, '--save-plan', both])).code).toBe(2);
      expect((await run(['quantize', file, '--to', 'q4', '--html', both, '--dry-run'])).code).toBe(2);
      expect(await readdir(folder)).toEqual(before);
      expect(await readFile(data, 'utf8')).toBe('weights of another model');
    });
  });

  test('an earlier report and an earlier plan are replaced', async () => {
    await withFolder(async (folder) => {
      const file = await smallModel(folder);
      const html = join(folder, 'page.html');
      const plan = join(folder, 'plan.json');
      for (const modes of ['q4', 'q4,fp16']) {
        const words = ['quantize', file, '--to', modes, '--html', html, '--save-plan', plan, '--force'];
        expect(await run([...words, '--no-verify'])).toMatchObject({ code: 0 });
        expect(JSON.parse(await readFile(plan, 'utf8'))).toMatchObject(modes === 'q4' ? {} : [{}, {}]);
        expect(await readFile(html, 'utf8')).toContain(modes === 'q4' ? 'q4' : 'fp16');
      }
    });
  });

  test('help of a command, and of one that is mistyped', async () => {
    expect((await run(['help', 'quantize'])).stdout).toBe((await run(['quantize', '--help'])).stdout);
    expect((await run(['help'])).stdout).toBe((await run(['--help'])).stdout);
    const outcome = await run(['help', 'quantise']);
    expect(outcome.code).toBe(2);
    expect(outcome.stderr).toMatch(/^E_USAGE: unknown command 'quantise'\n[\s\S]*Did you mean quantize\?\n$/);
  });

  test('modes lists every mode with bits and where it runs', async () => {
    const { code, stdout } = await run(['modes', '--json']);
    expect(code).toBe(0);
    const { modes } = JSON.parse(stdout);
    expect(modes.map(({ mode }: { mode: string }) => mode)).toEqual(
      expect.arrayContaining([
        'fp16',
        'q8',
        'int8',
        'uint8',
        'q4',
        'q4f16',
        'bnb4',
        'q2',
        'q2f16',
        'fp8',
        'int4-qdq',
        'int8-qdq',
      ]),
    );
    expect((await run(['modes'])).stdout).toMatch(/q4\s+4\s+_q4\s+MatMulNBits/);
  });

  test('colour: words of other options do not turn it on or off', async () => {
    const quiet = await run(['quantize', 'absent.onnx', '--to', 'q4', '--external-data', 'always']);
    expect(quiet.stderr).not.toContain('\u001b');
    const words = ['quantize', 'absent.onnx', '--to', 'q4', '--external-data', 'never', '--color', 'always'];
    expect((await run(words)).stderr).toContain('\u001b');
  });

  test('colour: none in a pipe, some with --color always', async () => {
    expect((await run(['modes'], { env: { NO_COLOR: '' } })).stdout).not.toContain('\u001b');
    expect((await run(['modes', '--color', 'always'])).stdout).toContain('\u001b[2m');
  });
});
