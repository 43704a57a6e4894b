/**
 * What the tests of rewrites share: plan a small model, fill it with the real execution layer, run original and
 * result in onnxruntime-node on the same input.
 */

import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { createRandom } from '../../src/core/random.ts';
import { executeFiles } from '../../src/execution/execute.ts';
import { allGraphs } from '../../src/formats/onnx/graph.ts';
import { encodeModel } from '../../src/formats/onnx/layout.ts';
import type { GraphProto, ModelProto, NodeProto, TensorProto } from '../../src/formats/onnx/messages.ts';
import type { OnnxModel } from '../../src/formats/onnx/model.ts';
import { openOnnx } from '../../src/formats/onnx/open.ts';
import { type Planned, type PlanOptions, planCompression } from '../../src/planning/plan-onnx.ts';
import type { Recipe, Scheme } from '../../src/planning/recipe.ts';
import { floats, sourceOf, withFolder } from '../formats/build-onnx.ts';

export type Feeds = Record<string, Tensor>;

/** Normal values, the same on every machine. */
export function normals(count: number, seed = 1, scale = 1): number[] {
  const random = createRandom(seed);
  return Array.from({ length: count }, () => random.normal() * scale);
}

/** A weight of normal values. */
export function weight(name: string, dims: number[], seed = 7): TensorProto {
  const count = dims.reduce((a, b) => a * b, 1);
  return floats(name, dims, normals(count, seed, 0.1));
}

export function feed(dims: number[], seed = 3): Tensor {
  return new Tensor(
    'float32',
    Float32Array.from(
      normals(
        dims.reduce((a, b) => a * b, 1),
        seed,
      ),
    ),
    dims,
  );
}

export function indices(values: number[], dims: number[]): Tensor {
  return new Tensor('int64', BigInt64Array.from(values.map(BigInt)), dims);
}

/** A recipe of one rule for everything. */
export function recipeFor(scheme: Scheme, extra: Partial<Recipe> = {}): Recipe {
  return { name: 'test', rules: [{ match: {}, scheme }], ...extra };
}

export async function plan(
  proto: ModelProto,
  recipe: Recipe,
  options: Partial<PlanOptions> = {},
): Promise<{ planned: Planned; model: OnnxModel }> {
  const model = await openOnnx(await sourceOf(proto));
  return { planned: await planCompression(model, recipe, { fileName: 'out.onnx', ...options }), model };
}

export interface Compared {
  readonly planned: Planned;
  readonly bytes: number;
  /** Cosine similarity of the first output. */
  readonly cosine: number;
  readonly maxAbs: number;
}

/** Plans, computes, loads and runs; compares the first output with that of the original. */
export async function compare(
  proto: ModelProto,
  recipe: Recipe,
  feeds: Feeds,
  options: Partial<PlanOptions> = {},
): Promise<Compared> {
  const { planned, model } = await plan(proto, recipe, options);
  const original = await runBytes(await encodeModel(proto), feeds);
  return withFolder(async (directory) => {
    await executeFiles({ files: planned.files, tasks: planned.tasks, target: { directory }, threads: 1 });
    await model.close();
    const session = await InferenceSession.create(join(directory, 'out.onnx'), { logSeverityLevel: 3 });
    const result = await session.run(feeds);
    const name = session.outputNames[0] ?? '';
    return { planned, bytes: planned.files[0]?.size ?? 0, ...distance(original, numbers(result[name])) };
  });
}

async function runBytes(bytes: Uint8Array, feeds: Feeds): Promise<Float32Array> {
  const session = await InferenceSession.create(bytes, { logSeverityLevel: 3 });
  const result = await session.run(feeds);
  return numbers(result[session.outputNames[0] ?? '']);
}

function numbers(tensor: { data: unknown } | undefined): Float32Array {
  if (tensor?.data instanceof Float32Array) return tensor.data;
  if (tensor?.data instanceof Float64Array) return Float32Array.from(tensor.data);
  throw new Error('the output is not float32');
}

function distance(a: Float32Array, b: Float32Array): { cosine: number; maxAbs: number } {
  if (a.length !== b.length) throw new Error(`${a.length} values against ${b.length}`);
  let ab = 0;
  let aa = 0;
  let bb = 0;
  let maxAbs = 0;
  for (const [i, x] of a.entries()) {
    const y = b[i]!;
    ab += x * y;
    aa += x * x;
    bb += y * y;
    maxAbs = Math.max(maxAbs, Math.abs(x - y));
  }
  return { cosine: ab / Math.sqrt(aa * bb || 1), maxAbs };
}

/** Operators of all graphs, in order. */
export function operators(proto: ModelProto): string[] {
  return allNodes(proto).map((node) => node.opType ?? '');
}

export function allNodes(proto: ModelProto): NodeProto[] {
  return [...allGraphs(proto)].flatMap(({ graph }) => graph.node);
}

export function initializerNames(graph: GraphProto | undefined): string[] {
  return (graph?.initializer ?? []).map((tensor) => tensor.name ?? '');
}
