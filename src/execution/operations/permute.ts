/** Transposition of one- or two-byte codes of any rank, as numpy.transpose: result[i] has the source axis permutation[i]. */

import type { Shape } from '../../core/shape.ts';

export interface Permuted {
  readonly codes: Uint8Array;
  readonly shape: Shape;
}

export function permute(
  codes: Uint8Array,
  shape: Shape,
  permutation: readonly number[],
  elementSize: 1 | 2,
): Permuted {
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
  const dims = permutation.map((axis) => shape[axis] ?? 1);
  const steps = permutation.map((axis) => strides[axis] ?? 0);
  const target = new Uint8Array(codes.length);
  const index = dims.map(() => 0);
  const last = dims.length - 1;
  const inner = dims[last] ?? 1;
  const innerStep = steps[last] ?? 0;
  let base = 0;
  for (let out = 0; out < codes.length / elementSize; out += inner) {
    for (let i = 0, from = base; i < inner; i++, from += innerStep) {
      if (elementSize === 1) target[out + i] = codes[from]!;
      else {
        target[(out + i) * 2] = codes[from * 2]!;
        target[(out + i) * 2 + 1] = codes[from * 2 + 1]!;
      }
    }
    for (let axis = last - 1; axis >= 0; axis--) {
      index[axis]! += 1;
      base += steps[axis]!;
      if (index[axis]! < dims[axis]!) break;
      base -= dims[axis]! * steps[axis]!;
      index[axis] = 0;
    }
  }
  return { codes: target, shape: dims };
}
