/**
 * A model folder in the layout of transformers.js: which of its files are sessions to compress, and where results go.
 *
 *     my-model/
 *       config.json                 transformers.js_config says which model files have data files
 *       tokenizer.json …            not touched
 *       onnx/
 *         model.onnx                a session, as exported
 *         model.onnx_data           its external data, if any
 *         model_q4.onnx             a variant: what this tool writes
 *
 * A single file inside such an `onnx/` folder belongs to it just as well.
 */

import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { WhittleError } from '../errors.ts';
import { splitFileName } from './names.ts';

const ONNX_FOLDER = 'onnx';
const CONFIG_NAME = 'config.json';

export interface SessionFile {
  /** `model`, `encoder_model`, … */
  readonly session: string;
  readonly path: string;
  /** Bytes of the model file and of the data files beside it. */
  readonly bytes: number;
}

export interface VariantFile extends SessionFile {
  readonly suffix: string;
}

export interface ModelFolder {
  /** The folder that holds config.json. */
  readonly root: string;
  readonly onnx: string;
  /** Undefined where the folder has none. */
  readonly config: string | undefined;
  /** Files without a dtype suffix, by name. */
  readonly sessions: readonly SessionFile[];
  /** Files that some tool made of them. */
  readonly variants: readonly VariantFile[];
}

export interface FolderOptions {
  /** Suffixes of the user's own recipes, so that earlier results are not taken for sessions. */
  readonly extraSuffixes?: readonly string[] | undefined;
}

/**
 * Looks through a model folder (or its `onnx` folder). E_NOT_FOUND where it is absent, E_NOT_A_MODEL where it holds no
 * session file.
 */
export async function planFolder(folder: string, options: FolderOptions = {}): Promise<ModelFolder> {
  const { root, onnx } = await locate(folder);
  const names = await list(onnx);
  const sessions: SessionFile[] = [];
  const variants: VariantFile[] = [];
  for (const name of names) {
    const parsed = splitFileName(name, options.extraSuffixes);
    if (parsed === undefined || name.startsWith('.')) continue;
    const path = join(onnx, name);
    const bytes = await totalBytes(onnx, name, names);
    if (bytes === undefined) continue;
    if (parsed.suffix === '') sessions.push({ session: parsed.session, path, bytes });
    else variants.push({ ...parsed, path, bytes });
  }
  if (sessions.length === 0) {
    const [first] = variants;
    throw new WhittleError('E_NOT_A_MODEL', 'The folder holds no model file to start from.', {
      file: onnx,
      expected: 'model files without a dtype suffix, such as model.onnx',
      found:
        first === undefined ? 'no .onnx file' : `only ${variants.map((v) => basename(v.path)).join(', ')}`,
      hint:
        first === undefined
          ? 'Name a folder in the layout of transformers.js (config.json, onnx/model.onnx), or an ONNX file.'
          : `Name the file to start from, for example ${first.path}.`,
    });
  }
  const config = join(root, CONFIG_NAME);
  return { root, onnx, config: (await isFile(config)) ? config : undefined, sessions, variants };
}

/** The session files of a model folder, without their variants. Errors as `planFolder`. */
export async function findSessions(
  folder: string,
  options: FolderOptions = {},
): Promise<readonly SessionFile[]> {
  return (await planFolder(folder, options)).sessions;
}

/** The model folder that a file belongs to: one named `onnx` whose parent has a config.json. Else undefined. */
export async function folderOfFile(
  file: string,
): Promise<{ root: string; onnx: string; config: string } | undefined> {
  const onnx = dirname(resolve(file));
  if (basename(onnx) !== ONNX_FOLDER) return undefined;
  const root = dirname(onnx);
  const config = join(root, CONFIG_NAME);
  return (await isFile(config)) ? { root, onnx, config } : undefined;
}

async function locate(folder: string): Promise<{ root: string; onnx: string }> {
  const inner = join(folder, ONNX_FOLDER);
  if (await isFolder(inner)) return { root: folder, onnx: inner };
  if (!(await isFolder(folder))) {
    throw new WhittleError('E_NOT_FOUND', 'There is no such folder.', { file: folder });
  }
  const absolute = resolve(folder);
  if (basename(absolute) === ONNX_FOLDER && (await isFile(join(absolute, '..', CONFIG_NAME)))) {
    return { root: dirname(absolute), onnx: folder };
  }
  throw new WhittleError('E_NOT_A_MODEL', 'The folder is not a model in the layout of transformers.js.', {
    file: folder,
    expected: `a folder "${ONNX_FOLDER}" in it`,
    hint: 'Move the model files into onnx/ beside config.json, or name the ONNX file itself.',
  });
}

async function list(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (cause) {
    throw new WhittleError('E_ACCESS', 'The folder cannot be read.', { file: folder, cause });
  }
}

/** Undefined where `name` is no file. */
async function totalBytes(
  folder: string,
  name: string,
  names: readonly string[],
): Promise<number | undefined> {
  const model = await stat(join(folder, name)).catch(() => undefined);
  if (model === undefined || !model.isFile()) return undefined;
  let bytes = model.size;
  for (const other of names) {
    if (!isDataFileOf(other, name)) continue;
    bytes += (await stat(join(folder, other)).catch(() => undefined))?.size ?? 0;
  }
  return bytes;
}

function isDataFileOf(other: string, name: string): boolean {
  return other.startsWith(`${name}_data`) && /^(_[0-9]+)?$/.test(other.slice(name.length + '_data'.length));
}

async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() ?? false;
}

async function isFile(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isFile() ?? false;
}
