/** In the page: files that the user dropped are quantized to the bytes that Node writes, into everything that a page can write. */

import { afterEach, describe, expect, test } from 'vitest';
import {
  type ByteSink,
  compress,
  createMemorySink,
  fileHandleSink,
  type MemorySink,
  openGguf,
  openImatrix,
  openOnnx,
  planGguf,
  quantizeGguf,
  streamSink,
  summarizeGguf,
  summarizeModel,
  surveyTypes,
} from '../../src/browser.ts';
import { DIGESTS, digestOf, pageGguf, pageImatrix, pageOnnx } from './page-models.ts';

const dropped = new File([pageGguf()], 'page.gguf');
const root = () => navigator.storage.getDirectory();

afterEach(async () => {
  const folder = await root();
  for await (const name of folder.keys()) await folder.removeEntry(name);
});

describe('GGUF from a Blob', () => {
  test('Q4_K_M and Q8_0 have the SHA-256 that they have in Node', async () => {
    const results = await quantizeGguf(await openGguf(dropped), { to: ['Q4_K_M', 'q8_0'] });
    expect(results.map(({ files }) => files[0]?.name)).toEqual(['page-Q4_K_M.gguf', 'page-Q8_0.gguf']);
    for (const { type, files } of results) {
      const digest = await digestOf(files[0]?.blob ?? new Blob());
      expect(digest, type).toBe(type === 'Q8_0' ? DIGESTS.Q8_0 : DIGESTS.Q4_K_M);
      expect(files[0]?.blob?.size).toBe(files[0]?.bytes);
    }
  });

  test('an importance matrix guides, with the same bytes as in Node', async () => {
    const imatrix = await openImatrix(new File([new Uint8Array(pageImatrix())], 'page.dat'));
    const [result] = await quantizeGguf(await openGguf(dropped), { to: 'IQ2_XS', imatrix });
    expect(await digestOf(result?.files[0]?.blob ?? new Blob())).toBe(DIGESTS['IQ2_XS guided']);
  });

  test('errors of the weights are measured on request', async () => {
    const [result] = await quantizeGguf(await openGguf(dropped), { to: 'Q8_0', measure: true });
    expect(result?.weightSqnr).toBeGreaterThan(35);
    expect(result?.tensors.find(({ name }) => name === 'output.weight')?.sqnr).toBeGreaterThan(35);
  });

  test('a plan and a dry run say the exact size, and write nothing', async () => {
    const model = await openGguf(dropped);
    const plan = await planGguf(model, { to: 'Q4_K_M', fileName: 'x.gguf' });
    const [result] = await quantizeGguf(model, { to: 'Q4_K_M', fileName: 'x.gguf', dryRun: true });
    expect(result?.files).toEqual([{ name: 'x.gguf', bytes: plan.files[0]?.size }]);
  });

  test('statistics and the errors of every type are there', async () => {
    const model = await openGguf(dropped);
    const { tensors, architecture } = await summarizeGguf(model);
    expect(architecture).toBe('llama');
    expect(tensors.find(({ name }) => name === 'output.weight')?.statistics?.absmax).toBeGreaterThan(0);
    const { types } = await surveyTypes(model, undefined, { to: ['Q4_0', 'Q8_0'], sample: 20_000 });
    expect(types.map(({ type }) => type).sort()).toEqual(['Q4_0', 'Q8_0']);
  });
});

describe('where it goes', () => {
  test('memory', async () => {
    const sinks: MemorySink[] = [];
    const sink = ({ name, size }: { name: string; size: number }): ByteSink => {
      const one = createMemorySink(name, size);
      sinks.push(one);
      return one;
    };
    await quantizeGguf(await openGguf(dropped), { to: 'Q8_0', sink });
    expect(await digestOf(new Uint8Array(sinks[0]?.bytes() ?? []))).toBe(DIGESTS.Q8_0);
  });

  test('a stream gets every byte in order', async () => {
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array<ArrayBuffer>>();
    const received = new Response(readable).blob();
    await quantizeGguf(await openGguf(dropped), { to: 'Q4_K_M', sink: () => streamSink(writable) });
    expect(await digestOf(await received)).toBe(DIGESTS.Q4_K_M);
  });

  test('a file handle', async () => {
    const handle = await (await root()).getFileHandle('out.gguf', { create: true });
    await quantizeGguf(await openGguf(dropped), { to: 'Q4_K_M', sink: () => fileHandleSink(handle) });
    expect(await digestOf(await handle.getFile())).toBe(DIGESTS.Q4_K_M);
  });

  test("the origin's own file system, from a worker", async () => {
    const worker = new Worker(new URL('./quantize-in-worker.ts', import.meta.url), { type: 'module' });
    const answer = await new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = reject;
      worker.postMessage({ file: dropped, to: 'Q4_K_M' });
    });
    worker.terminate();
    expect(answer).toEqual({ name: 'page-Q4_K_M.gguf' });
    const handle = await (await root()).getFileHandle('page-Q4_K_M.gguf');
    expect(await digestOf(await handle.getFile())).toBe(DIGESTS.Q4_K_M);
  });
});

describe('stopping', () => {
  test('a signal stops between tiles; nothing appears, and progress was told', async () => {
    const stopper = new AbortController();
    const handle = await (await root()).getFileHandle('out.gguf', { create: true });
    const seen: number[] = [];
    const run = quantizeGguf(await openGguf(dropped), {
      to: 'Q4_K_M',
      sink: () => fileHandleSink(handle),
      signal: stopper.signal,
      onProgress: ({ bytesDone, bytesTotal }) => {
        seen.push(bytesDone / bytesTotal);
        if (seen.length === 3) stopper.abort();
      },
    });
    await expect(run).rejects.toMatchObject({ code: 'E_ABORTED' });
    expect(seen.length).toBe(3);
    expect((await handle.getFile()).size).toBe(0);
  });

  test('a sink that cannot be opened closes the others', async () => {
    const aborted: string[] = [];
    const sink = ({ name, size }: { name: string; size: number }): ByteSink => {
      if (name.includes('Q8_0')) throw new Error('no more room');
      return { ...createMemorySink(name, size), abort: async () => void aborted.push(name) };
    };
    const run = quantizeGguf(await openGguf(dropped), { to: ['Q4_0', 'Q8_0'], sink });
    await expect(run).rejects.toThrow('no more room');
    expect(aborted).toEqual(['page-Q4_0.gguf']);
  });
});

describe('ONNX from a Blob', () => {
  test('q4 has the SHA-256 that it has in Node, and its weights are measured', async () => {
    const file = new File([new Uint8Array(await pageOnnx())], 'page.onnx');
    const model = await openOnnx(file);
    const { tensors } = await summarizeModel(model);
    expect(tensors[0]?.statistics?.absmax).toBe(8);
    const [result] = await compress(model, { to: ['q4'], measure: true });
    expect(result?.files[0]?.name).toBe('page_q4.onnx');
    expect(await digestOf(result?.files[0]?.blob ?? new Blob())).toBe(DIGESTS.q4);
    expect(result?.weightSqnr).toBeGreaterThan(15);
  });

  test('external data is found among the files that were given, and a stream takes the result', async () => {
    const file = new File([new Uint8Array(await pageOnnx())], 'page.onnx');
    const written = await compress(await openOnnx(file), { to: ['q4'], externalData: 'always' });
    const files = written[0]?.files.map(({ name, blob }) => new File([blob ?? ''], name)) ?? [];
    expect(files.length).toBe(2);
    const again = await openOnnx(files);
    expect(again.hasExternalData).toBe(true);
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array<ArrayBuffer>>();
    const received = new Response(readable).blob();
    const [result] = await compress(await openOnnx(file), {
      to: ['q4'],
      sink: () => streamSink(writable),
    });
    expect(await digestOf(await received)).toBe(DIGESTS.q4);
    expect(result?.files[0]?.blob).toBeUndefined();
  });
});
