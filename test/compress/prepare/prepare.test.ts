/** Preparations from `compress`: the result computes what the original does and quantizes better; wrong use is refused. */

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Dataset } from '../../../src/calibration/data/dataset.ts';
import { executePlan } from '../../../src/compress/execute-plan.ts';
import { prepareModel } from '../../../src/compress/prepare/prepare.ts';
import { prepareOnnx } from '../../../src/compress/prepare-model.ts';
import { createSpool } from '../../../src/compress/solve/spool.ts';
import { compress } from '../../../src/compress.ts';
import type { ModelProto } from '../../../src/formats/onnx/messages.ts';
import { openOnnx } from '../../../src/formats/onnx/open.ts';
import { parsePreparation } from '../../../src/planning/preparation.ts';
import { presetRecipe } from '../../../src/planning/presets.ts';
import { validateRecipe } from '../../../src/planning/recipe-schema.ts';
import { dataset, f32 } from '../../calibration/collect/runs.ts';
import { floats, graph, model, node, value, withFolder, writeModel } from '../../formats/build-onnx.ts';
import { normals } from '../../rewrite/run.ts';

const C = 16;
const WIDTH = 64;

/** Two layers behind each other whose channels have ranges a thousand times apart, as batch norms leave them. */
function unevenNetwork(): ModelProto {
  const spread = (i: number): number => 1000 ** ((i % C) / (C - 1));
  const rows = normals(C * 9 * C, 1, 0.1).map((v, i) => v * spread(Math.floor(i / (9 * C))));
  const columns = normals(C * C, 2, 0.1).map((v, i) => v / spread(i));
  return model(
    graph({
      nodes: [
        node('Conv', ['x', 'wa', 'ba'], ['a'], { attributes: { pads: [1n, 1n, 1n, 1n] } }),
        node('Relu', ['a'], ['r']),
        node('Conv', ['r', 'wb'], ['b']),
        node('GlobalAveragePool', ['b'], ['y']),
      ],
      initializers: [
        floats('wa', [C, C, 3, 3], rows),
        floats('ba', [C], normals(C, 3)),
        floats('wb', [C, C, 1, 1], columns),
      ],
      inputs: [value('x', 'f32', [1, C, 8, 8])],
      outputs: [value('y', 'f32', [1, C, 1, 1])],
    }),
  );
}

/** A norm with one channel a hundred times as loud as the others, and the product behind it. */
function loudNetwork(): ModelProto {
  const scale = Array.from({ length: WIDTH }, (_, i) => (i === 5 ? 100 : 1));
  const quiet = normals(WIDTH * WIDTH, 1, 0.1).map((v, i) => (Math.floor(i / WIDTH) === 5 ? v / 50 : v));
  return model(
    graph({
      nodes: [node('LayerNormalization', ['x', 'scale'], ['n']), node('MatMul', ['n', 'w'], ['y'])],
      initializers: [floats('scale', [WIDTH], scale), floats('w', [WIDTH, WIDTH], quiet)],
      inputs: [value('x', 'f32', ['n', WIDTH])],
      outputs: [value('y', 'f32', ['n', WIDTH])],
    }),
  );
}

function samples(): Dataset {
  return dataset(
    [1, 2, 3].map((seed) => ({ x: f32([8, WIDTH], Float32Array.from(normals(8 * WIDTH, seed))) })),
  );
}

test('equalized layers keep far more of themselves under one scale for the tensor', () =>
  withFolder(async (folder) => {
    const input = await writeModel(folder, unevenNetwork());
    const rule = { match: {}, scheme: { as: 'qdq', type: 'int8', granularity: 'tensor', blockSize: 0 } };
    const recipe = validateRecipe({ name: 'per-tensor', rules: [rule] });
    const run = (prepare: readonly string[], name: string) =>
      compress(input, { to: [recipe], prepare, output: join(folder, name), measure: true, threads: 1 });
    const before = await run([], 'before.onnx');
    const after = await run(['equalize'], 'after.onnx');
    const [first, second] = [before.results[0]!, after.results[0]!];
    expect(first.verification!.sqnr).toBeLessThan(10);
    expect(second.verification!.sqnr).toBeGreaterThan(first.verification!.sqnr + 20);
    expect(second.prepared?.[0]).toMatchObject({ pass: 'equalize', places: [{ at: 'a' }] });
    expect(second.notes.join()).toContain('computes what the original does');
  }));

test.each(['smooth', 'smooth=0.5'])('%s takes an outlier out of the activations of static int8', (pass) =>
  withFolder(async (folder) => {
    const input = await writeModel(folder, loudNetwork());
    const run = (prepare: readonly string[], name: string) =>
      compress(input, {
        to: ['static-int8'],
        prepare,
        data: samples(),
        output: join(folder, name),
        threads: 1,
      });
    const before = await run([], 'before.onnx');
    const after = await run([pass], 'after.onnx');
    expect(after.results[0]!.verification!.sqnr).toBeGreaterThan(before.results[0]!.verification!.sqnr + 6);
  }),
);

test('awq folds its scales into the norm, on the grid of the mode', () =>
  withFolder(async (folder) => {
    const input = await writeModel(folder, loudNetwork());
    const run = (algorithm: 'awq' | 'rtn', name: string) =>
      compress(input, {
        to: ['q4'],
        algorithm,
        data: samples(),
        output: join(folder, name),
        threads: 1,
      });
    const before = await run('rtn', 'before.onnx');
    const after = await run('awq', 'after.onnx');
    expect(after.results[0]!.prepared).toMatchObject([{ pass: 'awq', places: [{ at: 'n' }] }]);
    expect(after.results[0]!.solved?.algorithm).toBe('awq');
    expect(after.results[0]!.verification!.sqnr).toBeGreaterThan(before.results[0]!.verification!.sqnr + 2);
  }));

test('values beyond the limit go to temporary files, and the result is the same', () =>
  withFolder(async (folder) => {
    const input = await writeModel(folder, unevenNetwork());
    const bytes: number[][] = [];
    for (const held of [undefined, 0]) {
      await using spool = createSpool(held);
      await using original = await openOnnx(input);
      const steps = parsePreparation(['equalize']);
      const prepared = await prepareModel(original, steps, { spool, verify: false });
      const tensor = prepared.model.proto.graph!.initializer.find(({ name }) => name === 'wa')!;
      bytes.push([...(await prepared.model.readTensor(tensor))]);
    }
    expect(bytes[1]).toEqual(bytes[0]);
  }));

test('a plan that was saved with preparations writes the same bytes', () =>
  withFolder(async (folder) => {
    const input = await writeModel(folder, unevenNetwork());
    const output = join(folder, 'direct.onnx');
    const options = { to: ['q8'], prepare: ['equalize'], threads: 1 };
    const { results } = await compress(input, { ...options, output });
    await using original = await openOnnx(input);
    await executePlan(original, results[0]!.plan, { directory: join(folder, 'later'), threads: 1 });
    const written = await readFile(join(folder, 'later', 'direct.onnx'));
    expect(written.equals(await readFile(output))).toBe(true);
  }));

test.each(['smooth', 'awq'])('a plan with %s, which looked at data, is not followed without it', (pass) =>
  withFolder(async (folder) => {
    const input = await writeModel(folder, loudNetwork());
    const { results } = await compress(input, {
      to: ['q4'],
      algorithm: 'rtn',
      prepare: [pass],
      data: samples(),
      dryRun: true,
      threads: 1,
    });
    await using original = await openOnnx(input);
    const again = executePlan(original, results[0]!.plan, { directory: join(folder, 'later') });
    await expect(again).rejects.toMatchObject({ code: 'E_USAGE', details: { found: pass } });
  }),
);

test('what an algorithm is for has no place in a static mode, and a note says so', () =>
  withFolder(async (folder) => {
    const input = await writeModel(folder, loudNetwork());
    const run = (algorithm: 'gptq' | 'awq' | undefined) =>
      compress(input, {
        to: ['static-int8'],
        algorithm,
        data: samples(),
        output: join(folder, `${algorithm}.onnx`),
        threads: 1,
        verify: false,
      });
    for (const algorithm of ['gptq', 'awq'] as const) {
      const { results } = await run(algorithm);
      expect(results[0]!.notes.join()).toContain(`the algorithm ${algorithm} was not used`);
    }
    expect((await run(undefined)).results[0]!.notes.join()).not.toContain('was not used');
  }));

test('a dry run prepares, and speaks of no proof', () =>
  withFolder(async (folder) => {
    const input = await writeModel(folder, unevenNetwork());
    const { results } = await compress(input, {
      to: ['q8'],
      prepare: ['equalize'],
      dryRun: true,
      verify: false,
    });
    expect(results[0]!.notes.join()).toContain('equalize: 1 places');
    expect(results[0]!.notes.join()).not.toContain('compared with the original');
  }));

test('an output in the way is told before a pass looks for its data', () =>
  withFolder(async (folder) => {
    const input = await writeModel(folder, loudNetwork());
    const output = join(folder, 'there.onnx');
    await writeFile(output, 'mine');
    const run = (path: string) =>
      prepareOnnx(input, { passes: ['smooth'], output: path, force: path === input });
    await expect(run(output)).rejects.toMatchObject({ code: 'E_OUTPUT_EXISTS' });
    await expect(run(input)).rejects.toMatchObject({ code: 'E_OUTPUT_IS_INPUT' });
    expect(await readFile(output, 'utf8')).toBe('mine');
  }));

test('where no weight lies on a grid, awq says that rather than that there is no place', () =>
  withFolder(async (folder) => {
    const input = await writeModel(folder, loudNetwork());
    const { results } = await compress(input, {
      to: ['fp16'],
      prepare: ['awq'],
      data: samples(),
      output: join(folder, 'half.onnx'),
      threads: 1,
      verify: false,
    });
    expect(results[0]!.prepared?.[0]?.summary).toMatch(/no weight there that the mode stores on a grid/);
  }));

test('an initializer that the model also gives out keeps its values', () =>
  withFolder(async (folder) => {
    const proto = loudNetwork();
    proto.graph!.output.push(value('scale', 'f32', [WIDTH]));
    const input = await writeModel(folder, proto);
    await using spool = createSpool();
    await using original = await openOnnx(input);
    const steps = parsePreparation(['smooth=0.5']);
    const { model, reports } = await prepareModel(original, steps, { spool, data: samples(), threads: 1 });
    expect(reports[0]!.places).toHaveLength(1);
    const kept = model.proto.graph!.initializer.find(({ name }) => name === 'scale')!;
    expect(new Float32Array((await model.readTensor(kept)).slice().buffer)[5]).toBe(100);
  }));

test('a run that stopped is not continued with other preparations', () =>
  withFolder(async (folder) => {
    const input = await writeModel(folder, unevenNetwork());
    const stop = new AbortController();
    const options = { to: ['q8'], output: join(folder, 'q.onnx'), journal: true, threads: 1 } as const;
    const stopped = compress(input, {
      ...options,
      prepare: ['equalize'],
      signal: stop.signal,
      onProgress: ({ phase }) => {
        if (phase.startsWith('proving q8')) stop.abort();
      },
    });
    await expect(stopped).rejects.toMatchObject({ code: 'E_ABORTED' });
    await expect(compress(input, { ...options, resume: true })).rejects.toMatchObject({ code: 'E_RESUME' });
    const { results } = await compress(input, { ...options, prepare: ['equalize'], resume: true });
    expect(results).toHaveLength(1);
  }));

test('passes run in their own order, whatever the order in which they are named', () => {
  const steps = parsePreparation(['smooth=auto', 'equalize']);
  expect(steps).toEqual([{ pass: 'equalize' }, { pass: 'smooth', setting: 'auto' }]);
});

test.each([
  [['smoth'], 'there is no preparation smoth'],
  [['smooth=2'], 'the setting of smooth is none'],
  [['smooth='], 'the setting of smooth is none'],
  [['equalize=1'], 'the preparation equalize has no setting'],
  [['equalize', 'equalize'], 'the preparation equalize is named twice'],
  [['constructor'], 'there is no preparation constructor'],
])('%j is refused', (texts, message) => {
  expect(() => parsePreparation(texts)).toThrow(message);
});

test('a recipe names preparations, and a wrong one is told with the recipe', () => {
  const recipe = validateRecipe({ extends: 'q8', prepare: ['equalize', 'smooth=0.4'] });
  expect(recipe.prepare).toEqual(['equalize', 'smooth=0.4']);
  expect(presetRecipe('q8').prepare).toBeUndefined();
  expect(() => validateRecipe({ extends: 'q8', prepare: 'equalise' }, 'mine.yaml')).toThrow(
    expect.objectContaining({ code: 'E_RECIPE', message: expect.stringContaining('equalise') }),
  );
});

test('a pass that looks at data says so where there is none', () =>
  withFolder(async (folder) => {
    const input = await writeModel(folder, loudNetwork());
    const run = compress(input, { to: ['q8'], prepare: ['smooth'], output: join(folder, 'q.onnx') });
    await expect(run).rejects.toMatchObject({ code: 'E_USAGE', message: expect.stringContaining('smooth') });
  }));
