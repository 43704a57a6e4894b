/** Type maps of a plan, and their compact form for fixtures: counts by type and a digest of all names with their types. */

import { createHash } from 'node:crypto';
import type { GgufModel } from '../../../src/formats/gguf/gguf.ts';
import type { Imatrix } from '../../../src/formats/gguf/imatrix-types.ts';
import { openGguf } from '../../../src/formats/gguf/open.ts';
import type { GgufQuantizeOptions } from '../../../src/planning/gguf/options.ts';
import { planGguf } from '../../../src/planning/gguf/plan-gguf.ts';
import { type ModelShape, sparseSource } from './shapes.ts';

/** An importance matrix that says nothing about any weight: only its being there matters to the types. */
export const EMPTY_GUIDE: Imatrix = {
  file: 'imatrix.gguf',
  form: 'gguf',
  entries: new Map([
    [
      'none',
      {
        name: 'none',
        columns: 1,
        matrices: 1,
        values: { kind: 'inline', bytes: new Uint8Array(4) },
        counts: 1,
      },
    ],
  ]),
  datasets: [],
  chunks: 0,
  chunkSize: undefined,
  async close() {},
};

/** A model of nothing but a header. */
export function openShape(model: ModelShape): Promise<GgufModel> {
  return openGguf(sparseSource(model));
}

/** What our plan gives each tensor, in the order of the output. */
export async function plannedTypes(
  model: GgufModel,
  to: string,
  guided: boolean,
  more: Partial<GgufQuantizeOptions> = {},
): Promise<Map<string, string>> {
  const plan = await planGguf(model, {
    to,
    fileName: 'out.gguf',
    dryRun: true,
    imatrix: guided ? EMPTY_GUIDE : undefined,
    ...more,
  });
  return new Map(plan.tensors.map((tensor) => [tensor.name, tensor.to]));
}

/** `q4_K×193 q6_K×33 f32×65 0123456789abcdef` */
export function summarize(types: ReadonlyMap<string, string>): string {
  const counts = new Map<string, number>();
  for (const type of types.values()) counts.set(type, (counts.get(type) ?? 0) + 1);
  const listed = [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([type, count]) => `${type}×${count}`);
  return `${listed.join(' ')} ${digest(types)}`;
}

function digest(types: ReadonlyMap<string, string>): string {
  const text = [...types].map(([name, type]) => `${name} ${type}\n`).join('');
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

/** Every tensor on which two maps differ, and where their orders part; empty where they are equal. */
export function differences(
  ours: ReadonlyMap<string, string>,
  theirs: ReadonlyMap<string, string>,
): string[] {
  const lines: string[] = [];
  for (const [name, type] of theirs) {
    if (ours.get(name) !== type) lines.push(`${name}: ${ours.get(name)}, llama.cpp ${type}`);
  }
  for (const name of ours.keys()) if (!theirs.has(name)) lines.push(`${name}: not in llama.cpp's output`);
  const names = [...ours.keys()];
  const order = [...theirs.keys()].findIndex((name, index) => names[index] !== name);
  if (order >= 0)
    lines.push(`order parts at ${order}: ${names[order]}, llama.cpp ${[...theirs.keys()][order]}`);
  return lines.slice(0, 12);
}
