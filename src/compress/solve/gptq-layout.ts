/**
 * Codes of a matrix in the layout of GPTQ's checkpoints, which AutoGPTQ introduced and GPTQModel, vLLM and transformers read:
 *
 *   qweight  int32 [⌈inputs · bits / 32⌉, outputs]   codes of consecutive inputs of one output in a word, the first in the low bits
 *   qzeros   int32 [groups, ⌈outputs · bits / 32⌉]   zero points of consecutive outputs in a word; stored as they are ("gptq_v2"; the first
 *                                                    version stored zero − 1)
 *   scales   f16 [groups, outputs]
 *   g_idx    int32 [inputs]                          group of each input
 *
 * Widths that do not divide 32 are stored in the next one that does (7 bits as 8).
 */

import { f32ToF16Bits } from '../../core/floats.ts';

/** A matrix of codes, as algorithms/matrix.ts has it. */
interface Coded {
  readonly outputs: number;
  readonly inputs: number;
  readonly groupSize: number;
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
  readonly zeroPoints: Float32Array;
}

/** Bits of a code in a word. */
export function storedBits(bits: number): 2 | 4 | 8 {
  return bits <= 2 ? 2 : bits <= 4 ? 4 : 8;
}

export function groupsOf({ inputs, groupSize }: Pick<Coded, 'inputs' | 'groupSize'>): number {
  return Math.ceil(inputs / groupSize);
}

export function wordsOf(count: number, bits: 2 | 4 | 8): number {
  return Math.ceil((count * bits) / 32);
}

/** Bytes of `qweight`. */
export function packCodes({ outputs, inputs, codes }: Coded, bits: 2 | 4 | 8): Uint8Array {
  const perWord = 32 / bits;
  const words = new Uint32Array(wordsOf(inputs, bits) * outputs);
  for (let output = 0; output < outputs; output++) {
    for (let input = 0; input < inputs; input++) {
      const at = Math.floor(input / perWord) * outputs + output;
      words[at] = words[at]! | (codes[output * inputs + input]! << ((input % perWord) * bits));
    }
  }
  return bytesOf(words);
}

/** Codes [outputs, inputs] of the words of `qweight`. */
export function unpackCodes(
  words: Uint32Array,
  outputs: number,
  inputs: number,
  bits: 2 | 4 | 8,
): Uint8Array {
  const perWord = 32 / bits;
  const mask = 2 ** bits - 1;
  const codes = new Uint8Array(outputs * inputs);
  for (let input = 0; input < inputs; input++) {
    const row = Math.floor(input / perWord) * outputs;
    const shift = (input % perWord) * bits;
    for (let output = 0; output < outputs; output++)
      codes[output * inputs + input] = (words[row + output]! >>> shift) & mask;
  }
  return codes;
}

/** Bytes of `qzeros`; zero points are integers among the codes. */
export function packZeros(coded: Coded, bits: 2 | 4 | 8): Uint8Array {
  const { outputs, zeroPoints } = coded;
  const groups = groupsOf(coded);
  const perWord = 32 / bits;
  const width = wordsOf(outputs, bits);
  const words = new Uint32Array(groups * width);
  for (let group = 0; group < groups; group++) {
    for (let output = 0; output < outputs; output++) {
      const at = group * width + Math.floor(output / perWord);
      words[at] = words[at]! | (zeroPoints[output * groups + group]! << ((output % perWord) * bits));
    }
  }
  return bytesOf(words);
}

/** Zero points [outputs, groups] of the words of `qzeros`. */
export function unpackZeros(
  words: Uint32Array,
  outputs: number,
  groups: number,
  bits: 2 | 4 | 8,
): Float32Array {
  const perWord = 32 / bits;
  const width = wordsOf(outputs, bits);
  const mask = 2 ** bits - 1;
  const zeros = new Float32Array(outputs * groups);
  for (let group = 0; group < groups; group++) {
    for (let output = 0; output < outputs; output++) {
      const word = words[group * width + Math.floor(output / perWord)]!;
      zeros[output * groups + group] = (word >>> ((output % perWord) * bits)) & mask;
    }
  }
  return zeros;
}

/** [outputs, groups] → bytes of [groups, outputs] in f16 or f32. */
export function parameterBytes(values: Float32Array, outputs: number, type: 'f16' | 'f32'): Uint8Array {
  const groups = values.length / outputs;
  const size = type === 'f16' ? 2 : 4;
  const bytes = new Uint8Array(values.length * size);
  const view = new DataView(bytes.buffer);
  for (let output = 0; output < outputs; output++) {
    for (let group = 0; group < groups; group++) {
      const value = values[output * groups + group]!;
      const at = (group * outputs + output) * size;
      if (type === 'f16') view.setUint16(at, f32ToF16Bits(value), true);
      else view.setFloat32(at, value, true);
    }
  }
  return bytes;
}

/** [groups, outputs] → [outputs, groups]. */
export function parametersOf(stored: Float32Array, outputs: number): Float32Array {
  const groups = stored.length / outputs;
  return Float32Array.from(stored, (_, i) => stored[(i % groups) * outputs + Math.floor(i / groups)]!);
}

/** Bytes of `g_idx`. */
export function groupIndex({ inputs, groupSize }: Pick<Coded, 'inputs' | 'groupSize'>): Uint8Array {
  return bytesOf(Uint32Array.from({ length: inputs }, (_, input) => Math.floor(input / groupSize)));
}

function bytesOf({ buffer, byteOffset, byteLength }: Uint32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
