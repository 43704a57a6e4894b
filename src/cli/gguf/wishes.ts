/** The flags of a GGUF quantization, under the names of llama-quantize, as options of the library; and its positional form. */

import { readFile, stat } from 'node:fs/promises';
import type { QuantizeGgufOptions } from '../../compress/gguf/options.ts';
import { WhittleError } from '../../errors.ts';
import { diskError } from '../../io/disk.ts';
import { FILE_TYPE_WORDS, parseFileType } from '../../planning/gguf/file-types.ts';
import {
  parseGgmlType,
  parseOverrideKv,
  parsePruneLayers,
  parseTensorType,
  parseTensorTypeFile,
  type TensorTypeRule,
} from '../../planning/gguf/parse.ts';
import type { PlacedWord } from '../options.ts';

export interface GgufFlags {
  readonly imatrix?: string | undefined;
  readonly includeWeights?: readonly string[] | undefined;
  readonly excludeWeights?: readonly string[] | undefined;
  readonly pure?: boolean | undefined;
  readonly leaveOutputTensor?: boolean | undefined;
  readonly outputTensorType?: string | undefined;
  readonly tokenEmbeddingType?: string | undefined;
  readonly tensorType?: readonly PlacedWord[] | undefined;
  readonly tensorTypeFile?: readonly PlacedWord[] | undefined;
  readonly pruneLayers?: string | undefined;
  readonly overrideKv?: readonly string[] | undefined;
  readonly allowRequantize?: boolean | undefined;
  readonly keepSplit?: boolean | undefined;
}

type Wishes = Omit<QuantizeGgufOptions, 'to' | 'output' | 'threads' | 'signal' | 'onProgress'>;

/** @throws WhittleError E_USAGE, and as reading the file of `--tensor-type-file` */
export async function wishesOf(flags: GgufFlags): Promise<Wishes> {
  const { imatrix, includeWeights, excludeWeights, pure, leaveOutputTensor } = flags;
  return {
    imatrix,
    includeWeights,
    excludeWeights,
    pure,
    leaveOutputTensor,
    outputTensorType:
      flags.outputTensorType === undefined ? undefined : parseGgmlType(flags.outputTensorType),
    tokenEmbeddingType:
      flags.tokenEmbeddingType === undefined ? undefined : parseGgmlType(flags.tokenEmbeddingType),
    tensorTypes: await tensorTypesOf(flags),
    pruneLayers: flags.pruneLayers === undefined ? undefined : parsePruneLayers(flags.pruneLayers),
    overrideKv: flags.overrideKv?.map(parseOverrideKv),
    allowRequantize: flags.allowRequantize,
    keepSplit: flags.keepSplit,
  };
}

/** Rules and files of them in the order in which they were typed, as in llama-quantize: the first that matches decides. */
async function tensorTypesOf({
  tensorType,
  tensorTypeFile,
}: GgufFlags): Promise<TensorTypeRule[] | undefined> {
  if (tensorType === undefined && tensorTypeFile === undefined) return undefined;
  const typed = [
    ...(tensorType ?? []).map(({ place, word }) => ({ place, word, isFile: false })),
    ...(tensorTypeFile ?? []).map(({ place, word }) => ({ place, word, isFile: true })),
  ].sort((a, b) => a.place - b.place);
  const rules: TensorTypeRule[] = [];
  for (const { word, isFile } of typed) {
    if (!isFile) rules.push(parseTensorType(word));
    else for (const rule of parseTensorTypeFile(await readText(word), word)) rules.push(rule);
  }
  return rules;
}

/** A rule for every tensor of the largest models takes a fifth of it; each rule is compiled and tried on every name. */
const LONGEST_RULES = 1 << 20;

async function readText(path: string): Promise<string> {
  try {
    const { size } = await stat(path);
    if (size > LONGEST_RULES) {
      throw new WhittleError('E_LIMIT', 'the file of --tensor-type-file is too large', {
        file: path,
        expected: `at most ${LONGEST_RULES} bytes`,
        found: `${size} bytes`,
        hint: 'One pattern can stand for many tensors: blk\\.[0-9]+\\.ffn_.*_exps=iq4_xs.',
      });
    }
    return await readFile(path, 'utf8');
  } catch (error) {
    throw diskError(error, 'read the file of --tensor-type-file', { file: path });
  }
}

/** What llama-quantize takes behind the input: `[out.gguf] TYPE [threads]`. */
export interface Positional {
  readonly output?: string | undefined;
  readonly to?: readonly string[] | undefined;
  readonly threads?: number | undefined;
}

const FORM = 'whittle quantize in.gguf --to TYPE, or in.gguf [out.gguf] TYPE [threads]';

/** @throws WhittleError E_USAGE where the words are no such form, or a flag says the same */
export function parsePositional(
  words: readonly string[],
  flags: {
    readonly to?: readonly string[] | undefined;
    readonly output?: string | undefined;
    readonly threads?: number | undefined;
  },
): Positional {
  if (words.length === 0) return {};
  const rest = [...words];
  const output = isType(rest[0]) ? undefined : rest.shift();
  const type = rest.shift();
  const threads = rest.shift();
  if (type === undefined) {
    // One word that is no type: what was meant shows in how it ends.
    if (!isGgufName(output)) parseFileType(output ?? '');
    throw new WhittleError('E_USAGE', 'an output is followed by no file type', {
      expected: FORM,
      found: words.join(' '),
      hint:
        flags.to === undefined
          ? `Name the type behind it, as in ${output} Q4_K_M.`
          : 'With --to, name the output with -o.',
    });
  }
  if (rest.length > 0 || (threads !== undefined && !/^\d{1,4}$/.test(threads))) {
    throw new WhittleError('E_USAGE', 'too many words for one model', {
      expected: FORM,
      found: words.join(' '),
      hint: 'Put file names with blanks in quotes.',
    });
  }
  // Says which types there are.
  parseFileType(type);
  const twice = [
    ['--to', flags.to],
    ['--output', output === undefined ? undefined : flags.output],
    ['--threads', threads === undefined ? undefined : flags.threads],
  ].find(([, value]) => value !== undefined);
  if (twice !== undefined) {
    throw new WhittleError('E_USAGE', `${String(twice[0])} and a word without a flag say the same thing`, {
      found: words.join(' '),
    });
  }
  if (output !== undefined && !isGgufName(output)) {
    throw new WhittleError('E_USAGE', `"${output.slice(0, 80)}" is neither a file type nor a .gguf file`, {
      expected: `in.gguf [out.gguf] TYPE [threads], with TYPE of ${FILE_TYPE_WORDS.join(', ')}`,
      hint: 'Let the name of an output end in .gguf: another word could be a misspelt type. A folder is named with -o.',
    });
  }
  return {
    output,
    to: [type],
    // llama-quantize takes 0 for all cores.
    threads: threads === undefined || Number(threads) === 0 ? undefined : Number(threads),
  };
}

function isGgufName(word: string | undefined): boolean {
  return word?.toLowerCase().endsWith('.gguf') ?? false;
}

function isType(word: string | undefined): boolean {
  if (word === undefined) return false;
  try {
    parseFileType(word);
    return true;
  } catch {
    return false;
  }
}
