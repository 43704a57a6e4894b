/**
 * Operators of com.microsoft that hold a block-quantized weight: MatMulNBits, MatMulBnb4, GatherBlockQuantized (docs/onnx.md
 * 3.1, 3.3, 3.4) → MatMul and Gather. Shapes of the parts vary between the versions of the tools ([N, kb] or flat), so their
 * element counts are what is checked.
 */

import type { ScaleDType } from '../../../numerics/operation.ts';
import type { GraphProto, NodeProto } from '../messages.ts';
import { intAttribute, makeNode, readInt } from '../rewrite/build.ts';
import type { Constant, Lookup } from './lookup.ts';
import {
  type Found,
  isScale,
  originalNodeName,
  type RestoreEmitter,
  refusal,
  storedWeight,
} from './stored-weight.ts';

/** A Reshape leaves the bytes as they are. */
const RESHAPE: ReadonlySet<string> = new Set(['Reshape']);

const NOT_CONSTANT = 'its weight is no constant';
const ODD_SHAPE = 'its parts have other sizes than its attributes say';

export function matchMatMulNBits(lookup: Lookup, graph: GraphProto, node: NodeProto): Found {
  const data = lookup.constant(graph, node.input[1], RESHAPE);
  const scales = lookup.constant(graph, node.input[2]);
  const zeroName = node.input[3] ?? '';
  const zeroPoints = lookup.constant(graph, zeroName);
  if (data === undefined || scales === undefined || (zeroName !== '' && zeroPoints === undefined)) {
    return refusal(node, NOT_CONSTANT);
  }
  if ((node.input[4] ?? '') !== '') return refusal(node, 'its rows are reordered (g_idx)');
  if (data.dtype !== 'uint8') return refusal(node, `its weight is packed as ${data.dtype}`);
  if (!isScale(scales)) return refusal(node, `its scales are ${scales.dtype}`);
  const real = zeroPoints !== undefined && zeroPoints.dtype === scales.dtype;
  if (zeroPoints !== undefined && zeroPoints.dtype !== 'uint8' && !real) {
    return refusal(node, `its zero points are ${zeroPoints.dtype}`);
  }
  const rows = readInt(node, 'K', 0);
  const columns = readInt(node, 'N', 0);
  const blockSize = readInt(node, 'block_size', 0);
  const bits = readInt(node, 'bits', 4);
  if (bits !== 2 && bits !== 4 && bits !== 8) return refusal(node, `it has ${bits} bits`);
  if (readInt(node, 'weight_prepacked', 0) !== 0)
    return refusal(node, 'its weight is packed for one machine');
  const blocks = Math.ceil(rows / blockSize);
  const fits =
    blocks * columns > 0 &&
    data.count === (columns * blocks * blockSize * bits) / 8 &&
    scales.count === columns * blocks &&
    (zeroPoints === undefined ||
      zeroPoints.count === columns * (real ? blocks : Math.ceil((blocks * bits) / 8)));
  if (!fits) return refusal(node, ODD_SHAPE);
  const weight = storedWeight({
    node,
    data,
    dtype: scales.dtype,
    parts: { packed: data, scales, zeroPoints },
    operation: {
      kind: 'matmul-nbits',
      rows,
      columns,
      transposed: false,
      bits,
      blockSize,
      scaleType: scales.dtype,
      zeroPoints: real ? 'real' : zeroPoints !== undefined,
      to: 'f32',
    },
  });
  return {
    kind: 'use',
    weights: [weight],
    node,
    graph,
    pattern: data.through,
    replace: (emit) => productNodes(emit, node, node.input[0] ?? '', emit.value(0), node.input[5] ?? ''),
  };
}

export function matchMatMulBnb4(lookup: Lookup, graph: GraphProto, node: NodeProto): Found {
  const data = lookup.constant(graph, node.input[1], RESHAPE);
  const absmax = lookup.constant(graph, node.input[2]);
  if (data === undefined || absmax === undefined) return refusal(node, NOT_CONSTANT);
  if (data.dtype !== 'uint8') return refusal(node, `its weight is packed as ${data.dtype}`);
  if (!isScale(absmax)) return refusal(node, `its scales are ${absmax.dtype}`);
  if (readInt(node, 'transB', 1) === 0) return refusal(node, 'its weight is stored untransposed');
  const rows = readInt(node, 'K', 0);
  const columns = readInt(node, 'N', 0);
  const blockSize = readInt(node, 'block_size', 0);
  const elements = rows * columns;
  const fits =
    elements > 0 &&
    data.count === Math.ceil(elements / 2) &&
    absmax.count === Math.ceil(elements / blockSize);
  if (!fits) return refusal(node, ODD_SHAPE);
  const weight = storedWeight({
    node,
    data,
    dtype: absmax.dtype,
    parts: { packed: data, absmax },
    operation: {
      kind: 'bnb4',
      rows,
      columns,
      transposed: false,
      codebook: readInt(node, 'quant_type', 1) === 0 ? 'fp4' : 'nf4',
      blockSize,
      scaleType: absmax.dtype,
      to: 'f32',
    },
  });
  return {
    kind: 'use',
    weights: [weight],
    node,
    graph,
    pattern: data.through,
    replace: (emit) => productNodes(emit, node, node.input[0] ?? '', emit.value(0), ''),
  };
}

/** MatMul into the output of `node`, with an Add where there is a bias. */
export function productNodes(
  emit: RestoreEmitter,
  node: NodeProto,
  a: string,
  b: string,
  bias: string,
): NodeProto[] {
  const output = node.output[0] ?? '';
  const wanted = originalNodeName(node);
  const name = wanted === '' ? '' : emit.uniqueName(wanted);
  if (bias === '') return [makeNode('MatMul', [a, b], [output], { name })];
  const product = emit.uniqueName(`${output}_product`);
  return [
    makeNode('MatMul', [a, b], [product], { name }),
    makeNode('Add', [product, bias], [output], { name: emit.uniqueName(`${output}_bias_add`) }),
  ];
}

export function matchGatherBlockQuantized(lookup: Lookup, graph: GraphProto, node: NodeProto): Found {
  const data = lookup.constant(graph, node.input[0], RESHAPE);
  const scales = lookup.constant(graph, node.input[2], RESHAPE);
  const zeroName = node.input[3] ?? '';
  const zeroPoints = lookup.constant(graph, zeroName, RESHAPE);
  if (data === undefined || scales === undefined || (zeroName !== '' && zeroPoints === undefined)) {
    return refusal(node, NOT_CONSTANT);
  }
  if (!isScale(scales)) return refusal(node, `its scales are ${scales.dtype}`);
  const table = tableOf(node, data, scales, zeroPoints);
  if (typeof table === 'string') return refusal(node, table);
  const { rows, columns, lead } = table;
  const weight = storedWeight({
    node,
    data,
    dtype: scales.dtype,
    shape: [...lead, columns],
    parts: { data, scales, zeroPoints },
    operation: {
      kind: 'gather-block',
      rows,
      columns,
      bits: table.bits,
      storage: data.dtype === 'uint8' ? 'uint8' : 'typed',
      signed: data.dtype === 'int4',
      blockSize: table.blockSize,
      scaleType: scales.dtype,
      zeroPoints: zeroPoints !== undefined,
      to: 'f32',
    },
  });
  const axis = readInt(node, 'gather_axis', 0);
  return {
    kind: 'use',
    weights: [weight],
    node,
    graph,
    pattern: [...data.through, ...scales.through, ...(zeroPoints?.through ?? [])],
    replace: (emit) => {
      const wanted = originalNodeName(node);
      return [
        makeNode('Gather', [emit.value(0), node.input[1] ?? ''], [node.output[0] ?? ''], {
          name: wanted === '' ? '' : emit.uniqueName(wanted),
          attributes: axis === 0 ? [] : [intAttribute('axis', axis)],
        }),
      ];
    },
  };
}

interface Table {
  readonly rows: number;
  readonly columns: number;
  readonly bits: 4 | 8;
  readonly blockSize: number;
  /** Dimensions in front of the columns. */
  readonly lead: readonly number[];
}

/** The table as [rows, columns]; a reason where it is none. */
function tableOf(
  node: NodeProto,
  data: Constant,
  scales: Constant & { readonly dtype: ScaleDType },
  zeroPoints: Constant | undefined,
): Table | string {
  const bits = readInt(node, 'bits', 4);
  const blockSize = readInt(node, 'block_size', 128);
  const packed = data.dtype === 'uint8';
  if (!packed && data.dtype !== 'int4' && data.dtype !== 'uint4') return `its table is ${data.dtype}`;
  if (bits !== 4 && bits !== 8) return `it has ${bits} bits`;
  if (!packed && bits !== 4) return ODD_SHAPE;
  // Behind a Reshape stands the weight of a MatMulNBits, [N, blocks, bytes]: a table of N rows.
  const reshaped = data.through.some(({ opType }) => opType === 'Reshape');
  const lead = reshaped ? data.shape.slice(0, 1) : data.shape.slice(0, -1);
  const rank = lead.length + 1;
  const quantizeAxis = readInt(node, 'quantize_axis', 1);
  if ((quantizeAxis < 0 ? quantizeAxis + rank : quantizeAxis) !== rank - 1) {
    return 'its blocks do not lie along the last axis';
  }
  const rows = lead.reduce((product, dim) => product * dim, 1);
  if (rows * blockSize === 0 || data.count === 0 || data.count % rows !== 0) return ODD_SHAPE;
  const columns = packed ? ((data.count / rows) * 8) / bits : data.count / rows;
  const blocks = Math.ceil(columns / blockSize);
  const zeros = packed ? rows * Math.ceil((blocks * bits) / 8) : rows * blocks;
  const fits = scales.count === rows * blocks && (zeroPoints === undefined || zeroPoints.count === zeros);
  return fits ? { rows, columns, bits, blockSize, lead } : ODD_SHAPE;
}
