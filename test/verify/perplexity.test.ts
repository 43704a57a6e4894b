/**
 * Perplexity: the rule on a model whose distribution is known, and the real thing, llama.cpp, against llama.cpp driven directly
 * in the way llama-perplexity drives it.
 */

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { quantizeGguf } from '../../src/compress/gguf/quantize.ts';
import type { LanguageModel, WindowRequest } from '../../src/runtime/language-model.ts';
import { llamaCpp } from '../../src/runtime/llama-cpp.ts';
import { baseModel, encodeDistribution, measurePerplexity } from '../../src/verify/perplexity.ts';
import { withFolder } from '../formats/build-onnx.ts';
import { llamaLibraries } from '../oracle/ggml.ts';
import { sharedPath } from '../shared.ts';

interface Known {
  readonly seen: WindowRequest[];
  readonly model: LanguageModel;
}

/** A model that always answers with the same logits; its tokens are the text's characters. */
function knownModel(logits: readonly number[], beginning?: number): Known {
  const seen: WindowRequest[] = [];
  const values = Float32Array.from(logits);
  const logSum = Math.log(values.reduce((sum, value) => sum + Math.exp(value), 0));
  return {
    seen,
    model: {
      file: 'known.gguf',
      vocabulary: values.length,
      beginning,
      tokenize: (text) => Array.from(text, (character) => character.charCodeAt(0) - 97),
      async score(request, visit) {
        seen.push(request);
        for (let position = request.first; position < request.tokens.length - 1; position++) {
          const target = request.targets[position] ?? 0;
          visit({ position, logits: values, negativeLogLikelihood: logSum - (values[target] ?? 0) });
        }
      },
      close: async () => {},
    },
  };
}

describe('the rule of llama-perplexity', () => {
  test('a model that knows nothing has the perplexity of its vocabulary', async () => {
    const { model } = knownModel([0, 0, 0, 0]);
    const report = await measurePerplexity(model, 'abcd'.repeat(8), { context: 8 });
    expect(report.perplexity).toBeCloseTo(4, 12);
    expect(report.error).toBeCloseTo(0, 6);
  });

  test('the second half of each window is scored, but for its last token, and what does not fill a window is left out', async () => {
    const { model, seen } = knownModel([1, 2, 3]);
    const report = await measurePerplexity(model, 'abc'.repeat(9), { context: 8 });
    expect(report).toMatchObject({ chunks: 3, tokens: 3 * 3, context: 8 });
    expect(seen.map(({ first, tokens }) => [first, tokens.length])).toEqual([
      [4, 8],
      [4, 8],
      [4, 8],
    ]);
    expect(seen[1]?.tokens).toEqual([2, 0, 1, 2, 0, 1, 2, 0]);
    expect(seen[1]?.targets.slice(4, 7)).toEqual([1, 2, 0]);
  });

  test('the beginning of text stands over the first token of each window, where the model has one', async () => {
    const { model, seen } = knownModel([0, 0, 0], 2);
    await measurePerplexity(model, 'ab'.repeat(8), { context: 8 });
    // The text gets one in front; that of the second window replaces a token, which is still a target.
    expect(seen[0]?.tokens).toEqual([2, 0, 1, 0, 1, 0, 1, 0]);
    expect(seen[1]?.tokens).toEqual([2, 0, 1, 0, 1, 0, 1, 0]);
  });

  test('--chunks ends early; a text of less than two windows is refused with what it lacks', async () => {
    const { model } = knownModel([0, 0, 0]);
    expect((await measurePerplexity(model, 'abc'.repeat(30), { context: 8, chunks: 2 })).chunks).toBe(2);
    await expect(measurePerplexity(model, 'abcabc', { context: 8 })).rejects.toMatchObject({
      code: 'E_USAGE',
      details: { expected: 'at least 16 tokens (two windows of 8)', found: '6 tokens' },
    });
  });

  test('the divergence of a model from itself is 0 up to the 16 bits of its codes, and both rank the same token first', async () => {
    const logits = [0.5, -1, 2, 0, -30];
    const { divergence } = await measurePerplexity(
      knownModel(logits).model,
      'abcd'.repeat(8),
      { context: 8 },
      baseModel(knownModel(logits).model),
    );
    expect(divergence?.mean).toBeCloseTo(0, 3);
    expect(divergence?.sameTop).toBe(1);
    expect(divergence?.logRatio).toBeCloseTo(0, 3);
  });

  test('the divergence between two known distributions is that of the formula', async () => {
    const a = [0, 1, 2];
    const b = [0.5, 0.25, 1];
    const { divergence } = await measurePerplexity(
      knownModel(a).model,
      'abc'.repeat(8),
      { context: 8 },
      baseModel(knownModel(b).model),
    );
    const softmax = (x: readonly number[]) => {
      const sum = x.reduce((s, v) => s + Math.exp(v), 0);
      return x.map((v) => Math.exp(v) / sum);
    };
    const [p, q] = [softmax(b), softmax(a)];
    const kl = p.reduce((s, v, i) => s + v * Math.log(v / (q[i] ?? 1)), 0);
    expect(divergence?.mean).toBeCloseTo(kl, 4);
    expect(divergence?.median).toBeCloseTo(kl, 4);
    expect(divergence?.sameTop).toBe(1);
  });

  test('a base runs each window once for all models, unless there is no room to keep what it said', async () => {
    const run = async (keepBytes: number): Promise<number> => {
      const base = knownModel([0, 1, 2]);
      const shared = baseModel(base.model, keepBytes);
      const text = 'abc'.repeat(8);
      const first = await measurePerplexity(knownModel([0, 0, 1]).model, text, { context: 8 }, shared);
      const second = await measurePerplexity(knownModel([0, 0, 1]).model, text, { context: 8 }, shared);
      expect(second.divergence).toEqual(first.divergence);
      return base.seen.length;
    };
    expect(await run(1 << 20)).toBe(3);
    expect(await run(0)).toBe(6);
  });

  test('models of different vocabularies are not compared', async () => {
    await expect(
      measurePerplexity(
        knownModel([0, 0]).model,
        'ab'.repeat(16),
        { context: 8 },
        baseModel(knownModel([0, 0, 0]).model),
      ),
    ).rejects.toMatchObject({ code: 'E_USAGE' });
  });

  test('codes of a base span 16 nats; what is less likely gets the lowest', () => {
    const { codes, scale, lowest } = encodeDistribution(Float32Array.of(0, -8, -16, -40));
    expect([...codes]).toEqual([65535, 32768, 0, 0]);
    expect(scale).toBe(Math.fround(16 / 65535));
    expect(lowest).toBeCloseTo(-16, 2);
  });
});

const lm = sharedPath('models/lm/lm-f16.gguf');
const text = sharedPath('data/lm-eval.txt');
const libraries = llamaLibraries();
const ready = lm !== undefined && text !== undefined && libraries !== undefined;

describe.skipIf(!ready)('llama.cpp (skipped without ../shared or its libraries)', () => {
  const excerpt = (): string =>
    readFileSync(text ?? '')
      .subarray(0, 40_000)
      .toString();

  /** llama.cpp's own figure, from a process of its own. */
  const original = (model: string): number =>
    Number(
      execFileSync(process.execPath, [
        fileURLToPath(new URL('../oracle/llama-perplexity.mjs', import.meta.url)),
        libraries ?? '',
        model,
        text ?? '',
        '40000',
        '256',
        '30',
        '1',
      ]).toString(),
    );

  // One thread: two that wait for each other in a loop are many times slower where other tests take the cores.
  const perplexityOf = async (file: string): Promise<number> => {
    const model = await llamaCpp().load(file, { context: 256, threads: 1 });
    try {
      const report = await measurePerplexity(model, excerpt(), { context: 256, chunks: 30 });
      expect(report).toMatchObject({ chunks: 30, tokens: 3810 });
      return report.perplexity;
    } finally {
      await model.close();
    }
  };

  test('the f16 model has a perplexity of 32.770 on the evaluation text, the same as llama.cpp itself', async () => {
    const perplexity = await perplexityOf(lm ?? '');
    expect(perplexity.toFixed(3)).toBe('32.770');
    expect(perplexity).toBeCloseTo(original(lm ?? ''), 6);
  }, 300_000);

  // Figures of quantized models depend on the processor, so the library beside us is what ours are held to.
  test('a model quantized here has the perplexity that llama.cpp itself finds, to the last digits', async () => {
    await withFolder(async (folder) => {
      const output = join(folder, 'lm-Q4_K_M.gguf');
      await quantizeGguf(lm ?? '', { to: ['Q4_K_M'], output, threads: 1 });
      const perplexity = await perplexityOf(output);
      expect(Math.abs(perplexity - 32.8)).toBeLessThan(0.05);
      expect(perplexity).toBeCloseTo(original(output), 6);
    });
  }, 300_000);

  test('a file that is no model is refused with the words of llama.cpp', async () => {
    await expect(llamaCpp().load(text ?? '', { context: 256 })).rejects.toMatchObject({ code: 'E_RUNTIME' });
  });
});
