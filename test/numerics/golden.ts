/**
 * Reads the golden data beside the project: a JSON list of cases and a safetensors file with their tensors. Only what
 * these tests need of safetensors: little-endian header length, JSON header, contiguous data.
 */

import { readFileSync } from 'node:fs';
import { sharedPath } from '../shared.ts';

export interface GoldenTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

export class GoldenTensors {
  readonly #data: Buffer;
  readonly #header: Map<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;
  readonly #start: number;

  constructor(path: string) {
    this.#data = readFileSync(path);
    const length = Number(this.#data.readBigUInt64LE(0));
    this.#header = new Map(Object.entries(JSON.parse(this.#data.toString('utf8', 8, 8 + length))));
    this.#start = 8 + length;
  }

  get(name: string): GoldenTensor {
    const entry = this.#header.get(name);
    if (entry === undefined) throw new Error(`no golden tensor ${name}`);
    const [from, to] = entry.data_offsets;
    return {
      dtype: entry.dtype,
      shape: entry.shape,
      bytes: Uint8Array.from(this.#data.subarray(this.#start + from, this.#start + to)),
    };
  }

  f32(name: string): Float32Array {
    return new Float32Array(this.get(name).bytes.buffer);
  }

  u16(name: string): Uint16Array {
    return new Uint16Array(this.get(name).bytes.buffer);
  }

  u8(name: string): Uint8Array {
    return this.get(name).bytes;
  }
}

/** Cases and tensors of `golden/<name>.json` and `.safetensors`; undefined where they are not beside the project. */
export function openGolden<Case>(name: string): { cases: Case[]; tensors: GoldenTensors } | undefined {
  const json = sharedPath(`golden/${name}.json`);
  const tensors = sharedPath(`golden/${name}.safetensors`);
  if (json === undefined || tensors === undefined) return undefined;
  return { cases: JSON.parse(readFileSync(json, 'utf8')), tensors: new GoldenTensors(tensors) };
}

export const GOLDEN_ABSENT = 'the shared golden data is not beside the project';
