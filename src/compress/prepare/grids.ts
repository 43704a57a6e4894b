/** The grids that a plan stores its weights on, for passes that look ahead to them. */

import type { GridOptions } from '../../algorithms/matrix.ts';
import { storedGrid } from '../../numerics/stored-grid.ts';
import type { Planned } from '../../planning/plan-onnx.ts';

/**
 * By the key of the weight and whether it is stored [inputs, outputs]; undefined where the plan stores it in another form, or as it is.
 */
export type GridOf = (key: string, turned: boolean) => Promise<GridOptions | undefined>;

/** @param plan Made when the first grid is asked for. */
export function gridsOf(plan: () => Promise<Planned>): GridOf {
  let made: Promise<Planned> | undefined;
  return async (key, turned) => {
    made ??= plan();
    const { weightTasks, tasks } = await made;
    const [id, ...others] = weightTasks?.get(key) ?? [];
    const task = id === undefined || others.length > 0 ? undefined : tasks[id];
    return task && storedGrid(task.operation, turned);
  };
}
