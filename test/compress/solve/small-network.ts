/** A network with a table, products stored both ways and a convolution of several places; and tokens to run it on. */

import type { Dataset } from '../../../src/calibration/data/dataset.ts';
import type { ModelProto } from '../../../src/formats/onnx/messages.ts';
import { floats, graph, int64s, model, node, value } from '../../formats/build-onnx.ts';
import { normals } from '../../restore/networks.ts';

/** Table → product → Gemm (transposed) → convolution of 3 places: 6 tokens → [1, 32, 6]. */
export function network(): ModelProto {
  return model(
    graph({
      nodes: [
        node('Gather', ['table', 'ids'], ['e'], { name: 'embed' }),
        node('MatMul', ['e', 'w1'], ['h'], { name: 'mm' }),
        node('Reshape', ['h', 'flat'], ['f']),
        node('Gemm', ['f', 'w2'], ['g'], { name: 'gemm', attributes: { transB: 1n } }),
        node('Transpose', ['g'], ['gt'], { attributes: { perm: [1n, 0n] } }),
        node('Reshape', ['gt', 'image'], ['i']),
        node('Conv', ['i', 'cw'], ['y'], {
          name: 'conv',
          attributes: { kernel_shape: [3n], pads: [1n, 1n] },
        }),
      ],
      initializers: [
        floats('table', [50, 32], normals(50 * 32, 1)),
        floats('w1', [32, 40], normals(32 * 40, 0.2)),
        floats('w2', [48, 40], normals(48 * 40, 0.3)),
        floats('cw', [24, 48, 3], normals(24 * 48 * 3, 0.2)),
        int64s('flat', [2], [-1, 40]),
        int64s('image', [3], [1, 48, -1]),
      ],
      inputs: [value('ids', 'int64', [1, 6])],
      outputs: [value('y', 'f32', [1, 24, 6])],
    }),
    { opset: 21, ir: 10 },
  );
}

export const tokens: Dataset = {
  count: 40,
  description: 'tokens in turn',
  synthetic: false,
  notes: [],
  async *samples() {
    for (let sample = 0; sample < 40; sample++) {
      const ids = BigInt64Array.from({ length: 6 }, (_, i) => BigInt((sample * 7 + i * i * 3) % 50));
      const data = new Uint8Array(ids.buffer);
      yield { inputs: new Map([['ids', { dtype: 'int64' as const, shape: [1, 6], data }]]) };
    }
  },
};
