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
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FILE_TYPES } from '../../../src/planning/gguf/file-types.ts';
import { llamaOracle } from '../../oracle/llama.ts';
import { MODEL_SHAPES, type ModelShape, writeSparse } from './shapes.ts';
import { differences, plannedTypes, summarize } from './type-maps.ts';

const oracle = llamaOracle();
const full = process.env.WHITTLE_FULL === '1';
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
  return full || update || (index + model * 5) % 9 === 0;
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
async function ours(model: ModelShape, { to, guided }: Case): Promise<Map<string, string> | string> {
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
      const wrong: string[] = [];
      const record: string[] = [];
      for (const [index, item] of CASES.entries()) {
        if (!sampled(number, index)) continue;
        const expected = await asked(model, path, item);
        const found = await ours(model, item);
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
      const found: string[] = [];
      for (const item of CASES) found.push(`${label(item)}: ${describeMap(await ours(model, item))}`);
      expect(found).toEqual(lines);
    });
  },
);

const describeMap = (types: Map<string, string> | string): string =>
  typeof types === 'string' ? types : summarize(types);
