/**
 * The pass `fold-batchnorm`: normalizations with constant statistics, and constant factors and offsets for each channel, go into the
 * products around them (formats/onnx/fold/batchnorm.ts). The grid of a weight then covers what really is multiplied.
 */

import { dtypeOfNumber } from '../../formats/onnx/data-types.ts';
import {
  type FoldableGraph,
  type FoldedProduct,
  foldBehindProducts,
} from '../../formats/onnx/fold/batchnorm.ts';
import { foldAheadOfProducts } from '../../formats/onnx/fold/batchnorm-ahead.ts';
import { foldableGraph } from './foldable.ts';
import type { PreparationPass, PreparedPlace } from './pass.ts';

export const foldBatchnorm: PreparationPass = async ({ model }) => {
  const graph = foldableGraph(model);
  const folded = [
    ...(await foldBehindProducts(graph, ['Conv', 'ConvTranspose', 'Gemm', 'MatMul'])),
    ...(await foldAheadOfProducts(graph)),
  ];
  const nodes = folded.reduce((sum, { operators }) => sum + operators.length, 0);
  const summary =
    folded.length === 0
      ? `no constant factors or normalizations stand next to products${hasHalfWeights(graph) ? ' of float32 weights' : ''}`
      : `${nodes} operators went into the weights and biases of ${folded.length} products`;
  return { summary, places: folded.map(placeOf) };
};

/** Those are not folded: what a norm evens out would be rounded to half precision once more. */
function hasHalfWeights({ graph }: FoldableGraph): boolean {
  return graph.initializer.some(({ dataType, dims }) => {
    const dtype = dtypeOfNumber(dataType);
    return dims.length > 1 && (dtype === 'f16' || dtype === 'bf16');
  });
}

function placeOf({ weight, operators, before, after }: FoldedProduct): PreparedPlace {
  return {
    at: weight,
    what: `took in ${operators.join(', ')}; largest weight ${before.toPrecision(3)}, ${after.toPrecision(3)} after`,
  };
}
