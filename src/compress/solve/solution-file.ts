/**
 * Solved weights as a safetensors file: codes, scales and zero points under the names of the layers, in layouts that others read, and
 * `whittle.solution`, UTF-8 JSON that says what they are:
 *
 *     { "version": 1, "algorithm": "gptq", "layers": [{ "weight": "…", "name": "…", "bits": 4, "groupSize": 32, … }] }
 *
 * Grids: `<layer>.qweight`, `.qzeros`, `.scales`, `.g_idx` as in gptq-layout.ts; `.scales_f32` where f16 does not hold the scales exactly,
 * `.zeros` f32 [groups, outputs] in place of `.qzeros` where zero points are real. Code books: as bitsandbytes saves them, `<layer>.weight`
 * uint8 [⌈n / 2⌉, 1] (first code in the high nibble), `.weight.absmax`, `.weight.quant_map` and `.weight.quant_state.bitsandbytes__nf4`.
 * `__metadata__` holds what GPTQ's readers look for. Nothing in a file that is read is believed: shapes, codes and numbers are compared.
 */

import type { CodebookMatrix } from '../../algorithms/codebook.ts';
import type { QuantizedMatrix } from '../../algorithms/matrix.ts';
import { f16BitsToF32, f32ToF16Bits } from '../../core/floats.ts';
import { WhittleError } from '../../errors.ts';
import { type WrittenTensor, writeSafetensors } from '../../formats/safetensors/writer.ts';
import {
  groupIndex,
  groupsOf,
  packCodes,
  packZeros,
  parameterBytes,
  storedBits,
  wordsOf,
} from './gptq-layout.ts';
import type { CodedWeight, LayerReport } from './solve.ts';

export const HEAD = 'whittle.solution';
export const VERSION = 1;

/** A weight and what was chosen for it. */
export interface SolvedWeight {
  /** Key of the weight in the model. */
  readonly weight: string;
  /** SHA-256 of the float values (f32, in stored order), hexadecimal. */
  readonly source: string;
  readonly coded: CodedWeight;
  readonly report: LayerReport;
  /** Inputs are taken place by place (a convolution in blocks across channels). */
  readonly filters?: { readonly channels: number; readonly places: number } | undefined;
}

/** What the JSON says of a weight. */
export interface StoredLayer {
  readonly weight: string;
  /** Prefix of the tensors. */
  readonly name: string;
  readonly source: string;
  readonly outputs: number;
  readonly inputs: number;
  /** Of a grid. */
  readonly bits?: number | undefined;
  readonly symmetric?: boolean | undefined;
  readonly zeroPoints?: 'integer' | 'real' | undefined;
  /** Values that share a scale, of a grid or a code book. */
  readonly groupSize: number;
  readonly codebook?: 'nf4' | 'fp4' | undefined;
  readonly filters?: { readonly channels: number; readonly places: number } | undefined;
  readonly algorithm: string;
  readonly errorBefore: number;
  readonly errorAfter: number;
  readonly damping?: number | undefined;
  readonly deadInputs?: number | undefined;
  readonly rows?: number | undefined;
}

/** @throws WhittleError E_OUTPUT_EXISTS, E_NOT_FOUND, E_ACCESS, E_NO_SPACE, E_IO */
export async function saveSolution(
  path: string,
  solved: readonly SolvedWeight[],
  about: { readonly algorithm: string; readonly data?: string | undefined },
  { force }: { readonly force?: boolean | undefined } = {},
): Promise<void> {
  const names = layerNames(solved.map(({ weight }) => weight));
  const layers = solved.map((entry, index) => describe(entry, names[index] ?? entry.weight));
  const text = new TextEncoder().encode(JSON.stringify({ version: VERSION, ...about, layers }));
  const tensors = solved.flatMap(({ coded }, index) => tensorsOf(coded, names[index] ?? ''));
  tensors.push({ name: HEAD, dtype: 'U8', shape: [text.length], bytes: () => text });
  await writeSafetensors(path, tensors, { force, metadata: metadataOf(solved) });
}

/** `model.layers.0.mlp.down_proj.weight` → without `.weight`, where that makes no two alike. */
function layerNames(weights: readonly string[]): string[] {
  const short = weights.map((weight) => weight.replace(/\.weight$/, ''));
  const counts = new Map<string, number>();
  for (const name of short) counts.set(name, (counts.get(name) ?? 0) + 1);
  return weights.map((weight, i) => (counts.get(short[i] ?? '') === 1 ? (short[i] ?? weight) : weight));
}

/** What readers of GPTQ checkpoints want to know, where it is the same for all layers. */
function metadataOf(solved: readonly SolvedWeight[]): Record<string, string> {
  const grids = solved.flatMap(({ coded }) => ('levels' in coded ? [] : [coded]));
  const common = (values: readonly string[]): string | undefined =>
    new Set(values).size === 1 ? values[0] : undefined;
  const facts = {
    bits: common(grids.map(({ bits }) => String(storedBits(bits)))),
    group_size: common(grids.map(({ groupSize }) => String(groupSize))),
    sym: common(grids.map(({ symmetric }) => String(symmetric))),
  };
  const known = Object.entries(facts).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]]));
  return {
    format: 'pt',
    ...(grids.length > 0 && { quant_method: 'gptq', checkpoint_format: 'gptq_v2', desc_act: 'false' }),
    ...Object.fromEntries(known),
  };
}

function describe({ weight, source, coded, report, filters }: SolvedWeight, name: string): StoredLayer {
  const { algorithm, errorBefore, errorAfter, damping, deadInputs, rows } = report;
  const { outputs, inputs } = coded;
  const shared = { weight, name, source, outputs, inputs, ...(filters && { filters }) };
  const told = { algorithm, errorBefore, errorAfter, damping, deadInputs, rows };
  if ('levels' in coded) return { ...shared, groupSize: coded.blockSize, codebook: bookOf(coded), ...told };
  const { bits, groupSize, symmetric } = coded;
  return { ...shared, bits, groupSize, symmetric, zeroPoints: zerosOf(coded), ...told };
}

/** NF4's first level is the lowest, FP4's is 0. */
function bookOf({ levels }: CodebookMatrix): 'nf4' | 'fp4' {
  return levels[0] === -1 ? 'nf4' : 'fp4';
}

function zerosOf({ bits, zeroPoints }: QuantizedMatrix): 'integer' | 'real' {
  const top = 2 ** bits - 1;
  return zeroPoints.every((zero) => Number.isInteger(zero) && zero >= 0 && zero <= top) ? 'integer' : 'real';
}

function tensorsOf(coded: CodedWeight, name: string): WrittenTensor[] {
  if ('levels' in coded) return codebookTensors(coded, `${name}.weight`);
  const { outputs, inputs, scales, zeroPoints } = coded;
  const bits = storedBits(coded.bits);
  const groups = groupsOf(coded);
  const grouped = [groups, outputs];
  const tensors: WrittenTensor[] = [
    {
      name: `${name}.qweight`,
      dtype: 'I32',
      shape: [wordsOf(inputs, bits), outputs],
      bytes: () => packCodes(coded, bits),
    },
    {
      name: `${name}.scales`,
      dtype: 'F16',
      shape: grouped,
      bytes: () => parameterBytes(scales, outputs, 'f16'),
    },
    { name: `${name}.g_idx`, dtype: 'I32', shape: [inputs], bytes: () => groupIndex(coded) },
  ];
  if (!scales.every((scale) => f16BitsToF32(f32ToF16Bits(scale)) === scale)) {
    tensors.push({
      name: `${name}.scales_f32`,
      dtype: 'F32',
      shape: grouped,
      bytes: () => parameterBytes(scales, outputs, 'f32'),
    });
  }
  tensors.push(
    zerosOf(coded) === 'real'
      ? {
          name: `${name}.zeros`,
          dtype: 'F32',
          shape: grouped,
          bytes: () => parameterBytes(zeroPoints, outputs, 'f32'),
        }
      : {
          name: `${name}.qzeros`,
          dtype: 'I32',
          shape: [groups, wordsOf(outputs, bits)],
          bytes: () => packZeros(coded, bits),
        },
  );
  return tensors;
}

function codebookTensors(coded: CodebookMatrix, name: string): WrittenTensor[] {
  const { outputs, inputs, levels, blockSize, codes, scales } = coded;
  const book = bookOf(coded);
  const state = new TextEncoder().encode(
    JSON.stringify({ quant_type: book, blocksize: blockSize, dtype: 'float32', shape: [outputs, inputs] }),
  );
  return [
    { name, dtype: 'U8', shape: [Math.ceil(codes.length / 2), 1], bytes: () => nibbles(codes) },
    { name: `${name}.absmax`, dtype: 'F32', shape: [scales.length], bytes: () => floatBytes(scales) },
    { name: `${name}.quant_map`, dtype: 'F32', shape: [levels.length], bytes: () => floatBytes(levels) },
    {
      name: `${name}.quant_state.bitsandbytes__${book}`,
      dtype: 'U8',
      shape: [state.length],
      bytes: () => state,
    },
  ];
}

function nibbles(codes: Uint8Array): Uint8Array {
  return Uint8Array.from(
    { length: Math.ceil(codes.length / 2) },
    (_, i) => (codes[2 * i]! << 4) | (codes[2 * i + 1] ?? 0),
  );
}

function floatBytes({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** @throws WhittleError E_DATA */
export function damaged(file: string, tensor: string, message: string, found?: string): WhittleError {
  return new WhittleError('E_DATA', message, {
    file,
    tensor,
    ...(found !== undefined && { found }),
    hint: 'The file is damaged, or was edited: solve again with --save-solution.',
  });
}
