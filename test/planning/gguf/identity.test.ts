/**
 * Whole files, byte for byte: what our plan and execution write is what llama_model_quantize writes, for every file type with and
 * without an importance matrix and for every option; where the library is absent, the recorded digests of its files hold.
 *
 * WHITTLE_FULL=1 takes all combinations instead of a sample; WHITTLE_UPDATE=1 writes the records of the sample again.
 */

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { isWhittleError } from '../../../src/errors.ts';
import { FILE_TYPES } from '../../../src/planning/gguf/file-types.ts';
import { llamaOracle } from '../../oracle/llama.ts';
import { SHARED_ABSENT, sharedPath } from '../../shared.ts';
import { CHANGES, type Change, MODELS } from './identity-cases.ts';
import { digest, filled, firstDifference, guideFor, guideOverrides, madeByUs } from './whole-files.ts';

const oracle = llamaOracle();
const full = process.env.WHITTLE_FULL === '1';
/** The library needs minutes for all combinations. */
if (full) vi.setConfig({ testTimeout: 3_600_000 });
const update = !full && process.env.WHITTLE_UPDATE === '1' && oracle !== undefined;
const recordPath = fileURLToPath(new URL('../../fixtures/gguf-types/whole-files.txt', import.meta.url));
const recorded = new Map(
  (existsSync(recordPath) ? readFileSync(recordPath, 'utf8') : '')
    .split('\n')
    .filter((line) => line !== '')
    .map((line): [string, string] => [line.slice(25), line.slice(0, 24)]),
);
const renewed = new Map<string, string>();

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'whittle-identity-'));
  for (const { name, shape } of MODELS) writeFileSync(join(folder, `${name}.gguf`), filled(shape));
});
afterAll(async () => {
  await oracle?.close();
  rmSync(folder, { recursive: true, force: true });
  if (!update) return;
  const lines = [...renewed].map(([label, value]) => `${value} ${label}`);
  writeFileSync(recordPath, `${lines.join('\n')}\n`);
});

/** Makes the file both ways; both may refuse. Gives what differs, or undefined. */
async function compare(label: string, input: string, change: Change): Promise<string | undefined> {
  let ours: Uint8Array | string;
  try {
    const files = await madeByUs(input, change.ours);
    ours = [...files.values()][0] ?? 'no file';
  } catch (error) {
    if (!isWhittleError(error)) throw error;
    ours = error.code;
  }
  if (oracle === undefined) {
    const expected = recorded.get(label);
    const found = typeof ours === 'string' ? 'refused' : digest(ours);
    return expected === undefined || expected.trim() === found
      ? undefined
      : `${label}: ${found}, recorded ${expected}`;
  }
  const output = join(folder, 'theirs.gguf');
  const answer = await oracle.quantize({ input, output, ...change.theirs });
  const theirs = answer.outcome === 'done' ? new Uint8Array(readFileSync(output)) : undefined;
  rmSync(output, { force: true });
  if (input.startsWith(folder)) {
    renewed.set(label, (theirs === undefined ? 'refused' : digest(theirs)).padEnd(24));
  }
  if (typeof ours === 'string' || theirs === undefined) {
    if (typeof ours === 'string' && theirs === undefined) return undefined;
    const outcome = typeof ours === 'string' ? ours : 'done';
    return `${label}: ${outcome}, llama.cpp ${answer.outcome} ${answer.message}`;
  }
  const different = firstDifference(ours, theirs);
  return different === undefined ? undefined : `${label}: ${different}`;
}

describe.each(MODELS)('$name', ({ name, shape, sample }) => {
  const guide = guideFor(shape);
  const cases = FILE_TYPES.filter(({ own }) => !own).flatMap((type) => [
    { type, guided: false },
    { type, guided: true },
  ]);

  test('files of every type are identical', async () => {
    const wrong: (string | undefined)[] = [];
    for (const { type, guided } of cases) {
      if (!full && !sample.includes(`${type.name}${guided ? '+' : ''}`)) continue;
      const label = `${name} ${type.name}${guided ? ' with importance' : ''}`;
      const imatrix = guided ? guide.imatrix : undefined;
      const theirs = guided ? { imatrix: guide.request, overrides: guideOverrides(guide.imatrix) } : {};
      wrong.push(
        await compare(label, join(folder, `${name}.gguf`), {
          ours: { to: type.name, imatrix },
          theirs: { fileType: type.id, ...theirs },
        }),
      );
    }
    expect(wrong.filter((text) => text !== undefined)).toEqual([]);
  });
});

describe('options', () => {
  test.each(CHANGES)('$name gives the identical file', async ({ name, model, change }) => {
    const found = MODELS.find((candidate) => candidate.name === model)!;
    const wrong = await compare(
      `${model}: ${name}`,
      join(folder, `${model}.gguf`),
      change(found.shape, guideFor(found.shape)),
    );
    expect(wrong).toBeUndefined();
  });
});

describe.each(['lm-tiny/lm-tiny-f16.gguf', 'lm/lm-f16.gguf'])('%s', (relative) => {
  const path = sharedPath(`models/${relative}`);
  const chosen = full ? FILE_TYPES.filter(({ own }) => !own).map(({ name }) => name) : ['Q4_K_M', 'Q8_0'];

  test.skipIf(path === undefined || oracle === undefined)(
    `a trained model's files are identical (skipped where ${SHARED_ABSENT})`,
    async () => {
      const wrong: (string | undefined)[] = [];
      for (const to of chosen) {
        const id = FILE_TYPES.find(({ name }) => name === to)!.id;
        wrong.push(await compare(`${relative} ${to}`, path!, { ours: { to }, theirs: { fileType: id } }));
      }
      expect(wrong.filter((text) => text !== undefined)).toEqual([]);
    },
  );
});
