/** The recipes that the flags of `quantize` ask for: modes and files, with the overrides of the command line on top. */

import { readFile } from 'node:fs/promises';
import { WhittleError } from '../errors.ts';
import { MODE_NAMES, presetRecipe } from '../planning/presets.ts';
import type { Recipe } from '../planning/recipe.ts';
import type { RecipeOverrides } from '../planning/recipe-schema.ts';

export interface RecipeFlags {
  readonly to?: readonly string[] | undefined;
  readonly recipe?: readonly string[] | undefined;
  readonly bits?: number | undefined;
  readonly blockSize?: number | undefined;
  readonly symmetric?: boolean | undefined;
  readonly asymmetric?: boolean | undefined;
  readonly accuracyLevel?: number | undefined;
  readonly zeroPoints?: 'integer' | 'real' | undefined;
  readonly opTypes?: readonly string[] | undefined;
  readonly include?: readonly string[] | undefined;
  readonly exclude?: readonly string[] | undefined;
  readonly embeddings?: 'keep' | '4' | '8' | undefined;
}

/** A recipe of reasonable length; a file beyond this is not one. */
const MAX_RECIPE_BYTES = 1 << 20;

/** E_USAGE where nothing is asked for; E_RECIPE where a file is wrong. */
export async function recipesOf(flags: RecipeFlags): Promise<Recipe[]> {
  const recipes = (flags.to ?? []).map(presetRecipe);
  for (const file of flags.recipe ?? []) {
    const { parseRecipe } = await recipeSchema();
    recipes.push(parseRecipe(await readRecipe(file), file));
  }
  if (recipes.length === 0) {
    throw new WhittleError('E_USAGE', 'say what to make', {
      expected: `--to with one or more of ${MODE_NAMES.join(', ')}, or --recipe with a file`,
      hint: 'whittle quantize model.onnx --to q8',
    });
  }
  const overrides = overridesOf(flags);
  if (overrides === undefined) return recipes;
  const { applyOverrides } = await recipeSchema();
  return recipes.map((recipe) => applyOverrides(recipe, overrides));
}

/** Checking recipes takes two libraries that a plain `--to` does without (about 0.1 s). */
const recipeSchema = () => import('../planning/recipe-schema.ts');

function overridesOf(flags: RecipeFlags): RecipeOverrides | undefined {
  if (flags.symmetric && flags.asymmetric) {
    throw new WhittleError('E_USAGE', '--symmetric and --asymmetric contradict each other');
  }
  const embeddings = flags.embeddings === '4' ? 4 : flags.embeddings === '8' ? 8 : flags.embeddings;
  const overrides: RecipeOverrides = {
    bits: flags.bits,
    blockSize: flags.blockSize,
    symmetric: flags.symmetric ? true : flags.asymmetric ? false : undefined,
    accuracyLevel: flags.accuracyLevel,
    zeroPoints: flags.zeroPoints,
    opTypes: flags.opTypes,
    include: flags.include,
    exclude: flags.exclude,
    embeddings,
  };
  return Object.values(overrides).some((value) => value !== undefined) ? overrides : undefined;
}

async function readRecipe(file: string): Promise<string> {
  let bytes: Buffer;
  try {
    bytes = await readFile(file);
  } catch (cause) {
    throw new WhittleError('E_NOT_FOUND', 'the recipe cannot be read', { file, cause });
  }
  if (bytes.length > MAX_RECIPE_BYTES) {
    throw new WhittleError('E_RECIPE', 'the recipe file is too long to be one', {
      file,
      expected: `at most ${MAX_RECIPE_BYTES} bytes`,
      found: `${bytes.length} bytes`,
    });
  }
  return bytes.toString('utf8');
}
