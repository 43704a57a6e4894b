/** `compress` with a largest loss: a network made here whose worst layer is known. */

import { readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { compress } from '../../../src/compress.ts';
import { openOnnx } from '../../../src/formats/onnx/open.ts';
import { withFolder, writeModel } from '../../formats/build-onnx.ts';
import { network, rowsOf } from './sensitive-network.ts';

async function inFolder(run: (file: string, rows: string, folder: string) => Promise<void>): Promise<void> {
  await withFolder(async (folder) => {
    const file = await writeModel(folder, network());
    await run(file, await rowsOf(folder, file, 96), folder);
  });
}

const tries = async () => (await readdir(tmpdir())).filter((name) => name.startsWith('whittle-tries-'));

test.each([
  ['q4 as it is', 'q4', 'rtn', 20],
  ['q4 solved on data', 'q4', undefined, 20],
  ['dynamic int8', 'int8', 'rtn', 2],
  ['static int8', 'static-int8', undefined, 2],
] as const)(
  '%s keeps the layer that hurts, says so, and is within the bound',
  async (_, mode, algorithm, limit) => {
    await inFolder(async (file, rows) => {
      const before = await tries();
      const { results } = await compress(file, {
        to: [mode],
        data: { source: rows },
        algorithm,
        maxLoss: { limit, measure: 'error' },
        threads: 1,
      });
      const [result] = results;
      const { loss } = result!;
      expect(loss).toMatchObject({ measure: 'error', unit: '%', limit });
      expect(loss?.tries[0]).toMatchObject({ kept: 0 });
      expect(loss?.tries[0]?.loss).toBeGreaterThan(limit);
      expect(loss?.loss).toBeLessThanOrEqual(limit);
      expect(loss?.kept[0]).toMatchObject({ layer: 'hard' });
      expect(result?.verification?.cosine).toBeGreaterThan(0.9);
      const solvedOnce = result?.notes.some((note) => note.includes('found with no layer kept'));
      expect(solvedOnce).toBe(mode === 'q4' && algorithm === undefined);
      expect(result?.solved?.layers.some(({ layer }) => layer === 'hard') ?? false).toBe(false);
      await using written = await openOnnx(result!.files[0]!.path);
      const names = written.proto.graph!.initializer.map(({ name }) => name);
      expect(names).toContain('hard');
      expect(names).not.toContain('easy1');
      expect(await tries()).toEqual(before);
    });
  },
);

test('where there are labels accuracy is judged, on rows that are held out of the calibration', async () => {
  await inFolder(async (file, rows) => {
    const { results } = await compress(file, {
      to: ['q4'],
      data: { source: rows, samples: 32 },
      maxLoss: { limit: 30 },
      threads: 1,
      verify: false,
    });
    const { loss, solved } = results[0]!;
    expect(loss).toMatchObject({ measure: 'accuracy', unit: 'points', original: 1, samples: 64 });
    expect(loss?.loss).toBeLessThanOrEqual(30);
    expect(100 * (1 - (loss?.result ?? 0))).toBeCloseTo(loss?.loss ?? -1, 9);
    expect(loss?.data).toContain('64 of 96 samples, held out');
    expect(solved?.data).toContain('32 of 96 samples, to calibrate on');
  });
});

test('a loss that stays too large is E_VERIFICATION with what was tried, and leaves nothing', async () => {
  await inFolder(async (file, rows, folder) => {
    const before = [await readdir(folder), await tries()];
    const run = compress(file, {
      to: ['q2'],
      algorithm: 'rtn',
      data: { source: rows },
      maxLoss: { limit: 0.001, measure: 'error' },
      threads: 1,
    });
    await expect(run).rejects.toMatchObject({
      code: 'E_VERIFICATION',
      message: expect.stringContaining('q2'),
      details: { expected: 'a loss of at most 0.001 %', found: expect.stringContaining('with 0 of') },
    });
    expect([await readdir(folder), await tries()]).toEqual(before);
  });
});

test('a stop in the middle of the search leaves nothing', async () => {
  await inFolder(async (file, rows, folder) => {
    const before = [await readdir(folder), await tries()];
    const controller = new AbortController();
    const run = compress(file, {
      to: ['int8'],
      algorithm: 'rtn',
      data: { source: rows },
      maxLoss: { limit: 0.01, measure: 'error' },
      threads: 1,
      signal: controller.signal,
      onProgress: ({ phase }) => {
        if (phase.includes('alone')) controller.abort();
      },
    });
    await expect(run).rejects.toMatchObject({ code: 'E_ABORTED' });
    expect([await readdir(folder), await tries()]).toEqual(before);
  });
});

test('an output that exists is refused before anything is run', async () => {
  await inFolder(async (file, rows, folder) => {
    const output = join(folder, 'there.onnx');
    await writeFile(output, 'mine');
    const phases: string[] = [];
    const run = compress(file, {
      to: ['q4'],
      output,
      data: { source: rows },
      maxLoss: { limit: 30 },
      threads: 1,
      onProgress: ({ phase }) => phases.push(phase),
    });
    await expect(run).rejects.toMatchObject({ code: 'E_OUTPUT_EXISTS', details: { file: output } });
    expect(phases).toEqual([]);
  });
});

test.each([
  ['a dry run', { dryRun: true, data: 'rows' }, 'E_USAGE', /dry run/],
  ['no data', {}, 'E_USAGE', /none was given/],
  ['a bound below zero', { limit: -1, data: 'rows' }, 'E_USAGE', /at least 0/],
  [
    'a measure that the data does not tell',
    { measure: 'perplexity', data: 'rows' },
    'E_USAGE',
    /do not tell perplexity/,
  ],
] as const)('%s is refused', async (_, given: Given, code, message) => {
  await inFolder(async (file, rows) => {
    const { limit = 1, measure, dryRun, data } = given;
    const run = compress(file, {
      to: ['q8'],
      algorithm: 'rtn',
      dryRun,
      data: data && { source: rows },
      maxLoss: { limit, measure },
      threads: 1,
    });
    await expect(run).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });
});

interface Given {
  readonly limit?: number;
  readonly measure?: 'perplexity';
  readonly dryRun?: boolean;
  readonly data?: 'rows';
}
