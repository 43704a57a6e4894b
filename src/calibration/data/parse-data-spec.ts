/**
 * Tells from a path what data it is, by the ending of the file or by what lies in the folder, and finds what else is needed to
 * open it: the tokenizer of the model, the preprocessing of pictures. It reads names only; contents are judged when the data is opened.
 */

import { basename, dirname, extname, join } from 'node:path';
import { WhittleError } from '../../errors.ts';
import { ioError } from '../../io/file-source.ts';
import type { DataSpec, NpySpec } from './data-spec.ts';
import type { ImagePreparation } from './image-preparation.ts';
import { IMAGE_NAME } from './images.ts';

export interface ParseDataOptions {
  /** tokenizer.json or its folder. Default: beside the model, or one folder above. */
  readonly tokenizer?: string | undefined;
  /** Of pictures: a description or a file with one. Default: preprocess.json in their folder, preprocessor_config.json of the model. */
  readonly preparation?: ImagePreparation | string | undefined;
  /** The model that the data is for. */
  readonly model?: string | undefined;
}

const BY_ENDING: Readonly<Record<string, 'json' | 'ndjson' | 'npz' | 'safetensors' | 'module'>> = {
  '.json': 'json',
  '.ndjson': 'ndjson',
  '.jsonl': 'ndjson',
  '.npz': 'npz',
  '.safetensors': 'safetensors',
  '.js': 'module',
  '.mjs': 'module',
  '.cjs': 'module',
};
const TEXT = /^\.(txt|text|md|raw)$/i;
const KINDS =
  'text (.txt .md .raw), rows (.json .ndjson .jsonl), arrays (.npy .npz .safetensors), a module (.js .mjs .cjs), or a folder of pictures or .npy files';

/**
 * @param path - as the user gave it; `input=file.npy,other=file.npy` for several arrays; undefined for made-up inputs
 * @throws WhittleError E_USAGE where it is no kind of data that is known, or the tokenizer is missing; E_NOT_FOUND, E_ACCESS
 */
export async function parseDataSpec(
  path: string | undefined,
  options: ParseDataOptions = {},
): Promise<DataSpec> {
  if (path === undefined) return { kind: 'synthetic' };
  if (path === '') throw new WhittleError('E_USAGE', 'the data has no name', { expected: KINDS });
  const named = namedArrays(path);
  if (named !== undefined) return named;
  const { stat } = await import('node:fs/promises');
  const found = await stat(path).catch((cause: unknown) => {
    throw ioError(path, cause);
  });
  if (found.isDirectory()) return folderSpec(path, options);
  const ending = extname(path).toLowerCase();
  if (TEXT.test(ending)) return { kind: 'text', file: path, tokenizer: await findTokenizer(path, options) };
  if (ending === '.npy') return { kind: 'npy', files: [{ file: path }] };
  const kind = Object.hasOwn(BY_ENDING, ending) ? BY_ENDING[ending] : undefined;
  if (kind === 'json' || kind === 'ndjson') {
    // Wanted where rows hold texts, which only reading them tells.
    const tokenizer = options.tokenizer ?? (await firstFile(besideModel(options.model, 'tokenizer.json')));
    return { kind, file: path, ...(tokenizer !== undefined && { tokenizer }) };
  }
  if (kind !== undefined) return { kind, file: path };
  throw new WhittleError('E_USAGE', 'this is no data that is known', {
    file: path,
    expected: KINDS,
    found: ending === '' ? 'a name without ending' : ending,
    hint: hintFor(ending, path),
  });
}

function hintFor(ending: string, path: string): string | undefined {
  if (IMAGE_NAME.test(path)) return `Name the folder of the pictures: ${dirname(path)}`;
  if (/^\.(pt|pth|bin|pkl|pickle|ckpt)$/.test(ending)) {
    return 'Pickle files can run code and are not read: save the arrays with numpy.savez.';
  }
  if (/^\.(csv|tsv|parquet|arrow|h5)$/.test(ending))
    return 'Write its rows as NDJSON, or its columns with numpy.savez.';
  if (/^\.(gz|zip|zst|xz|tar|bz2)$/.test(ending)) return 'Unpack it first.';
  return undefined;
}

/** `x=a.npy,y=b.npy`; undefined where the path is none of that. */
function namedArrays(path: string): NpySpec | undefined {
  const files: { input: string; file: string }[] = [];
  for (const part of path.split(',')) {
    const match = /^([^=]+)=(.+\.npy)$/i.exec(part.trim());
    if (match?.[1] === undefined || match[2] === undefined) return undefined;
    files.push({ input: match[1], file: match[2] });
  }
  return { kind: 'npy', files };
}

async function folderSpec(folder: string, options: ParseDataOptions): Promise<DataSpec> {
  const { readdir } = await import('node:fs/promises');
  const names = await readdir(folder).catch((cause: unknown) => {
    throw ioError(folder, cause);
  });
  const arrays = names.filter((name) => /\.npy$/i.test(name)).sort();
  if (arrays.length > 0 && !names.some((name) => IMAGE_NAME.test(name))) {
    const files = arrays.map((name) => ({ file: join(folder, name), input: basename(name, extname(name)) }));
    return { kind: 'npy', files };
  }
  const preparation =
    options.preparation ??
    (await firstFile([
      join(folder, 'preprocess.json'),
      ...besideModel(options.model, 'preprocessor_config.json'),
    ]));
  return { kind: 'images', folder, preparation };
}

function besideModel(model: string | undefined, name: string): string[] {
  return model === undefined
    ? []
    : [model, dirname(model), dirname(dirname(model))].map((folder) => join(folder, name));
}

async function firstFile(candidates: readonly string[]): Promise<string | undefined> {
  const { stat } = await import('node:fs/promises');
  for (const candidate of candidates) {
    const found = await stat(candidate).catch(() => undefined);
    if (found?.isFile()) return candidate;
  }
  return undefined;
}

async function findTokenizer(file: string, { tokenizer, model }: ParseDataOptions): Promise<string> {
  const found = tokenizer ?? (await firstFile(besideModel(model, 'tokenizer.json')));
  if (found !== undefined) return found;
  throw new WhittleError('E_USAGE', 'text is data only together with the tokenizer of the model', {
    file,
    expected: 'tokenizer.json beside the model, or in the folder above',
    hint: 'Name it: --tokenizer path/to/tokenizer.json',
  });
}
