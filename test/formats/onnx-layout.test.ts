import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { OutputFile } from '../../src/formats/layout.ts';
import { dataFileName } from '../../src/formats/onnx/layout.ts';
import type { ModelProto, TensorProto } from '../../src/formats/onnx/messages.ts';
import { encodeFile, encodeModel, type LayoutOptions, layoutModel } from '../../src/formats/onnx/model.ts';
import { openOnnx } from '../../src/formats/onnx/open.ts';
import { memorySource } from '../../src/io/memory-source.ts';
import { siblingsFrom } from '../../src/io/siblings-location.ts';
import type { ByteSource } from '../../src/io/source.ts';
import { emptyTensor, external, graph, linearModel, model, node, tensor, value } from './build-onnx.ts';

const options: LayoutOptions = {
  fileName: 'm.onnx',
  externalData: 'auto',
  sourceHadExternal: false,
  resolve: () => Promise.reject(new Error('nothing to resolve')),
};

async function reopen(files: readonly OutputFile[]): Promise<Awaited<ReturnType<typeof openOnnx>>> {
  const contents = new Map<string, Uint8Array>();
  for (const file of files.slice(1)) contents.set(file.name, await encodeFile(file));
  const main = memorySource(await encodeFile(files[0]!), files[0]!.name);
  return openOnnx(main, { siblings: siblingsFrom(contents) });
}

function digest(bytes: Uint8Array): string {
  return `${bytes.length} bytes, ${createHash('sha1').update(bytes).digest('hex')}`;
}

/** A digest of every initializer: comparing megabytes byte by byte takes the test runner seconds. */
async function contentsOf(opened: Awaited<ReturnType<typeof openOnnx>>): Promise<Record<string, string>> {
  const found: [string, string][] = [];
  for (const proto of opened.proto.graph?.initializer ?? []) {
    found.push([proto.name ?? '', digest(await opened.readTensor(proto))]);
  }
  return Object.fromEntries(found);
}

const huge: ByteSource = { name: 'huge', size: 5e9, readInto: async () => {}, close: async () => {} };

/** A weight of 2 GB that is never read. */
function hugeTensor(name: string, offset: number, length = 2e9): TensorProto {
  return {
    ...emptyTensor(name, 'uint8', [length]),
    rawData: { kind: 'range', source: huge, offset, length },
  };
}

function withTensors(...initializers: TensorProto[]): ModelProto {
  return model(graph({ initializers }));
}

function filled(name: string, size: number, seed = 1): TensorProto {
  return tensor(
    name,
    'uint8',
    [size],
    Uint8Array.from({ length: size }, (_, index) => (index * seed) & 0xff),
  );
}

/** Segments are sorted, do not overlap, and end inside the file. */
function expectSound(files: readonly OutputFile[]): void {
  for (const file of files) {
    let end = 0;
    for (const segment of file.segments) {
      expect(segment.offset).toBeGreaterThanOrEqual(end);
      end = segment.offset + (segment.kind === 'bytes' ? segment.bytes.length : segment.length);
    }
    expect(end).toBe(file.size);
  }
}

describe('one file', () => {
  test('an unedited small model is one file with the same bytes', async () => {
    const proto = linearModel();
    const files = await layoutModel(proto, options);
    expect(files.map((file) => file.name)).toEqual(['m.onnx']);
    expect(await encodeFile(files[0]!)).toEqual(await encodeModel(proto));
  });

  test('large payloads of the source are copied by reference, never held', async () => {
    const bytes = await encodeModel(withTensors(filled('w', 100_000)));
    const opened = await openOnnx(memorySource(bytes));
    const [file] = await layoutModel(opened.proto, options);
    expect(file?.segments.map((segment) => segment.kind)).toEqual(['bytes', 'copy', 'bytes']);
    expect(await encodeFile(file!)).toEqual(bytes);
  });

  test('parts that a task computes later have their place', async () => {
    const pending: TensorProto = {
      ...emptyTensor('q', 'uint8', [10]),
      rawData: { kind: 'pending', length: 10, task: 3, role: 'packed' },
    };
    const [file] = await layoutModel(withTensors(pending), options);
    const part = file?.segments.find((segment) => segment.kind === 'part');
    expect(part).toMatchObject({ length: 10, task: 3, role: 'packed' });
    const bytes = await encodeFile(file!, ({ length }) => new Uint8Array(length).fill(7));
    const opened = await openOnnx(memorySource(bytes));
    expect([...(await opened.readTensor(opened.proto.graph!.initializer[0]!))]).toEqual(
      new Array(10).fill(7),
    );
    await expect(encodeFile(file!)).rejects.toMatchObject({ code: 'E_UNSUPPORTED' });
  });

  test('a graph that a rewrite broke is refused', async () => {
    const proto = linearModel();
    proto.graph!.initializer = [];
    await expect(layoutModel(proto, options)).rejects.toMatchObject({ code: 'E_GRAPH' });
  });
});

describe('external data', () => {
  test('tensors of 1 KiB and more move to <file>_data, aligned to 64 and from 1 MiB on to 4096', async () => {
    const proto = withTensors(
      filled('a', 1023),
      filled('b', 1024),
      filled('c', 1500),
      filled('d', 1 << 20),
      filled('e', 5000),
    );
    const files = await layoutModel(proto, { ...options, externalData: 'always' });
    expect(files.map((file) => file.name)).toEqual(['m.onnx', 'm.onnx_data']);
    expectSound(files);
    expect(files[1]?.segments.map((segment) => segment.offset)).toEqual([0, 1024, 4096, 4096 + (1 << 20)]);
    const opened = await reopen(files);
    expect(opened.hasExternalData).toBe(true);
    expect(opened.proto.graph?.initializer.map((t) => t.dataLocation)).toEqual([undefined, 1, 1, 1, 1]);
    const original = await openOnnx(memorySource(await encodeModel(proto)));
    expect(await contentsOf(opened)).toEqual(await contentsOf(original));
  });

  test('a new file begins rather than exceed the limit; no tensor is split; a larger one has its own', async () => {
    const sizes = [4000, 4000, 4000, 20_000, 2000, 2000];
    const proto = withTensors(...sizes.map((size, index) => filled(`w${index}`, size, index + 1)));
    const files = await layoutModel(proto, {
      ...options,
      externalData: 'always',
      maxExternalFileBytes: 9000,
    });
    expect(files.slice(1).map((file) => [file.name, file.size])).toEqual([
      ['m.onnx_data', 4032 + 4000],
      ['m.onnx_data_1', 4000],
      ['m.onnx_data_2', 20_000],
      ['m.onnx_data_3', 2048 + 2000],
    ]);
    const original = await openOnnx(memorySource(await encodeModel(proto)));
    expect(await contentsOf(await reopen(files))).toEqual(await contentsOf(original));
  });

  test('the hundred-and-first data file is E_LIMIT', () => {
    expect(dataFileName('m.onnx', 99)).toBe('m.onnx_data_99');
    expect(() => dataFileName('m.onnx', 100)).toThrowError(expect.objectContaining({ code: 'E_LIMIT' }));
  });

  test('a model that had external data keeps it so, and two tensors that share a range share it again', async () => {
    const entries = { location: 'old', offset: '4096', length: '8000' };
    const proto = withTensors(
      external('a', 'f32', [2000], entries),
      external('tied', 'f32', [40, 50], entries),
      external('small', 'f32', [2], { location: 'old', offset: '0', length: '8' }),
    );
    const data = memorySource(
      Uint8Array.from({ length: 20_000 }, (_, i) => (i * 7) & 0xff),
      'old',
    );
    const source = await openOnnx(memorySource(await encodeModel(proto)), {
      siblings: siblingsFrom(new Map([['old', data]])),
    });
    const files = await layoutModel(source.proto, {
      ...options,
      sourceHadExternal: true,
      resolve: source.tensorBytes,
    });
    expect(files.map((file) => [file.name, file.size]).slice(1)).toEqual([['m.onnx_data', 8000]]);
    const opened = await reopen(files);
    expect(await contentsOf(opened)).toEqual(await contentsOf(source));
    expect(opened.proto.graph?.initializer[2]?.dataLocation).toBeUndefined();
    // The source itself is as it was.
    expect(source.proto.graph?.initializer[0]?.externalData[0]?.value).toBe('old');
  });

  test("'never' embeds what was external", async () => {
    const proto = withTensors(external('a', 'uint8', [5000], { location: 'old' }));
    const siblings = siblingsFrom(new Map([['old', new Uint8Array(5000).fill(9)]]));
    const source = await openOnnx(memorySource(await encodeModel(proto)), { siblings });
    const files = await layoutModel(source.proto, {
      ...options,
      externalData: 'never',
      sourceHadExternal: true,
      resolve: source.tensorBytes,
    });
    expect(files.length).toBe(1);
    expect((await contentsOf(await reopen(files))).a).toBe(digest(new Uint8Array(5000).fill(9)));
  });

  test('past 1.8 GiB external data is chosen, and demanding one file past 2 GiB is refused', async () => {
    const proto = withTensors(...[0, 1, 2].map((index) => hugeTensor(`w${index}`, index * 1e9, 1e9)));
    const files = await layoutModel(proto, options);
    expect(files.map((file) => [file.name, file.size < 2e9 + 1])).toEqual([
      ['m.onnx', true],
      ['m.onnx_data', true],
      ['m.onnx_data_1', true],
      ['m.onnx_data_2', true],
    ]);
    await expect(layoutModel(proto, { ...options, externalData: 'never' })).rejects.toMatchObject({
      code: 'E_UNSUPPORTED',
    });
  });

  test('initializers of subgraphs and tensors of nodes stay: onnxruntime-web does not load their data', async () => {
    const branch = graph({ initializers: [filled('k', 3000)], outputs: [value('k', 'uint8', [3000])] });
    const proto = model(
      graph({
        nodes: [
          node('Constant', [], ['v'], { attributes: { value: { tensor: filled('', 3000) } } }),
          node('If', ['c'], ['i'], { attributes: { then_branch: { graph: branch } } }),
        ],
        initializers: [filled('w', 2000)],
        inputs: [value('c', 'bool', [])],
      }),
    );
    const files = await layoutModel(proto, { ...options, externalData: 'always' });
    expect(files[1]?.size).toBe(2000);
    branch.initializer = [filled('k', 3000), hugeTensor('h', 0)];
    const large = await layoutModel(proto, options);
    expect(large.slice(1).map((file) => file.size)).toEqual([2048 + 3000, 2e9]);
  });

  test('any sizes, thresholds and limits: sound segments, the same bytes back, and the same files every time', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 12 }),
        fc.integer({ min: 0, max: 2000 }),
        fc.integer({ min: 500, max: 5000 }),
        fc.constantFrom(undefined, 1, 16, 256),
        async (sizes, externalThreshold, maxExternalFileBytes, alignment) => {
          const proto = withTensors(...sizes.map((size, index) => filled(`w${index}`, size, index + 1)));
          const demand = {
            ...options,
            externalData: 'always',
            externalThreshold,
            maxExternalFileBytes,
            alignment,
          } as const;
          const files = await layoutModel(proto, demand);
          expectSound(files);
          const again = await layoutModel(proto, demand);
          expect(again.map((file) => file.name)).toEqual(files.map((file) => file.name));
          for (const [index, file] of files.entries()) {
            expect(digest(await encodeFile(again[index]!))).toBe(digest(await encodeFile(file)));
          }
          const original = await openOnnx(memorySource(await encodeModel(proto)));
          expect(await contentsOf(await reopen(files))).toEqual(await contentsOf(original));
        },
      ),
      { numRuns: 40 },
    );
  });
});
