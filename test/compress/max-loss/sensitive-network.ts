/** A classifier whose second weight few bits lose, and rows with the classes that it ranks first itself: its accuracy is 100 %. */

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createRandom } from '../../../src/core/random.ts';
import type { ModelProto } from '../../../src/formats/onnx/messages.ts';
import { floats, graph, model, node, value } from '../../formats/build-onnx.ts';

const WIDTH = 64;
const CLASSES = 8;

/** Three products with Relu between; the second has a few huge weights beside small ones that matter, which few bits lose. */
export function network(): ModelProto {
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
export async function rowsOf(folder: string, file: string, count: number): Promise<string> {
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
