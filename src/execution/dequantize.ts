/** Values of one stored weight, in memory: for comparing models and for looking at a tensor. */

import type { TensorBytes } from '../formats/layout.ts';
import { createMemorySink } from '../io/memory-sink.ts';
import { type DequantizeOperation, dequantizedPart } from '../numerics/dequantize-operation.ts';
import type { PartRole } from '../numerics/operation.ts';
import { type ExecuteOptions, executeFiles } from './execute.ts';

/**
 * @returns the values as f32, in the shape that the operation states.
 * @throws WhittleError E_TENSOR_SIZE where a part has fewer bytes than its shape needs; what reading raises.
 */
export async function dequantizeToMemory(
  tensor: string,
  operation: DequantizeOperation,
  sources: Readonly<Partial<Record<PartRole, TensorBytes>>>,
  options: ExecuteOptions = {},
): Promise<Float32Array> {
  const wide: DequantizeOperation = { ...operation, to: 'f32' };
  const { bytes } = dequantizedPart(wide);
  const sink = createMemorySink(tensor, bytes);
  await executeFiles({
    ...options,
    files: [
      {
        name: tensor,
        size: bytes,
        segments: [{ kind: 'part', offset: 0, length: bytes, task: 0, role: 'data' }],
      },
    ],
    tasks: [],
    restorations: [{ id: 0, tensor, operation: wide, sources }],
    target: { sinks: [sink] },
    threads: 1,
  });
  const content = sink.bytes();
  return new Float32Array(content.buffer, content.byteOffset, content.byteLength / 4);
}
