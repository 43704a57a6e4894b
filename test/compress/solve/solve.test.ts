/** Layers, their stages and the order of events, on graphs of a few nodes; nothing here needs a runtime. */

import { describe, expect, it } from 'vitest';
import type { QuantizedMatrix, WeightMatrix } from '../../../src/algorithms/matrix.ts';
import { withIntegerZeros, withStoredZeros } from '../../../src/algorithms/stored-zeros.ts';
import { findLayers, fromMatrix, type Layer, toMatrix } from '../../../src/compress/solve/layers.ts';
import { METHODS, roundToNearest } from '../../../src/compress/solve/methods.ts';
import { chosenAlgorithm } from '../../../src/compress/solve/modes.ts';
import { relativeErrors } from '../../../src/compress/solve/relative-error.ts';
import { type SolveOptions, solveLayers } from '../../../src/compress/solve/solve.ts';
import { createSpool } from '../../../src/compress/solve/spool.ts';
import { substituteWeights } from '../../../src/compress/solve/substitute.ts';
import type { ModelProto } from '../../../src/formats/onnx/messages.ts';
import { referenceKernels } from '../../../src/kernels/index.ts';
import { floats, graph, model, node, value } from '../../formats/build-onnx.ts';

function method(name: string) {
  const found = METHODS.get(name);
  if (found === undefined) throw new Error(`no method ${name}`);
  return found;
}

/** q and k read x; o reads both; a table is read by Gather and as a head. */
function attention(): ModelProto {
  return model(
    graph({
      nodes: [
        node('Gather', ['table', 'ids'], ['x']),
        node('MatMul', ['x', 'wq'], ['q']),
        node('MatMul', ['x', 'wk'], ['k']),
        node('Add', ['q', 'k'], ['sum']),
        node('Gemm', ['sum', 'wo'], ['o'], { attributes: { transB: 1n } }),
        node('MatMul', ['o', 'wu'], ['u']),
        node('Transpose', ['table'], ['head'], { attributes: { perm: [1n, 0n] } }),
        node('MatMul', ['u', 'head'], ['y']),
      ],
      initializers: [
        floats('table', [9, 4]),
        floats('wq', [4, 6]),
        floats('wk', [4, 6]),
        floats('wo', [5, 6]),
        floats('wu', [5, 4]),
      ],
      inputs: [value('ids', 'int64', ['n'])],
      outputs: [value('y', 'f32', ['n', 9])],
    }),
  );
}

describe('layers', () => {
  it('have the stage of the longest chain of layers before them; a table that Gather reads too is none', () => {
    const layers = findLayers(attention());
    expect(layers.map(({ key, stage }) => [key, stage])).toEqual([
      ['wq', 0],
      ['wk', 0],
      ['wo', 1],
      ['wu', 2],
    ]);
    expect(layers.map(({ outputs, inputs, turned }) => [outputs, inputs, turned])).toEqual([
      [6, 4, true],
      [6, 4, true],
      [5, 6, false],
      [4, 5, true],
    ]);
  });

  it('that are not wanted do not count as stages', () => {
    const layers = findLayers(attention(), new Set(['wq', 'wu']));
    expect(layers.map(({ key, stage }) => [key, stage])).toEqual([
      ['wq', 0],
      ['wu', 1],
    ]);
  });

  it('come back from the matrix as they were stored', () => {
    const layer = findLayers(attention())[0]!;
    const stored = Float32Array.from({ length: 24 }, (_, i) => i);
    const matrix = toMatrix(stored, layer);
    expect([...matrix.subarray(0, 4)]).toEqual([0, 6, 12, 18]);
    expect(fromMatrix(matrix, layer)).toEqual(stored);
  });
});

describe('solving', () => {
  const seen: string[] = [];
  const options = (extra: Partial<SolveOptions> = {}): SolveOptions => ({
    method: { ...method('gptq'), solve: (weight, grid) => ({ quantized: roundToNearest(weight, grid) }) },
    baseline: roundToNearest,
    gridOf: () => ({ bits: 4, groupSize: 32, symmetric: false }),
    read: async ({ outputs, inputs }: Layer) =>
      Float32Array.from({ length: outputs * inputs }, (_, i) => Math.sin(i)),
    collect: async (products, replaced) => {
      seen.push(`${products.map(({ weight }) => weight).join()} after ${[...replaced.keys()].join()}`);
      return new Map(
        products.map(({ weight, inputs }) => {
          const gram = new Float32Array(inputs * inputs);
          for (let i = 0; i < inputs; i++) gram[i * inputs + i] = 2;
          return [weight, { inputs, rows: 2, squares: new Float64Array(inputs).fill(2), gram }];
        }),
      );
    },
    ...extra,
  });

  it('collects every stage on the model in which all earlier stages are replaced', async () => {
    seen.length = 0;
    const solved = await solveLayers(findLayers(attention()), options());
    expect(seen).toEqual(['wq,wk after ', 'wo after wq,wk', 'wu after wq,wk,wo']);
    expect([...solved.keys()]).toEqual(['wq', 'wk', 'wo', 'wu']);
    const { report } = solved.get('wo')!;
    expect(report).toMatchObject({ algorithm: 'gptq', bits: 4, groupSize: 32, rows: 2, deadInputs: 0 });
    expect(report.errorAfter).toBe(report.errorBefore);
  });

  it('of a method that is not sequential takes one pass over the data', async () => {
    seen.length = 0;
    await solveLayers(findLayers(attention()), options({ method: method('fit-weighted') }));
    expect(seen).toEqual(['wq,wk,wo,wu after ']);
  });

  it('without data refuses a method that needs it', async () => {
    const run = solveLayers(findLayers(attention()), options({ method: method('gptq'), collect: undefined }));
    await expect(run).rejects.toMatchObject({ code: 'E_USAGE' });
  });

  it('stops where the signal says so', async () => {
    const run = solveLayers(findLayers(attention()), options({ signal: AbortSignal.abort() }));
    await expect(run).rejects.toMatchObject({ code: 'E_ABORTED' });
  });
});

describe('every method', () => {
  const weight: WeightMatrix = {
    values: Float32Array.from({ length: 8 * 16 }, (_, i) => Math.sin(i * 1.7) + (i % 13 === 0 ? 2 : 0)),
    outputs: 8,
    inputs: 16,
  };
  const gram = new Float32Array(16 * 16);
  for (let i = 0; i < 16; i++)
    for (let j = 0; j < 16; j++) gram[i * 16 + j] = 0.8 ** Math.abs(i - j) * 100 + (i === j ? 1 : 0);
  const squares = Float64Array.from({ length: 16 }, (_, i) => gram[i * 17]!);
  const statistics = { inputs: 16, rows: 100, squares, gram, cross: new Float32Array(256) };

  for (const [name, each] of METHODS) {
    it(`${name} stays on its grid, and loses no more of the outputs than rounding to nearest times 1.05`, async () => {
      const grid = { bits: 3, groupSize: 8, symmetric: false };
      const { quantized } = await each.solve(weight, grid, statistics);
      expect(Math.max(...quantized.codes)).toBeLessThanOrEqual(7);
      expect(quantized.scales).toHaveLength(16);
      const error = (of: QuantizedMatrix) => {
        const restored = dequantize(of);
        return relativeErrors(weight, [restored], each.needs.length > 0 ? statistics : undefined)[0] ?? 0;
      };
      expect(error(quantized)).toBeLessThanOrEqual(error(roundToNearest(weight, grid)) * 1.05);
    });
  }
});

function dequantize({ codes, scales, zeroPoints, inputs, groupSize }: QuantizedMatrix): Float32Array {
  const groups = Math.ceil(inputs / groupSize);
  return Float32Array.from(codes, (code, at) => {
    const group = Math.floor(at / inputs) * groups + Math.floor((at % inputs) / groupSize);
    return (code - zeroPoints[group]!) * scales[group]!;
  });
}

describe('what goes with it', () => {
  it('real zero points become integers, with the nearest codes', () => {
    const weight = { values: Float32Array.of(-0.4, 0.9, 2.1), outputs: 1, inputs: 3 };
    const quantized: QuantizedMatrix = {
      outputs: 1,
      inputs: 3,
      bits: 2,
      groupSize: 3,
      symmetric: false,
      codes: Uint8Array.of(0, 1, 3),
      scales: Float32Array.of(1),
      zeroPoints: Float32Array.of(0.6),
    };
    expect(withIntegerZeros(weight, quantized)).toMatchObject({
      codes: Uint8Array.of(1, 2, 3),
      zeroPoints: Float32Array.of(1),
    });
  });

  it('f16 zeros far from the codes give way to the grid of the range; near ones are rounded, codes stay', () => {
    const weight = { values: Float32Array.of(10, 10.1, 10.2, -0.4, 0.9, 2.1), outputs: 2, inputs: 3 };
    const quantized: QuantizedMatrix = {
      outputs: 2,
      inputs: 3,
      bits: 2,
      groupSize: 3,
      symmetric: false,
      codes: Uint8Array.of(0, 2, 3, 0, 1, 3),
      scales: Float32Array.of(1 / 16, 1),
      zeroPoints: Float32Array.of(-160, 0.6),
    };
    const stored = withStoredZeros(weight, quantized, { zeroPoints: 'real', scaleType: 'f16' });
    expect([...stored.scales]).toEqual([3.400390625, 1]);
    expect([...stored.zeroPoints]).toEqual([0, 0.60009765625]);
    expect([...stored.codes]).toEqual([3, 3, 3, 0, 1, 3]);
    expect(withStoredZeros(weight, quantized, { zeroPoints: 'real' })).toBe(quantized);
  });

  it('substitutes take the place of a weight in a copy; the model keeps its own', () => {
    const proto = attention();
    const values = new Float32Array(24).fill(7);
    const copy = substituteWeights(proto, new Map([['wq', values]]), referenceKernels());
    const tensorOf = ({ graph }: ModelProto) => graph?.initializer.find(({ name }) => name === 'wq');
    expect(tensorOf(copy)?.rawData).toMatchObject({ kind: 'inline', bytes: new Uint8Array(values.buffer) });
    expect(tensorOf(proto)?.rawData).not.toEqual(tensorOf(copy)?.rawData);
  });

  it('parts beyond the limit of memory are kept in files until the end', async () => {
    const spool = createSpool(4);
    const small = await spool.keep(new Map([['packed', Uint8Array.of(1, 2, 3)]]));
    expect(small.get('packed')).toMatchObject({ kind: 'bytes', bytes: Uint8Array.of(1, 2, 3) });
    const parts = new Map([
      ['packed', Uint8Array.of(4, 5)],
      ['scales', Uint8Array.of(6)],
    ] as const);
    const segment = (await spool.keep(parts)).get('scales');
    if (segment?.kind !== 'copy') throw new Error('not in a file');
    const read = new Uint8Array(1);
    await segment.source.readInto(segment.sourceOffset, read);
    expect(read[0]).toBe(6);
    await spool[Symbol.asyncDispose]();
  });

  it('auto is an algorithm that the data allows, and a misspelt name is told', () => {
    expect(METHODS.get(chosenAlgorithm('auto', undefined))?.needs).toEqual([]);
    expect(() => chosenAlgorithm('gptq', undefined)).toThrow(/no data/);
    expect(() => chosenAlgorithm('gtpq', undefined)).toThrow(/no algorithm gtpq/);
  });
});
