import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DTYPES } from '../../src/core/dtype.ts';
import { dtypeOfNumber, numberOfDtype, ONNX_DATA_TYPES } from '../../src/formats/onnx/data-types.ts';
import {
  allGraphs,
  freeNames,
  graphTensorNames,
  sparseInitializerNames,
  topologicalOrder,
} from '../../src/formats/onnx/graph.ts';
import { encodeModel } from '../../src/formats/onnx/model.ts';
import { opsetVersion, requireIr, requireOpset } from '../../src/formats/onnx/model-versions.ts';
import { openOnnx } from '../../src/formats/onnx/open.ts';
import { memorySource } from '../../src/io/memory-source.ts';
import { floats, graph, linearModel, model, node, value } from './build-onnx.ts';
import { bytesOf, HEADER, int, len } from './wire.ts';

describe('topologicalOrder', () => {
  test('an ordered graph stays as it is', () => {
    const { graph: main } = linearModel();
    expect(topologicalOrder(main!)).toEqual(main?.node);
  });

  test('any shuffled chain of nodes with side branches is sorted, each node once, after what it reads', () => {
    const shuffled = fc
      .integer({ min: 1, max: 12 })
      .chain((count) =>
        fc.tuple(fc.shuffledSubarray([...Array(count).keys()], { minLength: count }), fc.nat(1000)),
      );
    fc.assert(
      fc.property(shuffled, ([order, seed]) => {
        const nodes = order.map((index) => {
          const sources = index === 0 ? ['x'] : [`v${(seed * 7 + index * 3) % index}`, `v${index - 1}`];
          return node('Op', sources, [`v${index}`]);
        });
        const sorted = topologicalOrder(graph({ nodes })) ?? [];
        expect(new Set(sorted)).toEqual(new Set(nodes));
        const seen = new Set(['x']);
        for (const { input, output } of sorted) {
          for (const name of input) expect(seen).toContain(name);
          for (const name of output) seen.add(name);
        }
      }),
      { numRuns: 100 },
    );
  });

  test('what a subgraph reads from outside counts as read by its node', () => {
    const body = graph({ nodes: [node('Relu', ['late'], ['r'])], outputs: [value('r', 'f32', [1])] });
    const branch = node('If', ['c'], ['i'], { attributes: { then_branch: { graph: body } } });
    const producer = node('Neg', ['x'], ['late']);
    expect(topologicalOrder(graph({ nodes: [branch, producer] }))).toEqual([producer, branch]);
    expect(freeNames(body)).toEqual(new Set(['late']));
  });

  test('a cycle has no order', () => {
    expect(
      topologicalOrder(graph({ nodes: [node('A', ['b'], ['a']), node('B', ['a'], ['b'])] })),
    ).toBeUndefined();
  });
});

describe('names', () => {
  test('all names of a graph, its subgraphs included', () => {
    const body = graph({ nodes: [node('Relu', ['late'], ['r'])], initializers: [floats('k', [1])] });
    const main = graph({
      nodes: [node('If', ['c'], ['i'], { attributes: { then_branch: { graph: body } } })],
      valueInfo: [value('info', 'f32', [1])],
    });
    expect(graphTensorNames(main)).toEqual(new Set(['c', 'i', 'late', 'r', 'k', 'info']));
    expect([...allGraphs(model(main))].map(({ path }) => path)).toEqual(['', 'If_0.then_branch']);
  });

  test('a sparse initializer, which is not decoded, defines its name', async () => {
    const sparse = len(15, len(1, int(1, 1), int(2, 1), len(8, 'sparse'), len(9, 0, 0, 0, 0)));
    const reader = len(1, len(1, 'sparse'), len(2, 'y'), len(4, 'Neg'));
    const opened = await openOnnx(memorySource(bytesOf(HEADER, len(7, reader, sparse))));
    expect(sparseInitializerNames(opened.proto.graph!)).toEqual(['sparse']);
    expect(opened.weights()).toEqual([]);
  });
});

describe('versions', () => {
  test("'' and 'ai.onnx' are one domain", () => {
    const proto = linearModel();
    expect(opsetVersion(proto, 'ai.onnx')).toBe(17);
    proto.opsetImport[0]!.domain = 'ai.onnx';
    expect(opsetVersion(proto, '')).toBe(17);
    expect(opsetVersion(proto, 'com.microsoft')).toBeUndefined();
  });

  test('an operator set is raised, never lowered, and not above what runtimes load', () => {
    const proto = linearModel();
    requireOpset(proto, '', 21);
    requireOpset(proto, '', 13);
    requireOpset(proto, 'com.microsoft', 1);
    requireOpset(proto, 'com.microsoft', 1);
    expect(proto.opsetImport.map(({ domain, version }) => [domain, version])).toEqual([
      ['', 21n],
      ['com.microsoft', 1n],
    ]);
    expect(() => requireOpset(proto, '', 27)).toThrowError(expect.objectContaining({ code: 'E_TARGET' }));
    expect(() => requireOpset(proto, 'com.microsoft', 2)).toThrowError(
      expect.objectContaining({ code: 'E_UNSUPPORTED' }),
    );
  });

  test('the IR version is raised, never lowered, and not above 13', () => {
    const proto = linearModel();
    requireIr(proto, 10);
    requireIr(proto, 4);
    expect(proto.irVersion).toBe(10n);
    expect(() => requireIr(proto, 14)).toThrowError(expect.objectContaining({ code: 'E_TARGET' }));
  });
});

describe('element types', () => {
  test('every element type has its own ONNX number, and back', () => {
    for (const dtype of Object.keys(ONNX_DATA_TYPES)) expect(Object.keys(DTYPES)).toContain(dtype);
    expect(Object.keys(ONNX_DATA_TYPES).length).toBe(Object.keys(DTYPES).length);
    expect(Array.from({ length: 26 }, (_, index) => numberOfDtype(dtypeOfNumber(index + 1)!))).toEqual(
      Array.from({ length: 26 }, (_, index) => index + 1),
    );
    expect([0, 27, 99, undefined].map(dtypeOfNumber)).toEqual([undefined, undefined, undefined, undefined]);
  });
});

test('encoding a model of every kind of node twice gives the same bytes', async () => {
  const proto = linearModel();
  expect(await encodeModel(proto)).toEqual(await encodeModel(proto));
});
