/**
 * MatMul and Gemm with a constant matrix → com.microsoft MatMulNBits (docs/onnx.md 3.1): 2, 4 or 8 bits in blocks along the
 * reduction. Names as onnxruntime's quantizer gives them: w_Q4, w_scales, w_zero_points, node name + _Q4.
 *
 * Also finds the tied case: a table [V, K] that Gather reads and the output head multiplies transposed. Both operators
 * understand the same bytes, so one copy serves them (`applyTied`).
 */

import type { MatMulNBitsOperation } from '../../../numerics/operation.ts';
import type { NodeProto } from '../messages.ts';
import type { Weight } from '../model.ts';
import { CONTRIB, int64Tensor, intAttribute, makeNode } from './build.ts';
import { castIsland, type PartTensors, type RewriteContext } from './context.ts';
import {
  type Form,
  type FormAbilities,
  type GatherSettings,
  type MatrixView,
  matrixView,
  type NBitsSettings,
  OK,
  refuse,
  scaleTypeOf,
  weightType,
} from './form.ts';
import { gatherNodes } from './gather-block.ts';
import { replaceProduct } from './product.ts';
import type { ResolvedUse } from './uses.ts';

export const matmulNBits: Form<NBitsSettings> = {
  check(weight, use, settings, abilities) {
    const view = matrixView(weight, use);
    if (typeof view === 'string') return refuse(view);
    const { bits, blockSize, zeroPoints } = settings;
    if (!abilities.nbits.bits.includes(bits)) return refuse(`the target has no ${bits}-bit MatMulNBits`);
    if (!abilities.nbits.blocks.includes(blockSize))
      return refuse(`the target has no blocks of ${blockSize}`);
    if (zeroPoints === 'real' && !abilities.nbits.realZeroBits.includes(bits))
      return refuse(`the target has no real zero points of ${bits}-bit MatMulNBits`);
    return OK;
  },

  apply(context, weight, uses, settings, abilities) {
    for (const use of uses) {
      const view = matrixView(weight, use);
      if (typeof view === 'string') continue;
      const half = use.dtype === 'f16' && abilities.nbits.f16Bits.includes(settings.bits);
      const parts = promise(context, weight, view, settings, half ? 'f16' : 'f32');
      replaceWithNBits(context, use, view, settings, parts, half);
    }
  },
};

function promise(
  context: RewriteContext,
  weight: Weight,
  view: MatrixView,
  { bits, blockSize, symmetric, zeroPoints }: NBitsSettings,
  scaleType: 'f16' | 'f32',
): PartTensors {
  const operation: MatMulNBitsOperation = {
    kind: 'matmul-nbits',
    from: weightType(weight),
    rows: view.rows,
    columns: view.columns,
    transposed: view.transposed,
    bits,
    blockSize,
    symmetric,
    ...(zeroPoints === 'real' && { zeroPoints }),
    scaleType,
  };
  return context.addTask(weight, operation, {
    packed: `${weight.name}_Q${bits}`,
    scales: `${weight.name}_scales`,
    zeroPoints: `${weight.name}_zero_points`,
  });
}

function replaceWithNBits(
  context: RewriteContext,
  use: ResolvedUse,
  view: MatrixView,
  { bits, blockSize, accuracyLevel }: NBitsSettings,
  parts: PartTensors,
  half: boolean,
): void {
  context.useDomain(CONTRIB);
  replaceProduct(context, use, view, `_Q${bits}`, (a, output, name): NodeProto[] => {
    const inputs = [a, parts.packed, parts.scales, ...(parts.zeroPoints === '' ? [] : [parts.zeroPoints])];
    const node = makeNode('MatMulNBits', inputs, [output], {
      name,
      domain: CONTRIB,
      attributes: [
        intAttribute('K', view.rows),
        intAttribute('N', view.columns),
        intAttribute('bits', bits),
        intAttribute('block_size', blockSize),
        ...(accuracyLevel > 0 ? [intAttribute('accuracy_level', accuracyLevel)] : []),
      ],
    });
    return half || use.dtype === 'f32' ? [node] : castIsland(context, node, [0], [0], use.dtype);
  });
}

/** Whether one packed copy can serve both the table and the head; the reason where it cannot. */
export function tiedProblem(
  weight: Weight,
  uses: readonly ResolvedUse[],
  settings: GatherSettings & Pick<NBitsSettings, 'zeroPoints'>,
  abilities: FormAbilities,
): string | undefined {
  const columns = weight.shape[1] ?? 0;
  if (settings.zeroPoints === 'real') return 'GatherBlockQuantized has no real zero points';
  const { bits, blockSize, symmetric } = settings;
  if (weight.shape.length !== 2) return 'the table is no matrix';
  if (columns % blockSize !== 0) return `rows of ${columns} are no whole number of blocks of ${blockSize}`;
  if (!symmetric && !abilities.gatherBlock.oddZeroPoints && (columns / blockSize) % 2 === 1) {
    return 'the target reads zero points of an odd number of blocks wrongly';
  }
  if (!abilities.nbits.bits.includes(bits)) return `the target has no ${bits}-bit MatMulNBits`;
  const types = new Set(uses.map((use) => use.dtype));
  if (types.size > 1) return 'its uses compute in different types';
  const straight = uses.some(
    (use) => use.role.kind !== 'gather' && !('transposed' in use.role && use.role.transposed),
  );
  return straight ? 'the head multiplies it untransposed' : undefined;
}

/** One copy for Gather (GatherBlockQuantized) and the transposed head (MatMulNBits). */
export function applyTied(
  context: RewriteContext,
  weight: Weight,
  uses: readonly ResolvedUse[],
  settings: GatherSettings & { readonly accuracyLevel: number },
  abilities: FormAbilities,
): void {
  const [rows = 0, columns = 0] = weight.shape;
  const { bits, blockSize } = settings;
  const dtype = uses[0]?.dtype ?? 'f32';
  const half = dtype === 'f16' && abilities.nbits.f16Bits.includes(bits);
  const view: MatrixView = { rows: columns, columns: rows, transposed: true, unitDims: 0 };
  const parts = promise(context, weight, view, settings, half ? 'f16' : scaleTypeOf('f32'));
  // MatMulNBits wants [N, blocks, bytes], GatherBlockQuantized [N, bytes]: a Reshape shows it the same bytes.
  const flat = context.uniqueName(`${weight.name}_Q${bits}_rows`);
  const shape = int64Tensor(context.uniqueName(`${flat}_shape`), [rows, (columns * bits) / 8]);
  context.addInitializer(weight.graph, shape);
  context.prepend(weight.graph, [
    makeNode('Reshape', [parts.packed, shape.name ?? ''], [flat], {
      name: context.uniqueName(`${flat}_reshape`),
    }),
  ]);
  for (const use of uses) {
    if (use.role.kind === 'gather') {
      gatherNodes(
        context,
        use,
        { data: flat, scales: parts.scales, zeroPoints: parts.zeroPoints },
        bits,
        blockSize,
        half,
      );
    } else {
      replaceWithNBits(context, use, view, settings, parts, half);
    }
  }
}
