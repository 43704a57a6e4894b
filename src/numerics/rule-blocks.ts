/**
 * Block quantization by the rule of an ONNX operator form (docs/onnx.md 3.1, 3.2, 3.4), through the kernels that also write
 * the files: scale from the signed extreme (it may be negative), codes by the rule's own rounding. Blocks along the last
 * axis go to the kernel in one call; blocks along another axis are gathered one by one.
 */

import type { Shape } from '../core/shape.ts';
import type { BlockRule, Kernels } from '../kernels/kernels.ts';
import { packCodes } from './codes.ts';
import { gatherGroup, layOutGroups, scatterGroup } from './granularity.ts';
import type { QuantizedData } from './quantize-tensor.ts';
import type { ResolvedScheme } from './scheme.ts';

export function quantizeByRule(
  values: Float32Array,
  shape: Shape,
  scheme: ResolvedScheme,
  rule: BlockRule,
  kernels: Kernels,
): QuantizedData {
  const { row, granularity, symmetric, scaleType } = scheme;
  const layout = layOutGroups(shape, granularity);
  const codes = row.codeArray(values.length);
  const scales = new Float32Array(layout.groups);
  const zeroCodes = new Uint8Array(symmetric ? 0 : layout.groups);
  const options = {
    rule,
    bits: blockBits(row.bits),
    blockSize: Math.max(1, layout.largest),
    symmetric,
    scaleType,
  } as const;
  if (layout.groups > 0 && layout.group(0).step === 1) {
    const length = shape.at(-1) ?? 1;
    const bytes = new Uint8Array(codes.buffer);
    kernels.quantizeRowBlocks(values, values.length / length, length, options, bytes, scales, zeroCodes);
  } else {
    const scratch = new Float32Array(layout.largest);
    const scratchCodes = new Uint8Array(layout.largest);
    for (let g = 0; g < layout.groups; g++) {
      const group = layout.group(g);
      const members = gatherGroup(values, group, scratch);
      const [scale, zero] = [scales.subarray(g, g + 1), zeroCodes.subarray(g, symmetric ? g : g + 1)];
      kernels.quantizeRowBlocks(members, 1, group.length, options, scratchCodes, scale, zero);
      scatterGroup(scratchCodes, group, codes);
    }
  }
  return {
    encoding: row.id,
    shape: [...shape],
    granularity,
    data: packCodes(row, codes, kernels),
    scales,
    scaleShape: layout.scaleShape,
    scaleType,
    zeroPoints: symmetric ? undefined : Int32Array.from(zeroCodes),
    implicitZeroPoint: row.signed ? 0 : 2 ** (row.bits - 1),
    tensorScale: 1,
    formula: 'round',
  };
}

/** Narrows a width that resolveScheme has checked. */
function blockBits(bits: number): 2 | 4 | 8 {
  return bits === 2 ? 2 : bits === 4 ? 4 : 8;
}
