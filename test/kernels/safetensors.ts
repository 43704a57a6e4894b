/**
 * The least of a safetensors reader that golden files need: name → bytes, type and shape. For tests only; it trusts the
 * file. Layout: u64 header length, JSON header, data.
 */

import { readFileSync } from 'node:fs';

export interface GoldenTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

export function readSafetensors(path: string): Map<string, GoldenTensor> {
  const file = readFileSync(path);
  const length = Number(file.readBigUInt64LE(0));
  const header: Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }> =
    JSON.parse(file.toString('utf8', 8, 8 + length));
  const tensors = new Map<string, GoldenTensor>();
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const [begin, end] = entry.data_offsets;
    // A copy, so that typed views of it are aligned.
    const bytes = new Uint8Array(file.subarray(8 + length + begin, 8 + length + end));
    tensors.set(name, { dtype: entry.dtype, shape: entry.shape, bytes });
  }
  return tensors;
}

/** Values of an F32 or F16 tensor as f32. */
export function floatsOf(tensor: GoldenTensor): Float32Array {
  if (tensor.dtype === 'F32') return new Float32Array(tensor.bytes.buffer);
  throw new Error(`not an F32 tensor: ${tensor.dtype}`);
}
