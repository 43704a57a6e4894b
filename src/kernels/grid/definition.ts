/**
 * The searches of a grid in plain TypeScript: they define every result. One group after the other; arithmetic in group.ts.
 *
 * Half-quadratic splitting: H. Badri and A. Shaji, "Half-Quadratic Quantization of Large Machine Learning Models" (2023). The scale
 * stays that of the range; the zero alternates with the codes: e = w − ŵ is shrunk towards 0 by the proximal map of |e|^p,
 * sign(e) · max(|e| − |e|^(p−1) / β, 0), and the zero becomes the mean of code − (w − shrunk) / scale; β grows by κ. A group stops
 * when its mean |e| no longer falls; the best grid seen is kept.
 */

import type { GridKernels, GridShape, GridTarget, HalfQuadraticOptions } from './grid.ts';
import { groupsOf } from './grid.ts';
import {
  codeOf,
  constantGrid,
  encodeGroup,
  type GroupGrid,
  nearest,
  plainGrid,
  reciprocal,
  storedScale,
} from './group.ts';
import { searchGroup } from './search.ts';

const f = Math.fround;

/** Calls `visit` with the values of every group, its first column and its place in `scales` and `zeros`. */
function forEachGroup(
  values: Float32Array,
  shape: GridShape,
  visit: (x: Float32Array, column: number, group: number, at: number) => void,
): void {
  const { rows, columns, groupSize } = shape;
  const groups = groupsOf(shape);
  for (let row = 0; row < rows; row++) {
    for (let g = 0; g < groups; g++) {
      const column = g * groupSize;
      const at = row * columns + column;
      const length = Math.min(groupSize, columns - column);
      visit(values.subarray(at, at + length), column, row * groups + g, at);
    }
  }
}

function halfQuadraticGroup(x: Float32Array, shape: GridShape, options: HalfQuadraticOptions): GroupGrid {
  const top = 2 ** shape.bits - 1;
  const count = x.length;
  let low = x[0]!;
  let high = x[0]!;
  for (let i = 1; i < count; i++) {
    if (x[i]! < low) low = x[i]!;
    if (x[i]! > high) high = x[i]!;
  }
  const scale = storedScale(f(f(high - low) / top), shape.half);
  // Equal values: one code of their own size holds them exactly.
  if (scale === 0) return constantGrid(low, shape);
  const inverse = reciprocal(scale);
  let zero = f(-low * inverse);
  if (options.roundStart) zero = nearestWhole(zero);
  let best = plainGrid(scale, zero);
  let bestError = Number.POSITIVE_INFINITY;
  let beta = options.beta;
  for (let iteration = 0; iteration <= options.iterations; iteration++) {
    let error = 0;
    let sum = 0;
    for (let i = 0; i < count; i++) {
      const q = codeOf(x[i]!, inverse, zero, top);
      const e = f(x[i]! - f(f(q - zero) * scale));
      const magnitude = Math.abs(e);
      error = f(error + magnitude);
      const shrunk = Math.max(0, f(magnitude - f(magnitude ** (options.norm - 1) / beta)));
      sum = f(sum + f(q - f(f(x[i]! - (e < 0 ? -shrunk : shrunk)) * inverse)));
    }
    if (!(error < bestError)) break;
    bestError = error;
    best = plainGrid(scale, zero);
    zero = f(sum / count);
    beta = f(beta * options.kappa);
  }
  return best;
}

/** Beyond 2^22 an f32 is as good as whole. */
function nearestWhole(value: number): number {
  return Math.abs(value) < 2 ** 22 ? nearest(value) : value;
}

function write(
  values: Float32Array,
  shape: GridShape,
  target: GridTarget,
  grid: (x: Float32Array, column: number) => GroupGrid,
): void {
  const top = 2 ** shape.bits - 1;
  forEachGroup(values, shape, (x, column, group, at) => {
    const { scale, zero, inverse, shift } = grid(x, column);
    target.scales[group] = scale;
    target.zeros[group] = zero;
    encodeGroup(x, inverse, shift, top, target.codes, at);
  });
}

/** The kernels that define every result. */
export const gridDefinition: GridKernels = {
  backend: 'reference',
  search(values, shape, importance, options, target) {
    write(values, shape, target, (x, column) =>
      searchGroup(x, importance?.subarray(column, column + x.length), shape, options),
    );
  },
  halfQuadratic(values, shape, options, target) {
    write(values, shape, target, (x) => halfQuadraticGroup(x, shape, options));
  },
  encode(values, shape, target) {
    const top = 2 ** shape.bits - 1;
    forEachGroup(values, shape, (x, _column, group, at) =>
      encodeGroup(x, reciprocal(target.scales[group]!), target.zeros[group]!, top, target.codes, at),
    );
  },
};
