/**
 * The codes of a solved mode in the plan of the same mode with some layers kept: solving takes longer than all else, and a search
 * would do it for every try. The layers that are left keep the codes that were found while all were quantized; what they make up
 * for in a kept layer is small, and the loss of the result is measured as it is.
 */

import type { Segment } from '../../formats/layout.ts';
import type { PartRole } from '../../numerics/operation.ts';
import type { PlannedMode } from '../run-modes.ts';

/** One mode as it was planned and as it was solved. */
export interface Solved {
  readonly before: PlannedMode;
  readonly after: PlannedMode;
}

type Parts = ReadonlyMap<PartRole, Segment>;

/** Undefined where solving changed more than codes, so that it has to be done again. */
export function reuseCodes({ before, after }: Solved, planned: PlannedMode): PlannedMode | undefined {
  const codes = solvedParts({ before, after });
  if (codes === undefined || after.solution === undefined || planned.weightTasks === undefined)
    return undefined;
  const parts = new Map<number, Parts>();
  const left = new Set<string>();
  for (const [key, tasks] of planned.weightTasks) {
    const earlier = before.weightTasks?.get(key);
    left.add(key);
    for (const [index, task] of tasks.entries()) {
      const known = codes.get(earlier?.[index] ?? -1);
      if (known === undefined) continue;
      if (operationOf(planned, task) !== operationOf(before, earlier?.[index])) return undefined;
      parts.set(task, known);
    }
  }
  const names = new Set(planned.plan.tensors.filter(({ key }) => left.has(key)).map(({ name }) => name));
  const { solved, weights, notes } = after.solution;
  return {
    ...planned,
    files: planned.files.map((file) => ({
      ...file,
      segments: file.segments.map((segment) => {
        const held = segment.kind === 'part' ? parts.get(segment.task)?.get(segment.role) : undefined;
        return held === undefined ? segment : { ...held, offset: segment.offset };
      }),
    })),
    tasks: planned.tasks.filter(({ id }) => !parts.has(id)),
    solution: {
      weights: weights.filter(({ tensor }) => names.has(tensor)),
      notes: [...notes, 'The codes of the other layers are those that were found with no layer kept.'],
      solved: { ...solved, layers: solved.layers.filter(({ layer }) => names.has(layer)) },
    },
  };
}

/** By task of the plan: what solving put in the place of its parts. */
function solvedParts({ before, after }: Solved): Map<number, Parts> | undefined {
  const found = new Map<number, Map<PartRole, Segment>>();
  for (const [at, file] of before.files.entries()) {
    const other = after.files[at];
    if (other === undefined || other.segments.length !== file.segments.length) return undefined;
    for (const [index, segment] of file.segments.entries()) {
      const now = other.segments[index];
      if (now === undefined || now.offset !== segment.offset) return undefined;
      if (now === segment) continue;
      if (segment.kind !== 'part') return undefined;
      if (now.kind === 'part') continue;
      found.set(
        segment.task,
        (found.get(segment.task) ?? new Map<PartRole, Segment>()).set(segment.role, now),
      );
    }
  }
  return found;
}

function operationOf({ tasks }: PlannedMode, id: number | undefined): string {
  return JSON.stringify(tasks.find((task) => task.id === id)?.operation);
}
