/** How many tensors, weights and bytes each type takes: the composition of a file, as inspecting and planning show it. */

import type { GgmlType } from '../../core/ggml-types.ts';

export interface TypeShare {
  readonly type: GgmlType;
  readonly tensors: number;
  readonly weights: number;
  readonly bytes: number;
}

/** The largest share first. */
export function byBytes(
  tensors: readonly { readonly type: GgmlType; readonly weights: number; readonly bytes: number }[],
): TypeShare[] {
  const shares = new Map<GgmlType, TypeShare>();
  for (const { type, weights, bytes } of tensors) {
    const known = shares.get(type) ?? { type, tensors: 0, weights: 0, bytes: 0 };
    shares.set(type, {
      type,
      tensors: known.tensors + 1,
      weights: known.weights + weights,
      bytes: known.bytes + bytes,
    });
  }
  return [...shares.values()].sort((a, b) => b.bytes - a.bytes);
}
