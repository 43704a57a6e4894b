/**
 * Which nodes stay in f32 when a graph becomes half precision: float16.py's list (docs/onnx.md 1b), operators whose
 * specification has no f16, and nodes that state an f32 type in an attribute (their result is cast instead).
 */

import type { DType } from '../../../core/dtype.ts';
import { numberOfDtype } from '../data-types.ts';
import type { NodeProto } from '../messages.ts';
import { CONTRIB, isDefaultDomain, readInt } from './build.ts';

/** docs/onnx.md 1b. Cast is not here: a Cast to f32 becomes a Cast to f16. */
export const BLOCKED_OPS: readonly string[] = [
  'ArrayFeatureExtractor',
  'Binarizer',
  'CastMap',
  'CategoryMapper',
  'CumSum',
  'DictVectorizer',
  'FeatureVectorizer',
  'Imputer',
  'LabelEncoder',
  'LinearClassifier',
  'LinearRegressor',
  'Max',
  'Min',
  'NonMaxSuppression',
  'Normalizer',
  'OneHotEncoder',
  'RandomNormalLike',
  'RandomUniformLike',
  'Resize',
  'RoiAlign',
  'SVMClassifier',
  'SVMRegressor',
  'Scaler',
  'TopK',
  'TreeEnsembleClassifier',
  'TreeEnsembleRegressor',
  'Upsample',
  'ZipMap',
];

/** No f16 in the specification, or a type that an attribute fixes. */
const F32_ONLY: ReadonlySet<string> = new Set([
  'BlackmanWindow',
  'Constant',
  'DynamicQuantizeLSTM',
  'DynamicQuantizeLinear',
  'DynamicQuantizeMatMul',
  'HammingWindow',
  'HannWindow',
  'MelWeightMatrix',
  'RandomNormal',
  'RandomUniform',
  'Range',
]);

export interface BlockOptions {
  /** float16.py's list, or the recipe's own. */
  readonly blockedOps: ReadonlySet<string>;
  /** Nodes that a rewrite made for f32 (rescaling of integer products overflows f16). */
  readonly floatNodes: ReadonlySet<NodeProto>;
  /** ai.onnx opset: (De)QuantizeLinear know f16 since 19. */
  readonly opset: number;
  /** Widths of MatMulNBits that the targets run in f16. */
  readonly nbitsF16: readonly number[];
  /** `domain:name` of model-local functions: their bodies stay as they are. */
  readonly functions: ReadonlySet<string>;
}

export function isBlocked(node: NodeProto, options: BlockOptions): boolean {
  const op = node.opType ?? '';
  if (options.floatNodes.has(node) || options.blockedOps.has(op) || F32_ONLY.has(op)) return true;
  if (options.functions.has(`${node.domain ?? ''}:${op}`)) return true;
  if (isDefaultDomain(node)) {
    if ((op === 'DequantizeLinear' || op === 'QuantizeLinear') && options.opset < 19) return true;
    if (op === 'ConstantOfShape') return true;
    return op === 'EyeLike' && readInt(node, 'dtype', 0) === numberOfDtype('f32');
  }
  return (
    node.domain === CONTRIB && op === 'MatMulNBits' && !options.nbitsF16.includes(readInt(node, 'bits', 4))
  );
}

/** Nodes that name f32 as the type they give, and can name f16 as well. */
export function retype(node: NodeProto): void {
  const name = node.opType === 'Cast' ? 'to' : node.opType === 'SequenceEmpty' ? 'dtype' : undefined;
  if (name === undefined) return;
  const f32: DType = 'f32';
  for (const attribute of node.attribute) {
    if (attribute.name === name && attribute.i === BigInt(numberOfDtype(f32))) {
      attribute.i = BigInt(numberOfDtype('f16'));
    }
  }
}
