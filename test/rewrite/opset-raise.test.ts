import { InferenceSession, type Tensor } from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import { encodeModel } from '../../src/formats/onnx/layout.ts';
import type { NodeProto, TensorProto } from '../../src/formats/onnx/messages.ts';
import { cloneModel, uniqueName } from '../../src/formats/onnx/model.ts';
import { raiseOpset, raiseProblem } from '../../src/formats/onnx/rewrite/opset-raise.ts';
import { floats, graph, model, node, value } from '../formats/build-onnx.ts';
import { feed } from './run.ts';

interface Case {
  readonly name: string;
  readonly from: number;
  readonly to: number;
  readonly nodes: NodeProto[];
  readonly initializers?: TensorProto[];
}

const one = (op: string, attributes: Record<string, bigint | number | bigint[]>): NodeProto =>
  node(op, ['x'], ['y'], { name: 'n', attributes });

const same: Case[] = [
  {
    name: 'Slice’s attributes',
    from: 9,
    to: 11,
    nodes: [one('Slice', { starts: [1n], ends: [3n], axes: [1n] })],
  },
  { name: 'Clip’s attributes', from: 9, to: 21, nodes: [one('Clip', { min: -0.5, max: 0.25 })] },
  { name: 'Clip with one bound', from: 9, to: 21, nodes: [one('Clip', { max: 0.25 })] },
  {
    name: 'Pad’s attributes',
    from: 9,
    to: 21,
    nodes: [one('Pad', { pads: [0n, 1n, 0n, 0n, 0n, 2n], value: 3 })],
  },
  {
    name: 'Squeeze’s axes',
    from: 11,
    to: 21,
    nodes: [
      node('Unsqueeze', ['x'], ['u'], { attributes: { axes: [0n] } }),
      node('Squeeze', ['u'], ['y'], { attributes: { axes: [0n] } }),
    ],
  },
  { name: 'ReduceMean’s axes', from: 13, to: 21, nodes: [one('ReduceMean', { axes: [1n] })] },
  { name: 'ReduceSum’s axes', from: 11, to: 21, nodes: [one('ReduceSum', { axes: [2n], keepdims: 0n })] },
  { name: 'Softmax’s default axis', from: 11, to: 21, nodes: [one('Softmax', {})] },
  { name: 'Softmax over a last axis by rank', from: 11, to: 21, nodes: [one('Softmax', { axis: 2n })] },
  {
    name: 'Split without sizes',
    from: 13,
    to: 21,
    nodes: [node('Split', ['x'], ['a', 'b'], { attributes: { axis: 2n } }), node('Add', ['a', 'b'], ['y'])],
  },
  { name: 'Dropout’s ratio', from: 9, to: 21, nodes: [one('Dropout', { ratio: 0.5 })] },
  {
    name: 'BatchNormalization with one output',
    from: 8,
    to: 21,
    nodes: [node('BatchNormalization', ['x', 's', 's', 'o', 's'], ['y'], {})],
    initializers: [floats('s', [4], [1, 2, 3, 4]), floats('o', [4], [0, 1, 0, 1])],
  },
];

describe('raising the opset', () => {
  for (const { name, from, to, nodes, initializers = [] } of same) {
    test(`${name} compute the same from ${from} to ${to}`, async () => {
      const proto = model(
        graph({
          nodes,
          initializers,
          inputs: [value('x', 'f32', [2, 4, 6])],
          outputs: [
            {
              name: 'y',
              type: { tensorType: { elemType: 1, unknown: [] }, unknown: [] },
              metadataProps: [],
              unknown: [],
            },
          ],
        }),
        { opset: from, ir: 8 },
      );
      const raised = cloneModel(proto);
      expect(raiseProblem(raised, to)).toBeUndefined();
      raiseOpset(raised, to, uniqueName(raised));
      expect(raised.opsetImport[0]?.version).toBe(BigInt(to));
      const x = feed([2, 4, 6]);
      expect(await run(await encodeModel(raised), x)).toEqual(await run(await encodeModel(proto), x));
    });
  }

  const unsafe: [string, NodeProto, number, number][] = [
    ['Upsample', node('Upsample', ['x', 's'], ['y']), 9, 10],
    ['Resize 10', node('Resize', ['x', 's'], ['y']), 10, 11],
    ['RoiAlign', node('RoiAlign', ['x', 'r', 'i'], ['y']), 15, 16],
    ['GridSample', node('GridSample', ['x', 'g'], ['y']), 19, 21],
    ['GroupNormalization', node('GroupNormalization', ['x', 's', 'b'], ['y']), 18, 21],
    ['Dropout with a mask', node('Dropout', ['x'], ['y', 'mask']), 9, 10],
  ];
  for (const [name, bad, from, to] of unsafe) {
    test(`${name} stops it, by name`, () => {
      const proto = model(graph({ nodes: [bad] }), { opset: from });
      expect(raiseProblem(proto, to)).toContain(bad.opType);
    });
  }

  test('an operator inside a subgraph counts, one of another domain does not', () => {
    const inner = graph({ nodes: [node('GridSample', ['x', 'g'], ['y'])], outputs: [value('y', 'f32', [])] });
    const outer = node('If', ['c'], ['z'], {
      attributes: { then_branch: { graph: inner }, else_branch: { graph: inner } },
    });
    expect(raiseProblem(model(graph({ nodes: [outer] }), { opset: 16 }), 21)).toContain('GridSample');
    const foreign = node('GridSample', ['x'], ['y'], { domain: 'my' });
    expect(raiseProblem(model(graph({ nodes: [foreign] }), { opset: 16 }), 21)).toBeUndefined();
  });

  test('opsets before broadcasting are never raised', () => {
    expect(raiseProblem(model(graph({ nodes: [] }), { opset: 6 }), 11)).toContain('too old');
  });
});

async function run(bytes: Uint8Array, x: Tensor): Promise<unknown> {
  const session = await InferenceSession.create(bytes, { logSeverityLevel: 3 });
  const { y } = await session.run({ x });
  return { dims: y?.dims, data: y?.data };
}
