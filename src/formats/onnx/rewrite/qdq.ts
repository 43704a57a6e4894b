/**
 * Weight-only DequantizeLinear in front of any operator: the weight's name is made by a DequantizeLinear at the head
 * of its graph, so no use changes, in whatever subgraph it is. Computation stays in float.
 *
 * The ai.onnx operator knows scales along an axis since opset 13, f16 scales since 19, int4 and blocks since 21. Where the
 * model's opset is lower and cannot be raised, com.microsoft's DequantizeLinear serves (tensor and axis, no blocks:
 * those become channels). Blocks of a convolution run along its input channels, separately for every place of the filter;
 * one that cannot have them gets 8 bits in channels, for a 4-bit scale over a whole filter spoils it. An int8 table that only Gather reads is looked up first and dequantized row by row. Names as onnxruntime's: w_quantized, w_scale, w_zero_point; blocked: w_DQ_Q4, w_DQ_scales.
 */

import { DTYPES } from '../../../core/dtype.ts';
import type { AffineOperation, QdqBlockOperation } from '../../../numerics/operation.ts';
import type { NodeProto } from '../messages.ts';
import type { Weight } from '../model.ts';
import { CONTRIB, intAttribute, makeCast, makeNode, readInt } from './build.ts';
import { castIsland, type RewriteContext } from './context.ts';
import {
  type Form,
  type FormAbilities,
  matrixView,
  OK,
  type QdqSettings,
  refuse,
  scaleTypeOf,
  type Verdict,
  weightType,
} from './form.ts';
import type { ResolvedUse } from './uses.ts';

export const qdq: Form<QdqSettings> = {
  check(weight, use, settings, abilities): Verdict {
    if (weight.shape.some((dim) => dim === 0)) return refuse('it is empty');
    if (weight.shape.length < 2) return refuse('vectors (biases, norms) stay as they are');
    if (settings.granularity !== 'block') return OK;
    const view = blockView(weight, use, settings, abilities);
    if (typeof view !== 'string') return OK;
    const { type } = channelSettings(use, settings);
    const form = type === settings.type ? 'channels' : `${type} channels`;
    return { ok: true, note: `${form} in place of blocks: ${view}` };
  },

  apply(context, weight, uses, settings, abilities) {
    const use = uses[0];
    if (use === undefined) return;
    if (uses.every((each) => readsRows(weight, each)) && settings.granularity === 'channel') {
      if (settings.type === 'int8') {
        gatherRows(context, weight, uses);
        return;
      }
    }
    const view =
      settings.granularity === 'block' ? blockView(weight, use, settings, abilities) : 'no blocks are wanted';
    const nodes =
      typeof view === 'string'
        ? affineNodes(context, weight, use, channelSettings(use, settings), abilities)
        : blockNodes(context, weight, view, settings);
    context.prepend(weight.graph, nodes);
    context.dropInitializer(weight);
  },
};

/** Looks up rows of a matrix: only those need to be dequantized. */
function readsRows(weight: Weight, { role, node }: ResolvedUse): boolean {
  return role.kind === 'gather' && weight.shape.length === 2 && readInt(node, 'axis', 0) === 0;
}

/** int8 rows and their scales are looked up with the same indices, then Cast and Mul: the table is never expanded. */
function gatherRows(context: RewriteContext, weight: Weight, uses: readonly ResolvedUse[]): void {
  const [rows = 0, columns = 0] = weight.shape;
  // One block for each row: its scale comes out beside the row, and symmetric blocks have no zero point.
  const operation: QdqBlockOperation = {
    kind: 'qdq-block',
    from: weightType(weight),
    rows: columns,
    columns: rows,
    transposed: true,
    type: 'int8',
    blockSize: columns,
    scaleType: scaleTypeOf(weight.dtype),
  };
  const parts = context.addTask(weight, operation, {
    data: `${weight.name}_quantized`,
    scales: `${weight.name}_scale`,
  });
  const type = scaleTypeOf(weight.dtype);
  for (const { node, dtype } of uses) {
    context.replaceNode(node, () => {
      const [output = ''] = node.output;
      const [, indices = ''] = node.input;
      const [found, values, scales] = ['quantized', 'values', 'scales'].map((part) =>
        context.uniqueName(`${output}_${part}`),
      );
      if (found === undefined || values === undefined || scales === undefined) return [node];
      const mul = makeNode('Mul', [values, scales], [output], {
        name: context.uniqueName(`${output}_scale_mul`),
      });
      return [
        { ...node, input: [parts.data, indices], output: [found] },
        {
          ...node,
          input: [parts.scales, indices],
          output: [scales],
          name: context.uniqueName(`${scales}_gather`),
        },
        makeCast(found, values, type, context.uniqueName(`${values}_cast`)),
        ...(dtype === type ? [mul] : castIsland(context, mul, [], [0], dtype)),
      ];
    });
  }
}

/** Opset of ai.onnx that the standard operator needs for this. */
export function qdqOpset(weight: Weight, { type, granularity }: QdqSettings): number {
  if (granularity === 'block' || type.endsWith('4')) return 21;
  if (weight.dtype === 'f16') return 19;
  return granularity === 'channel' ? 13 : 10;
}

type BlockView = Pick<QdqBlockOperation, 'rows' | 'columns' | 'transposed' | 'stored'>;

/** How blocks lie in the weight; a reason where they cannot. */
function blockView(
  weight: Weight,
  use: ResolvedUse,
  settings: QdqSettings,
  abilities: FormAbilities,
): BlockView | string {
  const { kind } = use.role;
  const view =
    kind === 'conv'
      ? filterView(weight, 1, settings)
      : kind === 'conv-transpose'
        ? filterView(weight, 0, settings)
        : matrixView(weight, use);
  if (typeof view === 'string') return view;
  if ('unitDims' in view && view.unitDims > 0) return 'blocks are for matrices';
  if (abilities.opset < 21) return 'blocks need opset 21';
  const { rows, columns, transposed } = view;
  return { rows, columns, transposed, ...('stored' in view && { stored: view.stored }) };
}

/** Blocks along the input channels (`axis`) of a convolution, unless what they add makes them as large as 8 bits. */
function filterView(weight: Weight, axis: number, { type, blockSize }: QdqSettings): BlockView | string {
  const { shape } = weight;
  const rows = shape[axis] ?? 1;
  const bits = DTYPES[type].bits;
  const added = DTYPES[scaleTypeOf(weight.dtype)].bits + (type.startsWith('u') ? bits : 0);
  const full = bits * rows + added * Math.ceil(rows / blockSize) >= 8 * rows;
  if (rows < blockSize || (bits < 8 && full)) return `only ${rows} input channels`;
  const stored = { shape, axis };
  const behind = shape.slice(axis + 1).reduce((product, dim) => product * dim, 1);
  const before = shape.slice(0, axis).reduce((product, dim) => product * dim, 1);
  return behind === 1
    ? { rows, columns: before, transposed: true, stored }
    : { rows, columns: behind, transposed: false, stored };
}

/** Settings of a weight that has no blocks; convolutions wanted in 4-bit blocks get 8 bits. */
function channelSettings({ role }: ResolvedUse, settings: QdqSettings): QdqSettings {
  if (settings.granularity !== 'block') return settings;
  const filter = role.kind === 'conv' || role.kind === 'conv-transpose';
  const type = filter ? (settings.type.startsWith('u') ? 'uint8' : 'int8') : settings.type;
  return { type, granularity: 'channel', blockSize: 0 };
}

/** Axis whose indices are output channels, in the weight's own layout. */
export function channelAxis(weight: Weight, { role, node }: ResolvedUse): number {
  const rank = weight.shape.length;
  switch (role.kind) {
    case 'matmul':
    case 'gemm':
      return role.transposed ? rank - 2 : rank - 1;
    case 'conv-transpose':
      return 1;
    case 'lstm':
    case 'recurrent':
      return rank === 3 ? 1 : 0;
    case 'gather':
      return readInt(node, 'axis', 0) === 0 ? 0 : rank - 1;
    default:
      return 0;
  }
}

function affineNodes(
  context: RewriteContext,
  weight: Weight,
  use: ResolvedUse,
  settings: QdqSettings,
  abilities: FormAbilities,
): NodeProto[] {
  const axis = settings.granularity === 'tensor' ? null : channelAxis(weight, use);
  const operation: AffineOperation = {
    kind: 'affine',
    from: weightType(weight),
    shape: weight.shape,
    type: settings.type,
    axis,
    symmetric: !settings.type.startsWith('u'),
    reduceRange: false,
    scaleType: scaleTypeOf(weight.dtype),
  };
  const parts = context.addTask(weight, operation, {
    data: `${weight.name}_quantized`,
    scale: `${weight.name}_scale`,
    zeroPoint: `${weight.name}_zero_point`,
  });
  const contrib = abilities.opset < qdqOpset(weight, settings);
  if (contrib) context.useDomain(CONTRIB);
  return dequantizeNodes(context, weight, [parts.data, parts.scale, parts.zeroPoint], contrib, [
    ...(axis === null ? [] : [intAttribute('axis', axis)]),
  ]);
}

function blockNodes(
  context: RewriteContext,
  weight: Weight,
  view: BlockView,
  { type, blockSize }: QdqSettings,
): NodeProto[] {
  const operation: QdqBlockOperation = {
    kind: 'qdq-block',
    from: weightType(weight),
    ...view,
    type,
    blockSize,
    scaleType: scaleTypeOf(weight.dtype),
  };
  const bits = type.endsWith('4') ? 4 : 8;
  const parts = context.addTask(weight, operation, {
    data: `${weight.name}_DQ_Q${bits}`,
    scales: `${weight.name}_DQ_scales`,
    zeroPoints: `${weight.name}_DQ_zero_points`,
  });
  const inputs = [parts.data, parts.scales, ...(parts.zeroPoints === '' ? [] : [parts.zeroPoints])];
  return dequantizeNodes(context, weight, inputs, false, [
    intAttribute('axis', view.stored?.axis ?? (view.transposed ? 1 : 0)),
    intAttribute('block_size', blockSize),
  ]);
}

function dequantizeNodes(
  context: RewriteContext,
  weight: Weight,
  inputs: readonly string[],
  contrib: boolean,
  attributes: NodeProto['attribute'],
): NodeProto[] {
  const native = weight.dtype === 'f32' || weight.dtype === 'f16';
  const output = native ? weight.name : context.uniqueName(`${weight.name}_f32`);
  const node = makeNode('DequantizeLinear', inputs, [output], {
    name: context.uniqueName(`${weight.name}_DequantizeLinear`),
    attributes,
    ...(contrib && { domain: CONTRIB }),
  });
  if (native) return [node];
  const back = makeCast(output, weight.name, weight.dtype, context.uniqueName(`${weight.name}_from_f32`));
  return [node, back];
}
