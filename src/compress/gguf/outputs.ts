/** Where the results go: `<name>-<TYPE>.gguf` (output-name.ts) beside the input, unless the user says else. */

import { basename, dirname, extname, join, resolve } from 'node:path';
import { WhittleError } from '../../errors.ts';
import { EXTENSION, stemOf, typedName } from './output-name.ts';

/** Bare name of a path without the ending and a shard's number. */
export function ggufStem(input: string): string {
  return stemOf(basename(input));
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
  return types.map((type) => join(folder, typedName(basename(input), type)));
}

/** Where the file of a run that is not an output by type goes: `name` beside the input unless the user says else. */
export function ggufOutputPath(input: string, name: string, output: string | undefined): string {
  if (output === undefined) return join(dirname(input), name);
  if (extname(output).toLowerCase() === EXTENSION) return output;
  return join(resolve(output) === resolve('.') ? '.' : output, name);
}
