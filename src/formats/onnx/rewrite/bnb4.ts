/**
 * MatMul and Gemm with a constant matrix → com.microsoft MatMulBnb4 (docs/onnx.md 3.3): NF4 or FP4 codes with one absmax
 * for each block of the flattened transposed matrix. Names as onnxruntime's quantizer gives them: w_Bnb4, w_absmax.
 */

import type { Bnb4Operation } from '../../../numerics/operation.ts';
import { CONTRIB, intAttribute, makeNode } from './build.ts';
import { castIsland } from './context.ts';
import { type Bnb4Settings, type Form, matrixView, OK, refuse, scaleTypeOf, weightType } from './form.ts';
import { replaceProduct } from './product.ts';

/** `quant_type` of the operator. */
const QUANT_TYPE = { fp4: 0, nf4: 1 } as const;

export const bnb4: Form<Bnb4Settings> = {
  check(weight, use) {
    const view = matrixView(weight, use);
    return typeof view === 'string' ? refuse(view) : OK;
  },

  apply(context, weight, uses, { codebook, blockSize }) {
    context.useDomain(CONTRIB);
    for (const use of uses) {
      const view = matrixView(weight, use);
      if (typeof view === 'string') continue;
      const operation: Bnb4Operation = {
        kind: 'bnb4',
        from: weightType(weight),
        rows: view.rows,
        columns: view.columns,
        transposed: view.transposed,
        codebook,
        blockSize,
        scaleType: scaleTypeOf(use.dtype),
      };
      const parts = context.addTask(weight, operation, {
        packed: `${weight.name}_Bnb4`,
        absmax: `${weight.name}_absmax`,
      });
      replaceProduct(context, use, view, '_Bnb4', (a, output, name) => {
        const node = makeNode('MatMulBnb4', [a, parts.packed, parts.absmax], [output], {
          name,
          domain: CONTRIB,
          attributes: [
            intAttribute('K', view.rows),
            intAttribute('N', view.columns),
            intAttribute('block_size', blockSize),
            intAttribute('quant_type', QUANT_TYPE[codebook]),
          ],
        });
        const native = use.dtype === 'f32' || use.dtype === 'f16';
        return native ? [node] : castIsland(context, node, [0], [0], use.dtype);
      });
    }
  },
};
