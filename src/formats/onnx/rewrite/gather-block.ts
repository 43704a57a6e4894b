/**
 * Gather of a constant table → com.microsoft GatherBlockQuantized (docs/onnx.md 3.4): 4-bit tables as INT4/UINT4 tensors, 8-bit ones as
 * uint8 with the `bits` attribute. Rows are cut into blocks; only the rows that are looked up are ever dequantized.
 */

import type { GatherBlockOperation } from '../../../numerics/operation.ts';
import { CONTRIB, intAttribute, makeNode, readInt } from './build.ts';
import { castIsland, type RewriteContext } from './context.ts';
import { type Form, type GatherSettings, OK, refuse, scaleTypeOf, weightType } from './form.ts';
import type { ResolvedUse } from './uses.ts';

export const gatherBlock: Form<GatherSettings> = {
  check(weight, { role, node }, { bits, blockSize, symmetric }, abilities) {
    if (role.kind !== 'gather') return refuse(`${node.opType} does not read it as a table`);
    if (weight.shape.length !== 2)
      return refuse(`a table of rank ${weight.shape.length} has no block-quantized Gather`);
    if (readInt(node, 'axis', 0) !== 0) return refuse('Gather along another axis than the first');
    if (!abilities.gatherBlock.bits.includes(bits))
      return refuse(`the target has no ${bits}-bit GatherBlockQuantized`);
    const columns = weight.shape[1] ?? 0;
    if (columns === 0) return refuse('it is empty');
    const blocks = Math.ceil(columns / blockSize);
    if (!symmetric && bits === 4 && blocks % 2 === 1 && !abilities.gatherBlock.oddZeroPoints) {
      return refuse('the target reads 4-bit zero points of an odd number of blocks wrongly');
    }
    return OK;
  },

  apply(context, weight, uses, { bits, blockSize, symmetric }) {
    const [rows = 0, columns = 0] = weight.shape;
    for (const use of uses) {
      const half = use.dtype === 'f16';
      const operation: GatherBlockOperation = {
        kind: 'gather-block',
        from: weightType(weight),
        rows,
        columns,
        bits,
        blockSize,
        symmetric,
        storage: bits === 4 ? 'typed' : 'uint8',
        scaleType: scaleTypeOf(use.dtype),
      };
      const parts = context.addTask(weight, operation, {
        data: `${weight.name}_Q${bits}`,
        scales: `${weight.name}_scales`,
        zeroPoints: `${weight.name}_zero_points`,
      });
      gatherNodes(context, use, parts, bits === 4 ? undefined : bits, blockSize, half);
    }
  },
};

/** Replaces a Gather; `bits` is written only where the data is packed bytes. */
export function gatherNodes(
  context: RewriteContext,
  use: ResolvedUse,
  parts: { readonly data: string; readonly scales: string; readonly zeroPoints: string },
  bits: number | undefined,
  blockSize: number,
  half: boolean,
): void {
  context.useDomain(CONTRIB);
  const { node } = use;
  context.replaceNode(node, () => {
    const inputs = [
      parts.data,
      node.input[1] ?? '',
      parts.scales,
      ...(parts.zeroPoints === '' ? [] : [parts.zeroPoints]),
    ];
    const name = (node.name ?? '') === '' ? '' : context.uniqueName(`${node.name}_Q${bits ?? 4}`);
    const gather = makeNode('GatherBlockQuantized', inputs, [...node.output], {
      name,
      domain: CONTRIB,
      attributes: [
        intAttribute('gather_axis', 0),
        intAttribute('quantize_axis', 1),
        intAttribute('block_size', blockSize),
        ...(bits === undefined ? [] : [intAttribute('bits', bits)]),
      ],
    });
    return half || use.dtype === 'f32' ? [gather] : castIsland(context, gather, [], [0], use.dtype);
  });
}
