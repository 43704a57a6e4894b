/**
 * Weights stored in a narrower float and cast back at the head of their graph: f16, bf16, or float8 with an optional
 * scale (Cast, then Mul). Runs in front of every operator on every target (docs/onnx.md 2, "a universal weight-only format").
 * Cast knows bf16 since opset 13 and float8 since 19.
 */

import { DTYPES } from '../../../core/dtype.ts';
import type { ConvertOperation, ScaledConvertOperation } from '../../../numerics/operation.ts';
import { makeCast, makeNode } from './build.ts';
import { type CastSettings, type Form, OK, refuse, scaleTypeOf, weightType } from './form.ts';
import { channelAxis } from './qdq.ts';

export const cast: Form<CastSettings> = {
  check(weight, _use, settings, abilities) {
    if (weight.shape.some((dim) => dim === 0)) return refuse('it is empty');
    if (DTYPES[settings.type].bits >= DTYPES[weight.dtype].bits) {
      return refuse(`it is ${weight.dtype} already, no wider than ${settings.type}`);
    }
    const needed = castOpset(settings);
    if (abilities.opset < needed) {
      return refuse(`Cast knows ${settings.type} since opset ${needed}, and the model's cannot be raised`);
    }
    if (settings.scale === 'channel' && weight.shape.length < 2) return refuse('a vector has no channels');
    return OK;
  },

  apply(context, weight, uses, settings) {
    const use = uses[0];
    if (use === undefined) return;
    const from = weightType(weight);
    const scaled = scaledType(settings);
    if (scaled === undefined) {
      const operation: ConvertOperation = {
        kind: 'convert',
        from,
        to: settings.type,
        shape: weight.shape,
        saturate: true,
      };
      const { data } = context.addTask(weight, operation, { data: `${weight.name}_${settings.type}` });
      context.prepend(weight.graph, [
        makeCast(data, weight.name, weight.dtype, context.uniqueName(`${weight.name}_cast`)),
      ]);
    } else {
      const axis = settings.scale === 'channel' ? channelAxis(weight, use) : null;
      const operation: ScaledConvertOperation = {
        kind: 'scaled-convert',
        from,
        to: scaled,
        shape: weight.shape,
        axis,
        scaleType: scaleTypeOf(weight.dtype),
      };
      const dims = axis === null ? [] : weight.shape.map((dim, i) => (i === axis ? dim : 1));
      const { data, scales } = context.addTask(weight, operation, {
        data: `${weight.name}_${settings.type}`,
        scales: { name: `${weight.name}_scale`, dims },
      });
      const native = weight.dtype === 'f32' || weight.dtype === 'f16';
      const type = native ? weight.dtype : 'f32';
      const plain = context.uniqueName(`${weight.name}_unscaled`);
      const output = native ? weight.name : context.uniqueName(`${weight.name}_f32`);
      context.prepend(weight.graph, [
        makeCast(data, plain, type, context.uniqueName(`${weight.name}_cast`)),
        makeNode('Mul', [plain, scales], [output], { name: context.uniqueName(`${weight.name}_scale_mul`) }),
        ...(native
          ? []
          : [makeCast(output, weight.name, weight.dtype, context.uniqueName(`${weight.name}_from_f32`))]),
      ]);
    }
    context.dropInitializer(weight);
  },
};

/** Opset of ai.onnx whose Cast knows the type. */
export function castOpset({ type }: CastSettings): number {
  if (type === 'f16') return 6;
  return type === 'bf16' ? 13 : 19;
}

/** The float8 type that carries a scale; undefined where there is none. */
function scaledType({ type, scale }: CastSettings): ScaledConvertOperation['to'] | undefined {
  if (scale === 'none' || type === 'f16' || type === 'bf16') return undefined;
  return type;
}
