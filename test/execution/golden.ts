/** Reads the reference cases of onnxruntime's quantizers: a JSON list and the safetensors file beside it. */

import { readFileSync } from 'node:fs';
import { sharedPath } from '../shared.ts';

export interface GoldenTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

export type GoldenCase = Readonly<Record<string, unknown>> & {
  readonly case: string;
  readonly weight: string;
  readonly outputs: Readonly<Record<string, string | { readonly tensor: string; readonly dims: number[] }>>;
};

export interface Golden {
  readonly cases: readonly GoldenCase[];
  tensor(name: string): GoldenTensor;
}

export function readGolden(): Golden | undefined {
  const json = sharedPath('golden/onnxruntime.json');
  const data = sharedPath('golden/onnxruntime.safetensors');
  if (json === undefined || data === undefined) return undefined;
  const cases: GoldenCase[] = JSON.parse(readFileSync(json, 'utf8'));
  const file = readFileSync(data);
  const length = Number(file.readBigUInt64LE(0));
  const header: Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }> =
    JSON.parse(file.subarray(8, 8 + length).toString('utf8'));
  return {
    cases,
    tensor(name) {
      const entry = header[name];
      if (entry === undefined) throw new Error(`no golden tensor ${name}`);
      const [from, to] = entry.data_offsets;
      const bytes = new Uint8Array(file.subarray(8 + length + from, 8 + length + to));
      return { dtype: entry.dtype, shape: entry.shape, bytes };
    },
  };
}
