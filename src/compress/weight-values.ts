/**
 * The values of one weight as f32, a chunk at a time: the way in which inspect and compare look at tensors of any size in
 * bounded memory. f16, bf16 and f64 are converted by the kernels.
 */

import { byteLength, DTYPES, type WeightDType } from '../core/dtype.ts';
import type { TensorBytes } from '../formats/layout.ts';
import type { Kernels } from '../kernels/index.ts';

/** Elements per chunk: 4 MiB of f32. */
const CHUNK = 1 << 20;

/**
 * Yields the values in order. The array is reused: it is valid until the next step, and not beyond a call of
 * `kernels.arena`.
 */
export async function* weightChunks(
  bytes: TensorBytes,
  dtype: WeightDType,
  count: number,
  kernels: Kernels,
): AsyncGenerator<Float32Array> {
  const chunk = Math.min(CHUNK, count);
  if (chunk === 0) return;
  const elementBytes = DTYPES[dtype].bits / 8;
  const arena = kernels.arena(chunk * 4 + (dtype === 'f32' ? 0 : chunk * elementBytes) + 64);
  const values = arena.f32(chunk);
  const raw =
    dtype === 'f32'
      ? new Uint8Array(values.buffer, values.byteOffset, chunk * 4)
      : arena.u8(chunk * elementBytes);
  for (let start = 0; start < count; start += chunk) {
    const length = Math.min(chunk, count - start);
    const part = raw.subarray(0, byteLength(dtype, length));
    await readPart(bytes, start * elementBytes, part);
    const target = values.subarray(0, length);
    if (dtype !== 'f32') {
      kernels.convert(
        dtype,
        'f32',
        part,
        new Uint8Array(target.buffer, target.byteOffset, length * 4),
        length,
      );
    }
    yield target;
  }
}

async function readPart(bytes: TensorBytes, offset: number, target: Uint8Array): Promise<void> {
  if (bytes.kind === 'inline') target.set(bytes.bytes.subarray(offset, offset + target.length));
  else await bytes.source.readInto(bytes.offset + offset, target);
}
