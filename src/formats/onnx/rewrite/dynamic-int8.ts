/**
 * Dynamic int8 (docs/onnx.md 3.6): activations are quantized to uint8 when the model runs, weights are integers in the file.
 *
 * MatMul, Gemm → DynamicQuantizeLinear, MatMulInteger, Cast, Mul (and Add); Conv the same with ConvInteger; Gather reads
 * a uint8 table and dequantizes the rows it found. LSTM is in dynamic-lstm.ts. One DynamicQuantizeLinear serves all
 * readers of an activation in a graph (a subgraph has its own: it may not run at all). Its input must be f32, so other
 * types are cast there and back. ConvInteger accepts only one zero point, so Conv weights are always per tensor.
 */

import type { AffineOperation } from '../../../numerics/operation.ts';
import type { NodeProto } from '../messages.ts';
import type { Weight } from '../model.ts';
import { int64Tensor, intsAttribute, makeCast, makeNode } from './build.ts';
import { castIsland, type Emitter, type PartTensors, type RewriteContext } from './context.ts';
import { lstmProblem, replaceLstm } from './dynamic-lstm.ts';
import {
  type DynamicSettings,
  type Form,
  gemmProblem,
  OK,
  reducesRange,
  refuse,
  weightType,
} from './form.ts';
import { replaceProduct } from './product.ts';
import type { ResolvedUse } from './uses.ts';

export const dynamicInt8: Form<DynamicSettings> = {
  check(weight, use) {
    const { role, node } = use;
    if (weight.shape.some((dim) => dim === 0)) return refuse('it is empty');
    switch (role.kind) {
      case 'matmul':
        return weight.shape.length < 2 ? refuse('a vector is no matrix') : OK;
      case 'gemm': {
        const problem = gemmProblem(use);
        return problem === undefined ? OK : refuse(problem);
      }
      case 'conv':
      case 'gather':
        return OK;
      case 'lstm': {
        const problem = lstmProblem(weight, use);
        return problem === undefined ? OK : refuse(problem);
      }
      case 'recurrent':
        return refuse(`onnxruntime has no integer ${node.opType}`);
      case 'conv-transpose':
        return refuse('onnxruntime has no integer ConvTranspose');
      default:
        return refuse(`${node.opType} has no integer operator`);
    }
  },

  apply(context, weight, uses, settings) {
    const table = uses.some((use) => use.role.kind === 'gather');
    for (const use of uses) {
      const { role } = use;
      if (role.kind === 'lstm') {
        replaceLstm(context, weight, use, settings);
      } else if (role.kind === 'gather') {
        replaceGather(context, weight, use);
      } else if (role.kind === 'conv') {
        const parts = promise(context, weight, table ? tableSettings : settings, null, undefined);
        replaceConv(context, weight, use, parts);
      } else if (role.kind === 'matmul' || role.kind === 'gemm') {
        replaceMatMul(context, weight, use, table ? tableSettings : settings, role.transposed, table);
      }
    }
  },
};

/** Tables are quantized as activations are: uint8, asymmetric, per tensor, full range (docs/onnx.md 3.6). */
const tableSettings: DynamicSettings = { weightType: 'uint8', perChannel: false, reduceRange: false };

function promise(
  context: RewriteContext,
  weight: Weight,
  settings: DynamicSettings,
  axis: number | null,
  permutation: readonly number[] | undefined,
): PartTensors {
  const type = settings.weightType;
  const operation: AffineOperation = {
    kind: 'affine',
    from: weightType(weight),
    shape: weight.shape,
    type,
    axis,
    symmetric: type === 'int8',
    reduceRange: reducesRange(settings, type),
    ...(permutation && { permutation }),
    scaleType: 'f32',
  };
  return context.addTask(weight, operation, {
    data: `${weight.name}_quantized`,
    scale: `${weight.name}_scale`,
    zeroPoint: `${weight.name}_zero_point`,
  });
}

/** uint8 of an activation: [quantized, scale, zero point]; shared in the graph. */
function quantizeActivation(
  context: RewriteContext,
  emit: Emitter,
  value: string,
  use: ResolvedUse,
): { nodes: readonly NodeProto[]; quantized: string; scale: string; zeroPoint: string } {
  const { nodes, names } = emit.shared(`dql ${value}`, () => {
    const out = ['quantized', 'scale', 'zero_point'].map((part) => context.uniqueName(`${value}_${part}`));
    const made: NodeProto[] = [];
    let input = value;
    if (use.dtype !== 'f32') {
      input = context.uniqueName(`${value}_f32`);
      made.push(makeCast(value, input, 'f32', context.uniqueName(`${value}_to_f32`)));
    }
    const name = context.uniqueName(`${value}_QuantizeLinear`);
    return { nodes: [...made, makeNode('DynamicQuantizeLinear', [input], out, { name })], names: out };
  });
  const [quantized = '', scale = '', zeroPoint = ''] = names;
  return { nodes, quantized, scale, zeroPoint };
}

/** Integer product → f32 (or the activation's type) in `output`: Cast, then Mul by both scales. */
function rescale(
  context: RewriteContext,
  use: ResolvedUse,
  integer: string,
  scales: readonly [activation: string, weight: string],
  output: string,
  name: string,
): NodeProto[] {
  const cast = context.uniqueName(`${integer}_cast_output`);
  const scalesName = context.uniqueName(name === '' ? `${scales[0]}_${scales[1]}_mul` : `${name}_scales_mul`);
  const product = context.uniqueName(`${scalesName}:0`);
  const mul = makeNode('Mul', [cast, product], [output], {
    name: context.uniqueName(name === '' ? `${output}_scale_mul` : `${name}_output_scale_mul`),
  });
  // Integer sums reach past the range of f16: this arithmetic stays in f32 whatever the graph becomes.
  const widened = makeCast(integer, cast, 'f32', context.uniqueName(`${integer}_cast`));
  const factor = makeNode('Mul', scales, [product], { name: scalesName });
  for (const node of [widened, factor, mul]) context.floatNodes.add(node);
  return [widened, factor, ...(use.dtype === 'f32' ? [mul] : castIsland(context, mul, [], [0], use.dtype))];
}

function replaceMatMul(
  context: RewriteContext,
  weight: Weight,
  use: ResolvedUse,
  settings: DynamicSettings,
  transposed: boolean,
  keepLayout: boolean,
): void {
  const rank = weight.shape.length;
  // MatMulInteger has no transB: the weight is stored transposed, unless a Gather reads the same copy.
  const permutation = transposed && !keepLayout ? [1, 0] : undefined;
  const axis = settings.perChannel && rank === 2 ? (transposed ? 0 : 1) : null;
  const parts = promise(context, weight, settings, axis, permutation);
  replaceProduct(context, use, { unitDims: 0 }, '_quant', (a, output, name, emit) => {
    const x = quantizeActivation(context, emit, a, use);
    const nodes: NodeProto[] = [...x.nodes];
    let b = parts.data;
    if (transposed && keepLayout) {
      b = context.uniqueName(`${parts.data}_transposed`);
      nodes.push(
        makeNode('Transpose', [parts.data], [b], {
          name: context.uniqueName(`${b}_node`),
          attributes: [intsAttribute('perm', [1, 0])],
        }),
      );
    }
    const integer = context.uniqueName(`${output}_output_quantized`);
    const product = makeNode('MatMulInteger', [x.quantized, b, x.zeroPoint, parts.zeroPoint], [integer], {
      name,
    });
    return [...nodes, product, ...rescale(context, use, integer, [x.scale, parts.scale], output, name)];
  });
}

function replaceConv(context: RewriteContext, weight: Weight, use: ResolvedUse, parts: PartTensors): void {
  const { node } = use;
  context.replaceNode(node, (emit) => {
    const output = node.output[0] ?? '';
    const name = (node.name ?? '') === '' ? '' : context.uniqueName(`${node.name}_quant`);
    const bias = node.input[2] ?? '';
    const x = quantizeActivation(context, emit, node.input[0] ?? '', use);
    const integer = context.uniqueName(`${output}_output_quantized`);
    const conv = makeNode('ConvInteger', [x.quantized, parts.data, x.zeroPoint, parts.zeroPoint], [integer], {
      name,
      attributes: node.attribute,
    });
    const scales = [x.scale, parts.scale] as const;
    if (bias === '') return [...x.nodes, conv, ...rescale(context, use, integer, scales, output, name)];
    const channels = weight.shape[0] ?? 0;
    const spatial = weight.shape.slice(2).map(() => 1);
    const shape = int64Tensor(context.uniqueName(`${output}_bias_reshape_shape`), [1, channels, ...spatial]);
    context.addInitializer(emit.graph, shape);
    const plain = context.uniqueName(`${output}_without_bias`);
    const shaped = context.uniqueName(`${output}_bias_reshape_output`);
    return [
      ...x.nodes,
      conv,
      ...rescale(context, use, integer, scales, plain, name),
      makeNode('Reshape', [bias, shape.name ?? ''], [shaped], {
        name: context.uniqueName(`${output}_bias_reshape`),
      }),
      makeNode('Add', [plain, shaped], [output], { name: context.uniqueName(`${output}_bias_add`) }),
    ];
  });
}

function replaceGather(context: RewriteContext, weight: Weight, use: ResolvedUse): void {
  const { node } = use;
  const parts = promise(context, weight, tableSettings, null, undefined);
  context.replaceNode(node, () => {
    const output = node.output[0] ?? '';
    const rows = context.uniqueName(`${output}_quantized`);
    const gather: NodeProto = { ...node, input: [parts.data, node.input[1] ?? ''], output: [rows] };
    const dequantize = makeNode('DequantizeLinear', [rows, parts.scale, parts.zeroPoint], [output], {
      name: context.uniqueName(`${output}_DequantizeLinear`),
    });
    return [
      gather,
      ...(use.dtype === 'f32' ? [dequantize] : castIsland(context, dequantize, [], [0], use.dtype)),
    ];
  });
}
