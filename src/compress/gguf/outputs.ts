/**
 * Where the results go: `<name>-<TYPE>.gguf` beside the input, as published files are named, unless the user says else. What a
 * name says about the precision of the original (`-f16`, `.BF16`) would be wrong for the result and is replaced; so is the
 * number of a shard.
 */

import { basename, dirname, extname, join, resolve } from 'node:path';
import { WhittleError } from '../../errors.ts';
import { parseSplitName } from '../../formats/gguf/split-names.ts';

const EXTENSION = '.gguf';
const PRECISION = /[-_.](?:f32|fp32|f16|fp16|bf16)$/i;

/** `dir/llama-f16.gguf`, `Q4_K_M` → `llama-Q4_K_M.gguf`. */
export function ggufOutputName(input: string, type: string): string {
  return `${ggufStem(input).replace(PRECISION, '')}-${type}${EXTENSION}`;
}

/** Bare name without the ending and a shard's number. */
export function ggufStem(input: string): string {
  const bare = basename(input);
  const whole = parseSplitName(bare)?.prefix ?? bare;
  return whole.toLowerCase().endsWith(EXTENSION) ? whole.slice(0, -EXTENSION.length) : whole;
}

/**
 * Path of the result of each type.
 * @throws WhittleError E_USAGE where a type is named twice or several results would be one file
 */
export function ggufOutputPaths(
  input: string,
  types: readonly string[],
  output: string | undefined,
): string[] {
  const twice = types.find((type, index) => types.indexOf(type) !== index);
  if (twice !== undefined) {
    throw new WhittleError('E_USAGE', `${twice} is asked for twice`, {
      found: types.join(', '),
      hint: 'Name each type once; aliases mean the same type.',
    });
  }
  const isFile = output !== undefined && extname(output).toLowerCase() === EXTENSION;
  if (isFile && types.length > 1) {
    throw new WhittleError('E_USAGE', `${types.length} types were asked for, but the output is one file`, {
      found: output,
      hint: 'Name an output folder instead.',
    });
  }
  if (isFile) return [output];
  const folder = output ?? dirname(input);
  return types.map((type) => join(folder, ggufOutputName(input, type)));
}

/** Where the file of a run that is not an output by type goes: `name` beside the input unless the user says else. */
export function ggufOutputPath(input: string, name: string, output: string | undefined): string {
  if (output === undefined) return join(dirname(input), name);
  if (extname(output).toLowerCase() === EXTENSION) return output;
  return join(resolve(output) === resolve('.') ? '.' : output, name);
}
