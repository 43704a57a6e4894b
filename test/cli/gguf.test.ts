/** GGUF on the command line: what llama.cpp's users type, what they get to see, and what is refused with which words. */

import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { fileTypeName } from '../../src/planning/gguf/file-types.ts';
import { withFolder } from '../formats/build-onnx.ts';
import { type Outcome, run } from './run.ts';
import { LAYERS, WEIGHT_NAMES, writeSmallGguf, writeSmallImatrix } from './small-gguf.ts';

async function ok(...args: string[]): Promise<Outcome> {
  const outcome = await run(args);
  expect(outcome.stderr + outcome.stdout).not.toMatch(/^E_|failed unexpectedly/m);
  expect(outcome.code).toBe(0);
  return outcome;
}

async function json(...args: string[]) {
  const { stdout } = await ok(...args, '--json');
  return JSON.parse(stdout);
}

const weightFiles = async (folder: string): Promise<string[]> =>
  (await readdir(folder)).filter((name) => name.endsWith('.gguf')).sort();

describe('quantize', () => {
  test('writes <name>-<TYPE>.gguf beside the input; a precision in the name is replaced', async () => {
    await withFolder(async (folder) => {
      const file = await writeSmallGguf(folder);
      const { stdout, stderr } = await ok('quantize', file, '--to', 'q4_k,Q8_0');
      expect(await weightFiles(folder)).toEqual(['tiny-Q4_K_M.gguf', 'tiny-Q8_0.gguf', 'tiny-f32.gguf']);
      expect(stdout).toContain('bits/weight');
      expect(stdout).toContain('worst in Q8_0');
      expect(stderr).toContain('next: whittle perplexity');
      const summary = await json('inspect', join(folder, 'tiny-Q4_K_M.gguf'));
      expect(summary.fileType).toBe('Q4_K_M');
      expect(summary.types.map(({ type }: { type: string }) => type)).toContain('q6_K');
    });
  });

  test('the form of llama-quantize gives the same bytes as the flags', async () => {
    await withFolder(async (folder) => {
      const file = await writeSmallGguf(folder);
      const positional = join(folder, 'a.gguf');
      const flags = join(folder, 'b.gguf');
      await ok('quantize', file, positional, 'q5_k_m', '2');
      await ok('quantize', file, '--to', '17', '-o', flags, '--threads', '1');
      expect(await readFile(positional)).toEqual(await readFile(flags));
      await ok('quantize', '--pure', file, 'Q4_0');
      expect(await weightFiles(folder)).toContain('tiny-Q4_0.gguf');
    });
  });

  test('rules of --tensor-type and of files of them decide in the order in which they were typed', async () => {
    await withFolder(async (folder) => {
      const file = await writeSmallGguf(folder);
      const rules = join(folder, 'rules.txt');
      await writeFile(rules, 'attn_v=q5_0');
      const typeOf = async (...flags: string[]): Promise<string> => {
        const { results } = await json('quantize', file, '--to', 'q4_0', '--dry-run', ...flags);
        return results[0].tensors.find(({ name }: { name: string }) => name === 'blk.0.attn_v.weight').to;
      };
      const [typed, filed] = [
        ['--tensor-type', 'attn=q8_0'],
        ['--tensor-type-file', rules],
      ];
      expect(await typeOf(...filed, ...typed)).toBe('q5_0');
      expect(await typeOf(...typed, ...filed)).toBe('q8_0');
    });
  });

  test('a file of rules is read up to a limit, however many rules there are', async () => {
    await withFolder(async (folder) => {
      const file = await writeSmallGguf(folder);
      const rules = join(folder, 'rules.txt');
      await writeFile(rules, 'a=f16 '.repeat(150_000));
      await ok('quantize', file, '--to', 'q4_0', '--dry-run', '--tensor-type-file', rules);
      await writeFile(rules, 'a=f16 '.repeat(200_000));
      const { code, stderr } = await run([
        ...['quantize', file, '--to', 'q4_0', '--tensor-type-file', rules],
      ]);
      expect([code, stderr.slice(0, 7)]).toEqual([3, 'E_LIMIT']);
    });
  });

  test('options of llama-quantize change what they say', async () => {
    await withFolder(async (folder) => {
      const file = await writeSmallGguf(folder);
      const rules = join(folder, 'rules.txt');
      await writeFile(rules, 'ffn_up=q5_0\nattn_v=f16\n');
      const { results } = await json(
        'quantize',
        file,
        ...['--to', 'Q4_K_M', '-o', join(folder, 'out.gguf'), '--leave-output-tensor'],
        ...['--token-embedding-type', 'Q8_0', '--tensor-type', 'ATTN_V=q6_k', '--tensor-type-file', rules],
        ...['--prune-layers', '1', '--override-kv', 'whittle.note=str:kept'],
      );
      const types = Object.fromEntries(
        results[0].tensors.map(({ name, to }: { name: string; to: string }) => [name, to]),
      );
      expect(types['output.weight']).toBe('f32');
      expect(types['token_embd.weight']).toBe('q8_0');
      expect(types['blk.0.attn_v.weight']).toBe('q6_K');
      expect(types['blk.0.ffn_up.weight']).toBe('q5_0');
      expect(Object.keys(types).filter((name) => name.startsWith('blk.1.'))).toEqual([]);
      const { metadata } = await json('inspect', join(folder, 'out.gguf'), '--no-stats');
      const values = new Map(metadata.map(({ key, value }: { key: string; value: unknown }) => [key, value]));
      expect(values.get('whittle.note')).toBe('kept');
      expect(values.get('llama.block_count')).toBe(LAYERS - 1);
    });
  });

  test('an importance matrix guides, and lets through what is of no use without', async () => {
    await withFolder(async (folder) => {
      const file = await writeSmallGguf(folder);
      const imatrix = await writeSmallImatrix(folder);
      const refused = await run(['quantize', file, '--to', 'IQ2_XXS']);
      expect(refused.code).toBe(3);
      expect(refused.stderr).toContain('E_IMATRIX');
      expect(refused.stderr).toContain('--imatrix');
      const plan = await json('quantize', file, '--to', 'Q4_K_M,IQ2_XXS', '--imatrix', imatrix, '--dry-run');
      expect(plan.results.map(({ wantsImatrix }: { wantsImatrix: boolean }) => wantsImatrix)).toEqual([
        false,
        false,
      ]);
      await ok('quantize', file, '--to', 'Q4_K_M', '-o', join(folder, 'plain.gguf'));
      const { results } = await json('quantize', file, '--to', 'Q4_K_M', '--imatrix', imatrix);
      const guided = results[0].tensors.filter(({ importance }: { importance: boolean }) => importance);
      expect(guided.length).toBe(WEIGHT_NAMES.length);
      const metadata = (await json('inspect', results[0].files[0].path, '--no-stats')).metadata;
      expect(metadata.map(({ key }: { key: string }) => key)).toContain('quantize.imatrix.chunks_count');
      expect(await readFile(join(folder, 'plain.gguf'))).not.toEqual(
        await readFile(results[0].files[0].path),
      );
    });
  });

  test('--dry-run names tensor, types, bytes and reason, with the exact size, and writes nothing', async () => {
    await withFolder(async (folder) => {
      const file = await writeSmallGguf(folder);
      const { stdout } = await ok('quantize', file, '--to', 'Q4_K_M', '--dry-run');
      expect(stdout).toContain('blk.0.attn_v.weight');
      expect(stdout).toContain('attention values');
      expect(stdout).toContain('bits');
      expect(await readdir(folder)).toEqual(['tiny-f32.gguf']);
      const planned = await json('quantize', file, '--to', 'Q4_K_M', '--dry-run');
      const written = await json('quantize', file, '--to', 'Q4_K_M', '--sha256');
      const [result] = written.results;
      expect(planned.results[0].bytes).toBe((await stat(result.files[0].path)).size);
      expect(result.files[0].sha256).toMatch(/^[0-9a-f]{64}$/);
      const saved = join(folder, 'plan.json');
      await ok('quantize', file, '--to', 'Q4_K_M', '--dry-run', '--save-plan', saved);
      expect(JSON.parse(await readFile(saved, 'utf8')).tensors.length).toBe(result.tensors.length);
    });
  });

  test('--dry-run --all: every type with its exact size and an error near the real one', async () => {
    await withFolder(async (folder) => {
      const file = await writeSmallGguf(folder);
      const survey = await json('quantize', file, '--dry-run', '--all', '--to', 'Q8_0,Q4_K_M,Q2_K,F16');
      expect(survey.types.map(({ type }: { type: string }) => type).sort()).toEqual([
        'F16',
        'Q2_K',
        'Q4_K_M',
        'Q8_0',
      ]);
      const { results } = await json('quantize', file, '--to', 'Q8_0,Q4_K_M', '--measure');
      for (const { type, bytes, weightSqnr } of results) {
        const row = survey.types.find((candidate: { type: string }) => candidate.type === type);
        expect(row.bytes).toBe(bytes);
        expect(Math.abs(row.sqnr - weightSqnr)).toBeLessThan(0.5);
      }
      const { stdout } = await ok('quantize', file, '--dry-run', '--all', '--to', 'Q8_0,IQ1_S');
      expect(stdout).toContain('wanted');
      expect(stdout).toMatch(/Errors were measured: [\d,]+ of [\d,]+ weights/);
    });
  });

  test('--all refuses what it would not look at', async () => {
    await withFolder(async (folder) => {
      const file = await writeSmallGguf(folder);
      for (const [flag, value] of [
        ['--algorithm', 'gptq'],
        ['--data', 'text.txt'],
        ['--statistics', 'a.stats'],
        ['--save-plan', join(folder, 'plan.json')],
      ] as const) {
        const { code, stderr } = await run(['quantize', file, '--dry-run', '--all', flag, value]);
        expect(code).toBe(2);
        expect(stderr).toContain(`${flag} has no part in it`);
      }
    });
  });

  test('COPY writes the model again without touching a weight', async () => {
    await withFolder(async (folder) => {
      const file = await writeSmallGguf(folder);
      await ok('quantize', file, 'copy');
      const { weights } = await json('compare', file, join(folder, 'tiny-COPY.gguf'));
      expect(weights.every(({ sqnr }: { sqnr: unknown }) => sqnr === 'Infinity')).toBe(true);
    });
  });

  test('a model is known by its content where its name does not tell', async () => {
    await withFolder(async (folder) => {
      const file = await writeSmallGguf(folder, 'model.bin');
      await ok('quantize', file, '--to', 'q8_0');
      expect(await weightFiles(folder)).toEqual(['model.bin-Q8_0.gguf']);
    });
  });

  test.each([
    [['--to', 'Q4_KM'], 2, 'Did you mean Q4_K_M?'],
    [[], 2, 'Try --to Q4_K_M'],
    [['--to', 'q4_0', '--bits', '4'], 2, '--bits is for ONNX models'],
    [['--to', 'q4_0', '--no-verify'], 2, '--no-verify is for ONNX models'],
    [['--to', 'q4_0,Q4_0'], 2, 'asked for twice'],
    [['--to', 'q4_0,q8_0', '-o', 'x.gguf'], 2, 'output is one file'],
    [['--to', 'q4_0', 'Q8_0'], 2, 'say the same thing'],
    [['a.gguf', 'Q4_0', '2', 'more'], 2, 'too many words'],
    [['a.gguf'], 2, 'as in a.gguf Q4_K_M'],
    [['a.gguf', '--to', 'q4_0'], 2, 'name the output with -o'],
    [['Q4_KM'], 2, 'Did you mean Q4_K_M?'],
    [['out.bin', 'Q4_0'], 2, 'neither a file type nor a .gguf file'],
    [['--to', 'q4_0', '--tensor-type', 'attn_v'], 2, 'PATTERN=TYPE'],
    [['--to', 'q4_0', '--tensor-type', 'attn_v=q9'], 2, 'there is no tensor type'],
    [['--to', 'q4_0', '--tensor-type-file', 'absent.txt'], 5, 'absent.txt'],
    [['--to', 'q4_0', '--override-kv', 'a=b'], 2, 'KEY='],
    [['--to', 'q4_0', '--prune-layers', 'x'], 2, 'layers to prune'],
    [['--to', 'q4_0', '--imatrix', 'absent.dat'], 5, 'absent.dat'],
    [['--to', 'q4_0', '--include-weights', 'a'], 2, '--imatrix'],
    [['--all'], 2, '--dry-run'],
  ] as const)('%j: exit code %i, and says %j', async (args, code, words) => {
    await withFolder(async (folder) => {
      const file = await writeSmallGguf(folder);
      const outcome = await run(['quantize', file, ...args]);
      expect(outcome.code).toBe(code);
      expect(outcome.stderr).toContain(words);
      expect(outcome.stderr).not.toContain('failed unexpectedly');
      expect(await readdir(folder)).toEqual(['tiny-f32.gguf']);
    });
  });

  test('output over the input, an existing output and a quantized input are refused', async () => {
    await withFolder(async (folder) => {
      const file = await writeSmallGguf(folder);
      const before = await readFile(file);
      const over = await run(['quantize', file, file, 'Q4_0', '--force']);
      expect(over.stderr).toContain('E_OUTPUT_IS_INPUT');
      expect(await readFile(file)).toEqual(before);
      await ok('quantize', file, 'Q4_0');
      const again = await run(['quantize', file, 'Q4_0']);
      expect(again.stderr).toContain('E_OUTPUT_EXISTS');
      await ok('quantize', file, 'Q4_0', '--force');
      const quantized = join(folder, 'tiny-Q4_0.gguf');
      const twice = await run(['quantize', quantized, 'Q8_0']);
      expect(twice.code).toBe(4);
      expect(twice.stderr).toContain('--allow-requantize');
      await ok('quantize', quantized, join(folder, 'twice.gguf'), 'Q8_0', '--allow-requantize');
    });
  });

  test('flags of GGUF are refused for ONNX models', async () => {
    const { code, stderr } = await run(['quantize', 'm.onnx', '--to', 'q4', '--pure']);
    expect(code).toBe(2);
    expect(stderr).toContain('--pure is for GGUF models');
    expect((await run(['quantize', 'm.onnx', 'q4'])).stderr).toContain('too many words');
  });
});

describe('inspect, compare, dequantize', () => {
  test('inspect lists tensors and metadata; names cannot write to the terminal', async () => {
    await withFolder(async (folder) => {
      const file = await writeSmallGguf(folder);
      const { stdout } = await ok('inspect', file);
      expect(stdout).toContain('llama.block_count');
      expect(stdout).toContain('string × 8');
      expect(stdout).toContain('[<unk>, b, c, d, e, f, …]');
      expect(stdout).toContain('tiny\\u001b[31m');
      expect(stdout).toContain('bits per weight');
      expect((await ok('inspect', file, '--no-stats')).stdout).toContain('blk.1');
      const one = await ok('inspect', file, '--tensor', 'output.weight');
      expect(one.stdout).toContain('percentile');
      expect((await run(['inspect', file, '--tensor', 'absent'])).stderr).toContain('--no-stats');
    });
  });

  test('pages: what is in a file, and what quantizing did; texts from files are escaped', async () => {
    await withFolder(async (folder) => {
      const file = await writeSmallGguf(folder);
      const page = join(folder, 'page.html');
      await ok('inspect', file, '--html', page);
      const inspected = await readFile(page, 'utf8');
      for (const text of ['bits per weight', '&#60;unk&#62;', 'tokenizer.ggml.tokens']) {
        expect(inspected.includes(text), text).toBe(true);
      }
      expect(inspected.includes('<unk>')).toBe(false);
      await ok('quantize', file, 'Q4_K_M', '--html', page);
      expect((await readFile(page, 'utf8')).includes('blk.0.attn_v.weight')).toBe(true);
      expect((await run(['inspect', file, '--html', file])).code).toBe(2);
    });
  });

  test('inspect measures quantized tensors as the runtime sees them', async () => {
    await withFolder(async (folder) => {
      const file = await writeSmallGguf(folder);
      await ok('quantize', file, 'Q8_0');
      const name = 'blk.0.attn_q.weight';
      const before = await json('inspect', file, '--tensor', name);
      const after = await json('inspect', join(folder, 'tiny-Q8_0.gguf'), '--tensor', name);
      expect(after.tensors[0].type).toBe('q8_0');
      expect(after.tensors[0].statistics.std).toBeCloseTo(before.tensors[0].statistics.std, 4);
    });
  });

  test('dequantize gives the floats that the quantized file stands for', async () => {
    await withFolder(async (folder) => {
      const file = await writeSmallGguf(folder);
      await ok('quantize', file, 'Q4_K_S');
      const quantized = join(folder, 'tiny-Q4_K_S.gguf');
      const { stdout } = await ok('dequantize', quantized);
      expect(stdout).toContain('tiny-Q4_K_S-F32.gguf');
      const { weights } = await json('compare', quantized, join(folder, 'tiny-Q4_K_S-F32.gguf'));
      expect(weights.every(({ sqnr }: { sqnr: unknown }) => sqnr === 'Infinity')).toBe(true);
      await ok('dequantize', quantized, '--to', 'bf16', '-o', join(folder, 'half.gguf'));
      expect((await json('inspect', join(folder, 'half.gguf'), '--no-stats')).fileType).toBe('BF16');
      expect((await run(['dequantize', quantized, '--external-data', 'always'])).stderr).toContain('ONNX');
    });
  });

  test('compare finds the tensors that lost most, and those that one side lacks', async () => {
    await withFolder(async (folder) => {
      const file = await writeSmallGguf(folder);
      await ok('quantize', file, '--to', 'Q4_0', '--prune-layers', '1');
      const { stdout } = await ok('compare', file, join(folder, 'tiny-Q4_0.gguf'), '--top', '3');
      expect(stdout).toMatch(/weights compared.*only in a: blk\.1\./);
      expect((await run(['compare', file, file, '--runs', '3'])).stderr).toContain('--runs is for ONNX');
    });
  });
});

describe('split, merge, imatrix, types', () => {
  test('a model that was split and merged is what it was', async () => {
    await withFolder(async (folder) => {
      const file = await writeSmallGguf(folder);
      const { files } = await json('split', file, '--max-tensors', '5', '-o', join(folder, 'parts'));
      expect(files.map(({ path }: { path: string }) => basename(path))).toEqual(
        [1, 2, 3, 4].map((part) => `parts-0000${part}-of-00004.gguf`),
      );
      await ok('merge', files[2].path);
      expect(await readFile(join(folder, 'parts.gguf'))).toEqual(await readFile(file));
      await ok('quantize', files[0].path, '--to', 'Q8_0', '--keep-split');
      expect((await weightFiles(folder)).filter((name) => name.startsWith('parts-Q8_0-')).length).toBe(4);
      await ok('quantize', files[0].path, '--to', 'Q4_0');
      expect(await weightFiles(folder)).toContain('parts-Q4_0.gguf');
      expect((await ok('split', file, '--max-size', '100K', '--dry-run')).stdout).toContain('-00001-of-');
      expect((await run(['merge', file])).code).toBe(4);
      expect((await run(['split', file, '--max-size', '2Q'])).stderr).toContain('2G or 500M');
    });
  });

  test('imatrix shows an old file and writes it as GGUF, with the same values', async () => {
    await withFolder(async (folder) => {
      const file = await writeSmallImatrix(folder);
      const { stdout } = await ok('imatrix', file, '--top', '3');
      expect(stdout).toContain('old (.dat)');
      expect(stdout).toContain('text.txt');
      expect(stdout).toContain(`and ${WEIGHT_NAMES.length - 3} more`);
      await ok('imatrix', file, '--to-gguf');
      const old = await json('imatrix', file);
      const converted = await json('imatrix', join(folder, 'imatrix.gguf'));
      expect(converted.form).toBe('gguf');
      const sums = (summary: typeof old): [string, number][] =>
        summary.entries
          .map(({ name, sum }: { name: string; sum: number }) => [name, Number(sum.toPrecision(5))])
          .sort();
      expect(sums(converted)).toEqual(sums(old));
      expect((await run(['imatrix', file, '--to-gguf', file])).code).toBe(2);
    });
  });

  test('types lists every file type and tensor type, and knows aliases', async () => {
    const { stdout } = await ok('types');
    for (const word of ['Q4_K_M', 'IQ1_S', 'NVFP4', 'COPY', 'q4_K', 'mxfp4']) expect(stdout).toContain(word);
    expect(JSON.parse((await ok('types', 'q4_k')).stdout).id).toBe(15);
    expect(fileTypeName(15)).toBe('Q4_K_M');
    expect((await run(['types', 'q44'])).code).toBe(2);
  });
});
