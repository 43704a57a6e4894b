/**
 * The order of the weights in an output: by layer, then by name byte for byte (so the output comes before the embeddings, and
 * both before layer 0); with `keepSplit` the order of the input, part by part.
 */

import type { GgufTensor } from '../../formats/gguf/gguf.ts';
import { layerOf } from './types.ts';

/** A weight under its output name, with trailing dimensions of one value dropped. */
export interface ArrangedTensor {
  readonly source: GgufTensor;
  readonly name: string;
  readonly shape: readonly number[];
}

export function arrange(
  tensors: readonly GgufTensor[],
  rename: (name: string) => string | undefined,
  keepSplit: boolean,
): ArrangedTensor[] {
  const sorted = keepSplit
    ? [...tensors].sort((a, b) => a.shard - b.shard || a.data.offset - b.data.offset)
    : byLayerAndName(tensors);
  return sorted.flatMap((source) => {
    const name = rename(source.name);
    return name === undefined ? [] : [{ source, name, shape: trimmed(source.shape) }];
  });
}

export function byLayerAndName(tensors: readonly GgufTensor[]): GgufTensor[] {
  const encoder = new TextEncoder();
  return tensors
    .map((tensor) => ({
      tensor,
      layer: layerOf(tensor.name) ?? -1,
      name: encoder.encode(tensor.name),
    }))
    .sort((a, b) => a.layer - b.layer || compareBytes(a.name, b.name))
    .map(({ tensor }) => tensor);
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return a.length - b.length;
}

function trimmed(shape: readonly number[]): readonly number[] {
  let dimensions = Math.max(1, shape.length);
  while (dimensions > 1 && shape[dimensions - 1] === 1) dimensions--;
  return shape.length === 0 ? [1] : shape.slice(0, dimensions);
}
