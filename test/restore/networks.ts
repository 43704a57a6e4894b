/** Small networks with every operator that holds weights, and what onnxruntime-node answers on them. */

import { createRandom } from '../../src/core/random.ts';
import type { ModelProto } from '../../src/formats/onnx/messages.ts';
import { floats, graph, int64s, model, node, value } from '../formats/build-onnx.ts';
import { type Answers, answers, float, int64 } from '../models/engine.ts';

const random = createRandom(17);

export function normals(count: number, spread: number): number[] {
  return Array.from({ length: count }, () => random.normal() * spread);
}

export const TOKENS = 50;

/** Gather → MatMul → LSTM → Gemm (transposed) → Conv with bias: 6 tokens → [1, 32, 6]. */
export function everyOperator(): ModelProto {
  return model(
    graph({
      nodes: [
        node('Gather', ['table', 'ids'], ['e'], { name: 'embed' }),
        node('MatMul', ['e', 'w1'], ['h'], { name: 'mm' }),
        node('Transpose', ['h'], ['ht'], { attributes: { perm: [1n, 0n, 2n] } }),
        node('LSTM', ['ht', 'lw', 'lr', 'lb'], ['l'], { name: 'lstm', attributes: { hidden_size: 24n } }),
        node('Reshape', ['l', 'flat'], ['f']),
        node('Gemm', ['f', 'w2', 'b2'], ['g'], { name: 'gemm', attributes: { transB: 1n } }),
        node('Transpose', ['g'], ['gt'], { attributes: { perm: [1n, 0n] } }),
        node('Reshape', ['gt', 'image'], ['i']),
        node('Conv', ['i', 'cw', 'cb'], ['y'], { name: 'conv', attributes: { kernel_shape: [1n] } }),
      ],
      initializers: [
        floats('table', [TOKENS, 32], normals(TOKENS * 32, 1)),
        floats('w1', [32, 48], normals(32 * 48, 0.2)),
        floats('lw', [1, 96, 48], normals(96 * 48, 0.2)),
        floats('lr', [1, 96, 24], normals(96 * 24, 0.2)),
        floats('lb', [1, 192], normals(192, 0.1)),
        floats('w2', [48, 24], normals(48 * 24, 0.3)),
        floats('b2', [48], normals(48, 0.1)),
        floats('cw', [32, 48, 1], normals(32 * 48, 0.2)),
        floats('cb', [32], normals(32, 0.1)),
        int64s('flat', [2], [-1, 24]),
        int64s('image', [3], [1, 48, -1]),
      ],
      inputs: [value('ids', 'int64', [1, 6])],
      outputs: [value('y', 'f32', [1, 32, 6])],
    }),
  );
}

export function tokenAnswers(file: string): Promise<Answers> {
  const rows = [
    [3, 1, 4, 1, 5, 9],
    [2, 6, 5, 35, 8, 49],
  ];
  return answers(
    file,
    rows.map((ids) => ({ ids: int64(ids, [1, 6]) })),
  );
}

/** x · w, so that the identity as x gives the weight as the runtime sees it. */
export function productModel(K: number, N: number): ModelProto {
  return model(
    graph({
      nodes: [node('MatMul', ['x', 'w'], ['y'], { name: 'mm' })],
      initializers: [floats('w', [K, N], normals(K * N, 0.5))],
      inputs: [value('x', 'f32', ['n', K])],
      outputs: [value('y', 'f32', ['n', N])],
    }),
  );
}

export function identityAnswers(file: string, size: number): Promise<Answers> {
  const x = new Float32Array(size * size);
  for (let i = 0; i < size; i++) x[i * size + i] = 1;
  return answers(file, [{ x: float(x, [size, size]) }]);
}
