/**
 * A model in which some weights have other values: the prefix that is solved already, with the values that the runtime will
 * compute with. The graph is copied, payloads are shared, and substitutes are held in memory.
 */

import type { ModelProto } from '../../formats/onnx/messages.ts';
import { cloneModel, findWeights } from '../../formats/onnx/model.ts';
import type { Kernels } from '../../kernels/kernels.ts';

/**
 * @param values f32 in stored order, by key of the weight; converted to the type in which the graph reads it.
 */
export function substituteWeights(
  proto: ModelProto,
  values: ReadonlyMap<string, Float32Array>,
  kernels: Kernels,
): ModelProto {
  const copy = cloneModel(proto);
  for (const { key, tensor, dtype } of findWeights(copy)) {
    const given = values.get(key);
    if (given === undefined) continue;
    const bytes = new Uint8Array(given.buffer, given.byteOffset, given.byteLength);
    let raw = bytes;
    if (dtype !== 'f32') {
      raw = new Uint8Array(given.length * (dtype === 'f64' ? 8 : 2));
      if (dtype === 'f64') new Float64Array(raw.buffer).set(given);
      else if (dtype === 'f16' || dtype === 'bf16') kernels.convert('f32', dtype, bytes, raw, given.length);
    }
    tensor.rawData = { kind: 'inline', bytes: raw };
    tensor.floatData = undefined;
    tensor.doubleData = undefined;
    tensor.int32Data = undefined;
    tensor.externalData = [];
    tensor.dataLocation = undefined;
  }
  return copy;
}
