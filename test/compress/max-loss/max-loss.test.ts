/** `compress` with a largest loss: networks made here whose worst layer is known, and a real classifier where it is at hand. */

import { readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { compress } from '../../../src/compress.ts';
import { createRandom } from '../../../src/core/random.ts';
import type { ModelProto } from '../../../src/formats/onnx/messages.ts';
import { openOnnx } from '../../../src/formats/onnx/open.ts';
import { floats, graph, model, node, value, withFolder, writeModel } from '../../formats/build-onnx.ts';

const WIDTH = 64;
const CLASSES = 8;

/** Three products with Relu between; the second has a few huge weights beside small ones that matter, which few bits lose. */
function network(): ModelProto {
  const random = createRandom(3);
  const weights = (rows: number, columns: number) =>
    Array.from({ length: rows * columns }, () => random.normal() / Math.sqrt(rows));
  const hard = weights(WIDTH, WIDTH);
  // Input 0 is nearly always off, and its weights are large: their blocks keep nothing of the others.
  for (let column = 0; column < WIDTH; column++) hard[column] = 60 * (column % 2 === 0 ? 1 : -1);
  const bias = new Array<number>(WIDTH).fill(0);
  bias[0] = -30;
  return model(
    graph({
      nodes: [
        node('MatMul', ['x', 'easy1'], ['a0']),
        node('Add', ['a0', 'bias'], ['a1']),
        node('Relu', ['a1'], ['a2']),
        node('MatMul', ['a2', 'hard'], ['b1']),
        node('Relu', ['b1'], ['b2']),
        node('MatMul', ['b2', 'easy2'], ['logits']),
      ],
      initializers: [
        floats('easy1', [WIDTH, WIDTH], weights(WIDTH, WIDTH)),
        floats('bias', [WIDTH], bias),
        floats('hard', [WIDTH, WIDTH], hard),
        floats('easy2', [WIDTH, CLASSES], weights(WIDTH, CLASSES)),
      ],
      inputs: [value('x', 'f32', ['n', WIDTH])],
      outputs: [value('logits', 'f32', ['n', CLASSES])],
    }),
  );
}

/** Rows with the class that the network itself ranks first, so that its accuracy is 100 %. */
async function rowsOf(folder: string, file: string, count: number): Promise<string> {
  const { InferenceSession, Tensor } = await import('onnxruntime-node');
  const random = createRandom(5);
  const session = await InferenceSession.create(file);
  const rows: { x: number[]; label: number }[] = [];
  for (let i = 0; i < count; i++) {
    const x = Array.from({ length: WIDTH }, () => random.normal());
    const { logits } = await session.run({ x: new Tensor('float32', Float32Array.from(x), [1, WIDTH]) });
    const scores = logits?.data instanceof Float32Array ? [...logits.data] : [];
    rows.push({ x, label: scores.indexOf(Math.max(...scores)) });
  }
  await session.release();
  const path = join(folder, 'rows.json');
  await writeFile(path, JSON.stringify(rows));
  return path;
}

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
