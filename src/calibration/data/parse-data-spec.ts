/**
 * Tells from a path what data it is, by the ending of the file or by what lies in the folder, and what else is needed to open
 * it (the tokenizer of the model). It reads names only; contents are judged when the data is opened.
 */

import { dirname, extname, join } from 'node:path';
import { WhittleError } from '../../errors.ts';
import type { DataSpec } from './data-spec.ts';

export interface ParseDataOptions {
  /** tokenizer.json or its folder. Default: beside the model, or one folder above. */
  readonly tokenizer?: string | undefined;
  /** The model that the data is for. */
  readonly model?: string | undefined;
}

const TEXT = /^\.(txt|text|md|raw)$/i;
const KINDS = 'a text (.txt)';

/**
 * @param path - as the user gave it; undefined for made-up inputs
 * @throws WhittleError E_USAGE where it is no kind of data that is known or the tokenizer is missing; E_NOT_FOUND
 */
export async function parseDataSpec(
  path: string | undefined,
  options: ParseDataOptions = {},
): Promise<DataSpec> {
  if (path === undefined) return { kind: 'synthetic' };
  const ending = extname(path);
  if (TEXT.test(ending)) return { kind: 'text', file: path, tokenizer: await findTokenizer(path, options) };
  throw new WhittleError('E_USAGE', 'this is no data that is known', {
    file: path,
    expected: KINDS,
    found: ending === '' ? 'a name without ending' : ending,
  });
}

async function findTokenizer(file: string, { tokenizer, model }: ParseDataOptions): Promise<string> {
  if (tokenizer !== undefined) return tokenizer;
  const { stat } = await import('node:fs/promises');
  const folders = model === undefined ? [] : [model, dirname(model), dirname(dirname(model))];
  for (const folder of folders) {
    const candidate = join(folder, 'tokenizer.json');
    const found = await stat(candidate).catch(() => undefined);
    if (found?.isFile()) return candidate;
  }
  throw new WhittleError('E_USAGE', 'text is data only together with the tokenizer of the model', {
    file,
    expected: 'tokenizer.json beside the model, or in the folder above',
    hint: 'Name it: --tokenizer path/to/tokenizer.json',
  });
}
