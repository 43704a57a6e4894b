/**
 * Sums that are larger than the product that goes into them: the other operand broadcasts it, a row of the product stands in several rows
 * of the sum, and there is no one goal for it. Shapes are known only when the model runs, so it is asked where sums did not fit.
 */

import { pruneToOutputs } from '../../formats/onnx/taps/prune.ts';
import { createTapGraph } from '../../formats/onnx/taps/tap-graph.ts';
import type { Runtime, RuntimeTensor } from '../../runtime/runtime.ts';
import type { Sample } from '../data/dataset.ts';
import { tensorValues } from '../data/tensor-values.ts';
import type { Product } from './products.ts';
import { type CalibrationModel, copyModel, openTapped } from './tapped-model.ts';

/** Products whose sums have other rows than they have themselves, on this sample. */
export async function broadcastProducts(
  model: CalibrationModel,
  sample: Sample,
  products: readonly Product[],
  { runtime, threads }: { readonly runtime: Runtime; readonly threads?: number | undefined },
): Promise<Product[]> {
  const asked = products.flatMap((product) =>
    product.sum === undefined ? [] : [{ product, ...product.sum }],
  );
  if (asked.length === 0) return [];
  const copy = await copyModel(model);
  pruneToOutputs(copy, [...new Set(asked.flatMap(({ product, name }) => [product.input, name]))]);
  const taps = createTapGraph(copy);
  const sizeOf = (name: string): string => {
    const size = taps.node('Size', [name]);
    taps.output(size);
    return size;
  };
  const sizes = asked.map((one) => ({ ...one, own: sizeOf(one.product.input), whole: sizeOf(one.name) }));
  await using session = await openTapped(taps.finish(), runtime, { optimize: false, threads });
  const found = await session.run(sample);
  return sizes.flatMap(({ product, outputs, own, whole }) => {
    const rows = numberIn(found.get(own)) / product.inputs;
    return rows === numberIn(found.get(whole)) / outputs ? [] : [product];
  });
}

function numberIn(tensor: RuntimeTensor | undefined): number {
  return tensor === undefined ? 0 : (tensorValues(tensor)[0] ?? 0);
}
