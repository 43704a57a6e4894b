/**
 * Leaving layers out: which number each layer gets, and what becomes of lists in the metadata that have a value for
 * each layer.
 *
 * Numbers follow llama-quantize: layers below the first pruned one keep theirs (gaps included), those above it follow without
 * gaps. Lists of exactly `block_count` values under the architecture's own keys lose the values of the pruned layers;
 * llama-quantize leaves them whole, and such a file (heads per layer of a hybrid model, say) cannot be loaded.
 */

import type { GgufArrayEntry, GgufItem, GgufModel } from '../../formats/gguf/gguf.ts';

const LAYER = /blk\.(\d{1,9})\./;

export interface LayerNumbers {
  /** Name in the output, or undefined for a weight of a pruned layer. */
  rename(name: string): string | undefined;
  /** Layers that are left, as `block_count` counts them. */
  readonly count: number;
  /** Layers that the file has and that go. */
  readonly pruned: readonly number[];
}

/** Numbers after pruning. `pruned` in any order. */
export function renumberLayers(names: readonly string[], pruned: readonly number[]): LayerNumbers {
  const gone = new Set(pruned);
  const first = pruned.reduce((least, layer) => Math.min(least, layer), Number.POSITIVE_INFINITY);
  const present = new Set<number>();
  for (const name of names) {
    const layer = layerIn(name);
    if (layer !== undefined) present.add(layer);
  }
  const numbers = new Map<number, number>();
  let next = 0;
  for (const layer of [...present].sort((a, b) => a - b)) {
    if (gone.has(layer)) continue;
    const number = layer < first ? layer : next;
    numbers.set(layer, number);
    next = number + 1;
  }
  return {
    rename(name) {
      const layer = layerIn(name);
      if (layer === undefined) return name;
      const number = numbers.get(layer);
      return number === undefined ? undefined : name.replace(LAYER, `blk.${number}.`);
    },
    count: next,
    pruned: [...gone].filter((layer) => present.has(layer)).sort((a, b) => a - b),
  };
}

function layerIn(name: string): number | undefined {
  const digits = LAYER.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** Lists whose length says nothing about layers, though it may happen to be the same. */
const NEVER_PER_LAYER = ['.rope.dimension_sections', '.target_layers', '.ple.layers'];

/** Whether a list has a value for each layer. */
export function isPerLayer(
  entry: GgufArrayEntry,
  architecture: string | undefined,
  layers: number | undefined,
): boolean {
  if (architecture === undefined || !entry.key.startsWith(`${architecture}.`)) return false;
  return entry.count === layers && !NEVER_PER_LAYER.some((end) => entry.key.endsWith(end));
}

/** The list without the values of pruned layers. */
export async function cutPerLayer(
  model: GgufModel,
  entry: GgufArrayEntry,
  pruned: readonly number[],
): Promise<GgufItem> {
  const values = await model.readArray(entry);
  const gone = new Set(pruned);
  return {
    kind: 'array',
    key: entry.key,
    elementType: entry.elementType,
    values: values.filter((_, layer) => !gone.has(layer)),
  };
}
