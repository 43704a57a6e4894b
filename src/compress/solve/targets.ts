/**
 * Which weights of a plan an algorithm can choose the codes of: their layers, the grid or code book that their form stores, and how
 * many are left to the encoders, with the reason.
 *
 * A weight that is nothing but the matrix of products is `informed`: data says what it sees. Of any other (a table, a weight of a
 * subgraph or of a recurrent cell, filters in blocks that end within the channels) only the values are known.
 */

import { amount } from '../../core/amount.ts';
import { elementCount } from '../../core/shape.ts';
import type { OnnxModel } from '../../formats/onnx/model.ts';
import { findWeights, type Weight } from '../../formats/onnx/model.ts';
import type { Bnb4Operation, Operation } from '../../numerics/operation.ts';
import type { PackableOperation } from '../../numerics/pack-matrix.ts';
import { isTurned, plainGrid, storedCodebook, storedGrid } from '../../numerics/stored-grid.ts';
import type { Planned } from '../../planning/plan-onnx.ts';
import { findLayers, type Layer } from './layers.ts';
import type { LayerGrid } from './solve.ts';

export interface Target {
  readonly layer: Layer;
  readonly grid: LayerGrid;
  readonly task: number;
  readonly operation: PackableOperation | Bnb4Operation;
  /** Products say what the weight sees. */
  readonly informed: boolean;
}

export interface Targets {
  readonly targets: readonly Target[];
  /** Why weights are left to the encoders, and how many. */
  readonly left: readonly string[];
}

export function findTargets(model: OnnxModel, planned: Pick<Planned, 'weightTasks' | 'tasks'>): Targets {
  const weightTasks = planned.weightTasks ?? new Map<string, readonly number[]>();
  const layers = new Map(
    findLayers(model.proto, new Set(weightTasks.keys())).map((layer) => [layer.key, layer]),
  );
  const weights = new Map(findWeights(model.proto).map((weight) => [weight.key, weight]));
  const targets: Target[] = [];
  const reasons = new Map<string, number>();
  for (const [key, [id, ...more]] of weightTasks) {
    const weight = weights.get(key);
    const task = id === undefined || more.length > 0 ? undefined : planned.tasks[id];
    if (weight === undefined || task === undefined) {
      const reason = more.length > 0 ? 'stored in several forms' : 'converted first';
      reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
      continue;
    }
    const target = informedTarget(layers.get(key), task.operation) ?? plainTarget(weight, task.operation);
    if (target === undefined) {
      const reason = leftBecause(task.operation);
      reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    } else targets.push({ ...target, task: task.id });
  }
  const left = [...reasons].map(([reason, count]) => `${count} ${reason}`);
  if (left.length === 0 || targets.length === 0) return { targets, left: [] };
  const many = [...reasons.values()].reduce((sum, count) => sum + count, 0);
  return {
    targets,
    left: [
      `${many} of ${amount(weightTasks.size, 'weight')} ${many === 1 ? 'was' : 'were'} rounded to nearest: ${left.join(', ')}.`,
    ],
  };
}

type Found = Omit<Target, 'task'> | undefined;

function informedTarget(layer: Layer | undefined, operation: Operation): Found {
  if (layer === undefined) return undefined;
  if (operation.kind === 'bnb4') {
    const book = storedCodebook(operation, layer.turned);
    return book && fits(layer, book) ? { layer, grid: book, operation, informed: true } : undefined;
  }
  const grid = storedGrid(operation, layer.turned);
  if (grid === undefined || !fits(layer, grid) || !isPackable(operation)) return undefined;
  const { filters } = grid;
  if (filters !== undefined && layer.groups > 1) return undefined;
  return { layer: filters === undefined ? layer : { ...layer, filters }, grid, operation, informed: true };
}

function plainTarget(weight: Weight, operation: Operation): Found {
  const turned = isTurned(operation);
  const book = storedCodebook(operation, turned);
  const grid = book === undefined ? plainGrid(operation) : undefined;
  const shape = book ?? grid;
  if (shape === undefined || shape.outputs * shape.inputs !== elementCount(weight.shape)) return undefined;
  const layer: Layer = {
    key: weight.key,
    name: weight.name,
    weight,
    outputs: shape.outputs,
    inputs: shape.inputs,
    turned,
    filters: grid?.filters,
    products: [],
    groups: 1,
    stage: 0,
  };
  if (book !== undefined && operation.kind === 'bnb4')
    return { layer, grid: book, operation, informed: false };
  if (grid === undefined || !isPackable(operation)) return undefined;
  return { layer: { ...layer, turned: grid.turned }, grid, operation, informed: false };
}

function fits(
  { outputs, inputs }: Layer,
  grid: { readonly outputs: number; readonly inputs: number },
): boolean {
  return outputs === grid.outputs && inputs === grid.inputs;
}

function isPackable(operation: Operation): operation is PackableOperation {
  const { kind } = operation;
  return kind === 'matmul-nbits' || kind === 'qdq-block' || kind === 'gather-block' || kind === 'affine';
}

function leftBecause(operation: Operation): string {
  switch (operation.kind) {
    case 'convert':
    case 'scaled-convert':
      return 'stored as floats';
    case 'affine':
      if (operation.axis === null) return 'with one scale for the whole tensor';
      return 'with codes or scales that no algorithm here knows';
    default:
      return 'in another form';
  }
}
