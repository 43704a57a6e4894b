/** The plan as plain JSON, from what was decided and where the layout put every part. */

import type { OutputFile, TensorBytes } from '../formats/layout.ts';
import type { OnnxModel } from '../formats/onnx/model.ts';
import type { RewriteContext } from '../formats/onnx/rewrite/context.ts';
import { operationParts, type PartRole } from '../numerics/operation.ts';
import type { Decision } from './decide.ts';
import { PLAN_VERSION, type Plan, type PlannedPart, type PlannedTensor } from './plan.ts';
import type { Recipe } from './recipe.ts';

export interface PlanFacts {
  readonly model: OnnxModel;
  readonly recipe: Recipe;
  readonly targets: readonly string[];
  readonly decisions: readonly Decision[];
  readonly context: RewriteContext;
  readonly files: readonly OutputFile[];
  readonly sources: ReadonlyMap<string, TensorBytes>;
}

export function describePlan({
  model,
  recipe,
  targets,
  decisions,
  context,
  files,
  sources,
}: PlanFacts): Plan {
  const places = partPlaces(files);
  const names = partNames(context);
  const tensors = decisions.map(({ weight, uses, scheme, reason }): PlannedTensor => {
    const parts = context.tasksOf(weight).flatMap((id): PlannedPart[] => {
      const task = context.tasks[id];
      if (task === undefined) return [];
      return operationParts(task.operation).flatMap((part): PlannedPart[] => {
        const key = partKey(id, part.role);
        const place = places.get(key);
        if (place === undefined) return [];
        const { role, dtype, shape } = part;
        return [{ name: names.get(key) ?? '', role, dtype, shape, ...place }];
      });
    });
    return {
      key: weight.key,
      name: weight.name,
      dtype: weight.dtype,
      shape: [...weight.shape],
      uses: uses.map(({ node, input }) => ({ opType: node.opType ?? '', node: node.name ?? '', input })),
      source: describeSource(sources.get(weight.key), model),
      scheme,
      reason,
      parts,
    };
  });
  return {
    version: PLAN_VERSION,
    format: 'onnx',
    recipe,
    targets,
    source: { file: model.file, bytes: model.source.size },
    tensors,
    outputs: files.map(({ name, size }) => ({ file: name, bytes: size })),
    notes: [...model.notes, ...context.notes],
  };
}

function partKey(task: number, role: PartRole): string {
  return `${task} ${role}`;
}

type Place = Pick<PlannedPart, 'file' | 'offset' | 'length'>;

function partPlaces(files: readonly OutputFile[]): Map<string, Place> {
  const places = new Map<string, Place>();
  for (const { name, segments } of files) {
    for (const segment of segments) {
      if (segment.kind !== 'part') continue;
      const { offset, length } = segment;
      places.set(partKey(segment.task, segment.role), { file: name, offset, length });
    }
  }
  return places;
}

function partNames({ proto, index }: RewriteContext): Map<string, string> {
  const names = new Map<string, string>();
  for (const graph of proto.graph === undefined ? [] : index.graphs) {
    for (const { name, rawData } of graph.initializer) {
      if (rawData?.kind === 'pending') names.set(partKey(rawData.task, rawData.role), name ?? '');
    }
  }
  return names;
}

function describeSource(bytes: TensorBytes | undefined, model: OnnxModel): PlannedTensor['source'] {
  if (bytes === undefined) return { file: model.file, offset: 0, length: 0 };
  // Small values that were held as varints or as attributes have no byte range of their own.
  if (bytes.kind === 'inline') return { file: model.file, offset: 0, length: bytes.bytes.length };
  return { file: bytes.source.name, offset: bytes.offset, length: bytes.length };
}
