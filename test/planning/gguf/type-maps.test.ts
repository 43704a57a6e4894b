/**
 * The type of every tensor of real models' shapes, for every file type, with and without an importance matrix: as llama.cpp's own
 * dry run says where its library is, and as recorded from it (test/fixtures/gguf-types) everywhere.
 *
 * WHITTLE_FULL=1 asks the library about all combinations instead of a sample; WHITTLE_UPDATE=1 writes the records again.
 */

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { GgufModel } from '../../../src/formats/gguf/gguf.ts';
import { FILE_TYPES } from '../../../src/planning/gguf/file-types.ts';
import type { GgufQuantizeOptions } from '../../../src/planning/gguf/options.ts';
import { llamaOracle, type QuantizeRequest } from '../../oracle/llama.ts';
import { MODEL_SHAPES, type ModelShape, writeSparse } from './shapes.ts';
import { differences, openShape, plannedTypes, summarize } from './type-maps.ts';

const oracle = llamaOracle();
const full = process.env.WHITTLE_FULL === '1';
if (full) vi.setConfig({ testTimeout: 3_600_000 });
const update = process.env.WHITTLE_UPDATE === '1' && oracle !== undefined;
const fixtures = fileURLToPath(new URL('../../fixtures/gguf-types/', import.meta.url));
const theirs = FILE_TYPES.filter(({ own }) => !own);

interface Case {
  readonly to: string;
  readonly id: number;
  readonly guided: boolean;
}

const CASES: readonly Case[] = theirs.flatMap(({ name, id }) => [
  { to: name, id, guided: false },
  { to: name, id, guided: true },
]);

const label = ({ to, guided }: Case): string => `${to}${guided ? ' with importance' : ''}`;

/** Every model, and every file type with and without importance, several times over, the same ones each run. */
function sampled(model: number, index: number): boolean {
  return full || update || (index + model * 5) % 13 === 0;
}

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'whittle-types-'));
});
afterAll(async () => {
  await oracle?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function asked(
  model: ModelShape,
  path: string,
  { id, guided }: Case,
): Promise<Map<string, string> | string> {
  const answer = await oracle!.quantize({
    input: path,
    fileType: id,
    dryRun: true,
    imatrix: guided ? [{ name: 'none', values: new Float32Array(1) }] : undefined,
  });
  if (answer.outcome === 'done') {
    expect(answer.types.size).toBe(model.tensors.length);
    return new Map(answer.types);
  }
  return answer.outcome;
}

/** Our types, or 'refused' where the plan ends in an error. */
async function ours(model: GgufModel, { to, guided }: Case): Promise<Map<string, string> | string> {
  try {
    return await plannedTypes(model, to, guided);
  } catch {
    return 'refused';
  }
}

describe.each(MODEL_SHAPES.map((model, number) => ({ model, number })))(
  '$model.name',
  ({ model, number }) => {
    const fixture = join(fixtures, `${model.name}.txt`);

    test.skipIf(oracle === undefined)("types are those of llama.cpp's dry run", async () => {
      const path = join(folder, `${model.name}.gguf`);
      writeSparse(model, path);
      const opened = await openShape(model);
      const wrong: string[] = [];
      const record: string[] = [];
      for (const [index, item] of CASES.entries()) {
        if (!sampled(number, index)) continue;
        const expected = await asked(model, path, item);
        const found = await ours(opened, item);
        if (expected === 'aborted') {
          // The library ends its own process (heads of a model that has none): anything is better.
          record.push(`${label(item)}: ${describeMap(found)}`);
          continue;
        }
        if (typeof expected === 'string' || typeof found === 'string') {
          if (expected !== found)
            wrong.push(`${label(item)}: ${describeMap(found)}, llama.cpp ${describeMap(expected)}`);
        } else {
          const different = differences(found, expected);
          if (different.length > 0) wrong.push(`${label(item)}: ${different.join('; ')}`);
        }
        record.push(`${label(item)}: ${describeMap(expected)}`);
      }
      rmSync(path);
      if (update) writeFileSync(fixture, `${record.join('\n')}\n`);
      expect(wrong).toEqual([]);
    });

    test.skipIf(!existsSync(fixture) || update)('types are the recorded ones', async () => {
      const lines = readFileSync(fixture, 'utf8').trimEnd().split('\n');
      const opened = await openShape(model);
      const wrong: string[] = [];
      for (const [index, item] of CASES.entries()) {
        // Beside the library a third is enough.
        if (oracle !== undefined && !full && (index + number) % 3 !== 0) continue;
        const found = `${label(item)}: ${describeMap(await ours(opened, item))}`;
        if (found !== lines[index]) wrong.push(`${found}, recorded ${lines[index]}`);
      }
      expect(wrong).toEqual([]);
    });
  },
);

const WISHES: readonly {
  readonly model: string;
  readonly to: string;
  readonly wishes: Partial<GgufQuantizeOptions> & Partial<QuantizeRequest>;
}[] = [
  { model: 'gemma3n-e2b', to: 'Q4_K_M', wishes: { tokenEmbeddingType: 'q8_0' } },
  {
    model: 'gemma3n-e2b',
    to: 'Q4_K_M',
    wishes: { tokenEmbeddingType: 'q8_0', tensorTypes: [{ pattern: 'per_layer_token', type: 'iq4_nl' }] },
  },
  { model: 'gemma3n-e2b', to: 'Q2_K', wishes: { outputTensorType: 'q5_K' } },
  { model: 'llama-1b-tied', to: 'Q3_K_M', wishes: { outputTensorType: 'q8_0', tokenEmbeddingType: 'q4_0' } },
  { model: 'llama-1b-tied', to: 'Q3_K_M', wishes: { pure: true, outputTensorType: 'q8_0' } },
  { model: 'llama-576-odd', to: 'Q4_K_M', wishes: { pure: true } },
  { model: 'llama-576-odd', to: 'Q4_K_M', wishes: { outputTensorType: 'q4_K' } },
  { model: 'falcon-7b', to: 'Q4_K_M', wishes: { leaveOutputTensor: true } },
  {
    model: 'mixtral-8x7b',
    to: 'Q4_K_M',
    wishes: { tensorTypes: [{ pattern: 'blk\\.([02468]|1[0-9])\\.ffn_(up|down)_exps', type: 'iq3_s' }] },
  },
  {
    model: 'llama-8b',
    to: 'Q4_K_M',
    wishes: { tensorTypes: [{ pattern: 'attn_v|ffn_down', type: 'q4_K' }] },
  },
  {
    model: 'llama-8b',
    to: 'Q4_K_S',
    wishes: { tensorTypes: [{ pattern: '^blk\\.[1-3]\\.attn_v', type: 'f16' }] },
  },
  { model: 'llama-8b', to: 'Q4_K_M', wishes: { pruneLayers: [3, 4, 15, 31] } },
  { model: 'qwen3moe-30b', to: 'Q3_K_M', wishes: { pruneLayers: [0, 1, 47] } },
  { model: 'gpt-oss', to: 'Q8_0', wishes: { tensorTypes: [{ pattern: 'exps', type: 'mxfp4' }] } },
];

test.skipIf(oracle === undefined).each(WISHES)(
  '$model as $to with $wishes',
  async ({ model: name, to, wishes }) => {
    const model = MODEL_SHAPES.find((shape) => shape.name === name)!;
    const path = join(folder, `${name}-wish.gguf`);
    writeSparse(model, path);
    const { id } = FILE_TYPES.find((type) => type.name === to)!;
    const answer = await oracle!.quantize({ ...wishes, input: path, fileType: id, dryRun: true });
    rmSync(path);
    expect(answer.outcome).toBe('done');
    expect(differences(await plannedTypes(await openShape(model), to, false, wishes), answer.types)).toEqual(
      [],
    );
  },
);

const describeMap = (types: Map<string, string> | string): string =>
  typeof types === 'string' ? types : summarize(types);
