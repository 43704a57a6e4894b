/**
 * The way back: a quantized GGUF file with its weights as floats again, exactly those that llama.cpp computes with. Underneath it is
 * a quantization to a type of single values, from a source that may be quantized.
 */

import { dirname, join } from 'node:path';
import { WhittleError } from '../../errors.ts';
import type { GgufReport, QuantizeGgufOptions } from './options.ts';
import { ggufStem } from './outputs.ts';
import { quantizeGguf } from './quantize.ts';

export interface DequantizeGgufOptions
  extends Pick<
    QuantizeGgufOptions,
    'output' | 'threads' | 'force' | 'keepSplit' | 'sha256' | 'signal' | 'onProgress'
  > {
  /** Default f32, which loses nothing. */
  readonly to?: 'f32' | 'f16' | 'bf16' | undefined;
}

/** Default output: `<name>-F32.gguf` beside the input. @throws WhittleError as `quantizeGguf` */
export async function dequantizeGguf(
  input: string,
  { to = 'f32', output, ...options }: DequantizeGgufOptions = {},
): Promise<GgufReport> {
  if (to !== 'f32' && to !== 'f16' && to !== 'bf16') {
    throw new WhittleError('E_USAGE', 'weights come back as f32, f16 or bf16', { found: String(to) });
  }
  const name = `${ggufStem(input)}-${to.toUpperCase()}.gguf`;
  return quantizeGguf(input, {
    ...options,
    to,
    allowRequantize: true,
    // A pass without searches: sooner done again than continued.
    journal: false,
    output:
      output === undefined
        ? join(dirname(input), name)
        : output.endsWith('.gguf')
          ? output
          : join(output, name),
  });
}
