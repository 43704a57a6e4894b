/**
 * Which files a request speaks of: the model files to compress and the path of every result. A file gives
 * `<name>_<suffix>.onnx` beside itself (or where `output` says); a folder in the layout of transformers.js gives
 * every session file of it, written to its own `onnx/` or to that of another folder.
 */

import { copyFile, readdir, stat } from 'node:fs/promises';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { WhittleError } from '../errors.ts';
import { findSessions, folderOfFile, type ModelFolder, outputName, planFolder } from '../hub/index.ts';
import { suffixOf } from '../hub/names.ts';
import { makeFolder } from '../io/folder.ts';
import type { Recipe } from '../planning/recipe.ts';

export interface PlannedOutput {
  readonly input: string;
  readonly recipe: Recipe;
  readonly path: string;
}

export interface Request {
  readonly outputs: readonly PlannedOutput[];
  /** The folder whose config.json speaks of the results, where there is one. */
  readonly folder: Pick<ModelFolder, 'config' | 'sessions'> | undefined;
  /** Makes the folders that the outputs go to, with the files a model folder needs beside its networks. */
  prepare(): Promise<void>;
}

const EXTENSION = '.onnx';

/** E_USAGE where `output` does not fit what was asked for; errors of `planFolder`. */
export async function resolveRequest(
  input: string,
  recipes: readonly Recipe[],
  output: string | undefined,
): Promise<Request> {
  checkSuffixes(recipes);
  const isFolder = (await stat(input).catch(() => undefined))?.isDirectory() ?? false;
  return isFolder ? folderRequest(input, recipes, output) : fileRequest(input, recipes, output);
}

async function folderRequest(
  input: string,
  recipes: readonly Recipe[],
  output: string | undefined,
): Promise<Request> {
  const extraSuffixes = recipes.map(suffixOf);
  const folder = await planFolder(input, { extraSuffixes });
  if (output !== undefined && extname(output) === EXTENSION) {
    throw new WhittleError('E_USAGE', 'a model folder gives several files, but the output is one', {
      file: input,
      found: output,
      hint: 'Name an output folder, or one ONNX file as input.',
    });
  }
  const elsewhere = output !== undefined && resolve(output) !== resolve(folder.root);
  const onnx = elsewhere ? join(output, 'onnx') : folder.onnx;
  const config = folder.config === undefined || !elsewhere ? folder.config : join(output, 'config.json');
  return {
    folder: { config, sessions: folder.sessions },
    outputs: folder.sessions.flatMap(({ path }) =>
      recipes.map((recipe) => ({
        input: path,
        recipe,
        path: join(onnx, outputName(basename(path), suffixOf(recipe), extraSuffixes)),
      })),
    ),
    async prepare() {
      await makeFolder(onnx);
      if (elsewhere) await copyCompanions(folder.root, output);
    },
  };
}

async function fileRequest(
  input: string,
  recipes: readonly Recipe[],
  output: string | undefined,
): Promise<Request> {
  const extraSuffixes = recipes.map(suffixOf);
  const toFile = output !== undefined && extname(output) === EXTENSION;
  if (toFile && recipes.length > 1) {
    throw new WhittleError('E_USAGE', `${recipes.length} modes were asked for, but the output is one file`, {
      found: output,
      hint: 'Name an output folder instead.',
    });
  }
  const folder = toFile ? dirname(output) : (output ?? dirname(input));
  const outputs = recipes.map((recipe) => ({
    input,
    recipe,
    path: toFile ? output : join(folder, outputName(basename(input), suffixOf(recipe), extraSuffixes)),
  }));
  const home = outputs[0] === undefined ? undefined : await folderOfFile(outputs[0].path);
  return {
    outputs,
    folder: home && {
      config: home.config,
      sessions: await findSessions(home.root, { extraSuffixes }).catch(() => []),
    },
    async prepare() {
      await makeFolder(folder);
    },
  };
}

function checkSuffixes(recipes: readonly Recipe[]): void {
  const seen = new Map<string, string>();
  for (const recipe of recipes) {
    const suffix = suffixOf(recipe);
    const other = seen.get(suffix);
    if (other !== undefined) {
      throw new WhittleError(
        'E_USAGE',
        `${other} and ${recipe.name} would write the same file (suffix ${suffix})`,
        {
          hint: 'Ask for a mode once, or give each recipe its own suffix.',
        },
      );
    }
    seen.set(suffix, recipe.name);
  }
}

/** Copies what stands beside `onnx/` (config, tokenizer, preprocessing) unless it is there already. */
async function copyCompanions(from: string, to: string): Promise<void> {
  for (const entry of await readdir(from, { withFileTypes: true })) {
    if (!entry.isFile() || entry.name.startsWith('.')) continue;
    const target = join(to, entry.name);
    if ((await stat(target).catch(() => undefined)) === undefined) {
      await copyFile(join(from, entry.name), target);
    }
  }
}
