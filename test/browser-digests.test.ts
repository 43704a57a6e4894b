/** In Node: the command line's engine, with threads and files, writes what the page must write (test/browser/entry.test.ts). */

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { quantizeGguf } from '../src/compress/gguf/quantize.ts';
import { compress } from '../src/compress.ts';
import { openImatrix } from '../src/formats/gguf/open.ts';
import { memorySource } from '../src/io/memory-source.ts';
import { DIGESTS, pageGguf, pageImatrix, pageOnnx } from './browser/page-models.ts';

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whittle-page-'));
  await writeFile(join(folder, 'page.gguf'), pageGguf());
  await writeFile(join(folder, 'page.onnx'), await pageOnnx());
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('GGUF files have the digests that the page is held to', async () => {
  const input = join(folder, 'page.gguf');
  const plain = await quantizeGguf(input, { to: ['Q4_K_M', 'Q8_0'], sha256: true });
  const guided = await quantizeGguf(input, {
    to: 'IQ2_XS',
    // The file names its matrix.
    imatrix: await openImatrix(memorySource(pageImatrix(), 'page.dat')),
    sha256: true,
  });
  const digests = [...plain.results, ...guided.results].map(({ files }) => files[0]?.sha256);
  expect(digests).toEqual([DIGESTS.Q4_K_M, DIGESTS.Q8_0, DIGESTS['IQ2_XS guided']]);
});

test('so has the ONNX file', async () => {
  const { results } = await compress(join(folder, 'page.onnx'), { to: ['q4'], sha256: true, verify: false });
  expect(results[0]?.files[0]?.sha256).toBe(DIGESTS.q4);
});
