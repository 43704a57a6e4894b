/** Bytes of a model with its data files, as far as its tensors use them. */

import { allTensors } from '../formats/onnx/graph.ts';
import { DATA_LOCATION } from '../formats/onnx/messages.ts';
import type { OnnxModel } from '../formats/onnx/model.ts';

/** Shared ranges count once. @throws WhittleError as `tensorBytes` */
export async function modelBytes(model: OnnxModel): Promise<number> {
  const ranges = new Map<string, number>();
  for (const tensor of allTensors(model.proto)) {
    if (tensor.dataLocation !== DATA_LOCATION.external) continue;
    const bytes = await model.tensorBytes(tensor);
    if (bytes.kind === 'range') ranges.set(`${bytes.source.name}:${bytes.offset}`, bytes.length);
  }
  return [...ranges.values()].reduce((sum, length) => sum + length, model.source.size);
}
