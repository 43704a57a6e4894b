/**
 * Recipe files: JSON or YAML text → `Recipe`, strictly. An unknown key is an error with the nearest known one; every error names
 * the path inside the file. `extends: q4` starts from a mode: own rules come first, then those of the mode.
 *
 * Guards: YAML aliases are counted (an alias bomb is 200 bytes that expand to gigabytes), custom tags are refused,
 * text is at most 1 MiB, and keys such as `__proto__` are refused before anything is built from them.
 */

import { parseDocument } from 'yaml';
import { z } from 'zod';
import { nearest } from '../core/nearest.ts';
import { WhittleError } from '../errors.ts';
import { ONNXRUNTIME_OPERATORS } from '../formats/onnx/rewrite/static/settings.ts';
import { parsePreparation } from './preparation.ts';
import { DATA_MODE_NAMES, isMode, MODE_NAMES, presetRecipe } from './presets.ts';
import type { Match, Recipe, Rule, Scheme, StaticRecipe } from './recipe.ts';

export type { ActivationType, StaticSettings } from '../formats/onnx/rewrite/static/settings.ts';
export type { Match, Recipe, Rule, Scheme, StaticRecipe } from './recipe.ts';

const MAX_TEXT = 1 << 20;
const MAX_ALIASES = 50;
const MAX_DEPTH = 20;

const pattern = z.string().min(1).max(1024);
const patterns = z.union([pattern, z.array(pattern).min(1).max(10_000)]);
const block = z.union([z.literal(16), z.literal(32), z.literal(64), z.literal(128), z.literal(256)]);

const matchSchema = z.strictObject({
  tensor: patterns.optional(),
  node: patterns.optional(),
  opType: patterns.optional(),
  minElements: z.number().int().nonnegative().optional(),
  depthwise: z.boolean().optional(),
  int8SqnrBelow: z.number().finite().optional(),
});

const schemes = {
  keep: z.strictObject({ as: z.literal('keep') }),
  'matmul-nbits': z
    .strictObject({
      as: z.literal('matmul-nbits'),
      bits: z.literal([2, 4, 8]),
      blockSize: block.default(32),
      symmetric: z.boolean().default(true),
      accuracyLevel: z
        .union([z.literal(0), z.literal(1), z.literal(2), z.literal(3), z.literal(4)])
        .default(0),
      zeroPoints: z.enum(['integer', 'real']).optional(),
    })
    .refine((s) => s.zeroPoints !== 'real' || !s.symmetric, {
      message: 'real zero points need symmetric: false',
      path: ['zeroPoints'],
    })
    .refine((s) => s.zeroPoints !== 'real' || s.bits !== 8, {
      message: 'real zero points are for 2 and 4 bits: onnxruntime refuses them at 8',
      path: ['zeroPoints'],
    }),
  bnb4: z.strictObject({
    as: z.literal('bnb4'),
    codebook: z.enum(['nf4', 'fp4']).default('nf4'),
    blockSize: block.default(64),
  }),
  'dynamic-int8': z.strictObject({
    as: z.literal('dynamic-int8'),
    weightType: z.enum(['int8', 'uint8', 'auto']).default('auto'),
    perChannel: z.boolean().default(true),
    reduceRange: z.union([z.boolean(), z.literal('auto')]).default('auto'),
  }),
  qdq: z
    .strictObject({
      as: z.literal('qdq'),
      type: z.enum(['int4', 'uint4', 'int8', 'uint8']),
      granularity: z.enum(['tensor', 'channel', 'block']).default('channel'),
      blockSize: z.number().int().nonnegative().max(65_536).default(0),
    })
    .refine((s) => s.granularity !== 'block' || s.blockSize >= 16, {
      message: 'granularity block needs a blockSize of 16 or more',
      path: ['blockSize'],
    }),
  cast: z
    .strictObject({
      as: z.literal('cast'),
      type: z.enum(['f16', 'bf16', 'f8_e4m3fn', 'f8_e5m2', 'f8_e4m3fnuz', 'f8_e5m2fnuz']),
      scale: z.enum(['none', 'tensor', 'channel']).default('none'),
    })
    .refine((s) => s.type.startsWith('f8') || s.scale === 'none', {
      message: 'only float8 types carry a scale',
      path: ['scale'],
    }),
  'gather-block': z.strictObject({
    as: z.literal('gather-block'),
    bits: z.literal([4, 8]),
    blockSize: block.default(32),
    symmetric: z.boolean().default(true),
  }),
} as const;

export const SCHEME_NAMES = Object.keys(schemes);

const schemeSchema = z.discriminatedUnion('as', [
  schemes.keep,
  schemes['matmul-nbits'],
  schemes.bnb4,
  schemes['dynamic-int8'],
  schemes.qdq,
  schemes.cast,
  schemes['gather-block'],
]);

const names = z.array(z.string().min(1).max(256)).max(1000);

const staticSchema = z.strictObject({
  activations: z.enum(['uint8', 'int8', 'uint16', 'int16']),
  symmetricActivations: z.boolean(),
  weights: z.enum(['int8', 'uint8']),
  symmetricWeights: z.boolean().optional(),
  perChannel: z.boolean(),
  reduceRange: z.boolean(),
  minimumRealRange: z.number().positive().optional(),
  operators: z.union([z.literal('onnxruntime').transform(() => ONNXRUNTIME_OPERATORS), names.min(1)]),
  floatOutputs: names.optional(),
  elementwise: z.enum(['everywhere', 'convolutions']).optional(),
  constants: z.enum(['weights', 'activations']),
  observer: z.enum(['minmax', 'moving-average', 'percentile', 'entropy', 'mse']),
  percentile: z.number().gt(50).max(100).optional(),
  fold: z.boolean(),
  include: patterns.optional(),
});

const partialStatic = staticSchema.partial();

const recipeSchema = z.strictObject({
  extends: z.string().optional(),
  name: z.string().min(1).max(200).optional(),
  description: z.string().max(4096).optional(),
  suffix: z
    .string()
    .regex(/^_[A-Za-z0-9_.-]{1,60}$/, 'a suffix is _ followed by letters, digits, _ . or -')
    .optional(),
  rules: z
    .array(z.strictObject({ match: matchSchema, scheme: schemeSchema }))
    .max(10_000)
    .optional(),
  exclude: z.union([matchSchema, z.array(matchSchema).max(10_000)]).optional(),
  static: partialStatic.optional(),
  prepare: z.union([z.string().min(1).max(200), z.array(z.string().min(1).max(200)).max(100)]).optional(),
  fp16: z
    .union([
      z.literal(false),
      z.strictObject({
        keepIoTypes: z.boolean().default(true),
        blockedOps: z.array(pattern).max(1000).optional(),
      }),
    ])
    .optional(),
});

/** Known keys by path, for "did you mean". */
const KEYS = [
  ...Object.keys(recipeSchema.shape),
  ...Object.keys(matchSchema.shape),
  ...Object.keys(staticSchema.shape),
  ...[
    'match',
    'scheme',
    'as',
    'bits',
    'blockSize',
    'symmetric',
    'accuracyLevel',
    'zeroPoints',
    'codebook',
    'weightType',
  ],
  ...['perChannel', 'reduceRange', 'type', 'granularity', 'scale', 'keepIoTypes', 'blockedOps'],
];

/** Reads a recipe file. `fileName` decides between JSON (`.json`) and YAML (anything else). E_RECIPE. */
export function parseRecipe(text: string, fileName: string): Recipe {
  if (text.length > MAX_TEXT) {
    throw new WhittleError('E_RECIPE', 'the recipe is larger than 1 MiB', { file: fileName });
  }
  const value = fileName.toLowerCase().endsWith('.json')
    ? parseJson(text, fileName)
    : parseYaml(text, fileName);
  return validateRecipe(value, fileName);
}

function parseJson(text: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new WhittleError('E_RECIPE', 'the recipe is not valid JSON', {
      file,
      found: messageOf(cause),
      cause,
    });
  }
}

function parseYaml(text: string, file: string): unknown {
  const document = parseDocument(text, {
    schema: 'core',
    uniqueKeys: true,
    prettyErrors: true,
    logLevel: 'silent',
  });
  const problem = document.errors[0] ?? document.warnings[0];
  if (problem !== undefined) {
    throw new WhittleError('E_RECIPE', 'the recipe is not valid YAML', {
      file,
      found: problem.message.split('\n')[0],
      cause: problem,
    });
  }
  try {
    return document.toJS({ maxAliasCount: MAX_ALIASES });
  } catch (cause) {
    throw new WhittleError('E_RECIPE', 'the recipe cannot be expanded', {
      file,
      found: messageOf(cause),
      hint: `A recipe may use at most ${MAX_ALIASES} YAML aliases.`,
      cause,
    });
  }
}

/** Checks a value that was parsed elsewhere (or written as a literal) and resolves `extends`. E_RECIPE. */
export function validateRecipe(value: unknown, file = 'recipe'): Recipe {
  refuseHostileKeys(value, file, [], 0);
  const result = recipeSchema.safeParse(value);
  if (!result.success) throw recipeError(result.error.issues[0], value, file);
  const { extends: parent, fp16, rules, exclude, static: given, prepare, ...own } = result.data;
  if (parent !== undefined && !isMode(parent)) {
    const near = nearest(parent, [...MODE_NAMES, ...DATA_MODE_NAMES]);
    throw new WhittleError('E_RECIPE', `extends: there is no mode ${parent}`, {
      file,
      expected: [...MODE_NAMES, ...DATA_MODE_NAMES].join(', '),
      hint: near && `Did you mean ${near}?`,
    });
  }
  const base: Recipe | undefined = parent === undefined ? undefined : presetRecipe(parent);
  const half = fp16 === undefined ? base?.fp16 : fp16 === false ? undefined : fp16;
  const excluded = [...list<Match>(base?.exclude), ...list<Match>(exclude)];
  const settings = staticSettings(given, base);
  if (settings !== undefined && (half !== undefined || (rules ?? []).length > 0)) {
    throw new WhittleError(
      'E_RECIPE',
      'static decides over the whole graph: it goes with neither rules nor fp16',
      {
        file,
        hint: 'Leave weights out with exclude.',
      },
    );
  }
  const prepared = prepare === undefined ? base?.prepare : preparations(prepare, file);
  const recipe: Recipe = {
    name: own.name ?? parent ?? 'custom',
    description: own.description ?? base?.description,
    suffix: own.suffix ?? base?.suffix,
    rules: settings === undefined ? [...(rules ?? []), ...(base?.rules ?? [])] : [],
    ...(settings && { static: settings }),
    ...(excluded.length > 0 && { exclude: excluded }),
    ...(prepared && { prepare: prepared }),
    ...(half && { fp16: half }),
  };
  if (recipe.rules.length === 0 && recipe.fp16 === undefined && recipe.static === undefined) {
    throw new WhittleError('E_RECIPE', 'the recipe does nothing: it has no rules and no fp16', {
      file,
      hint: 'Give it rules, or start from a mode with "extends: q4".',
    });
  }
  return recipe;
}

/** Checked here, so that a wrong name is told with the recipe's file. */
function preparations(given: string | readonly string[], file: string): readonly string[] {
  const texts = typeof given === 'string' ? [given] : given;
  try {
    parsePreparation(texts);
  } catch (error) {
    if (!(error instanceof WhittleError)) throw error;
    throw new WhittleError('E_RECIPE', `prepare: ${error.message}`, { ...error.details, file });
  }
  return texts;
}

/** What a recipe leaves out is as in static-int8. */
function staticSettings(
  given: z.infer<typeof partialStatic> | undefined,
  base: Recipe | undefined,
): StaticRecipe | undefined {
  if (given === undefined) return base?.static;
  const start = base?.static ?? presetRecipe('static-int8').static;
  if (start === undefined) return undefined;
  const { include, ...own } = given;
  const set = Object.fromEntries(Object.entries(own).filter(([, value]) => value !== undefined));
  const patterns = include === undefined ? start.include : typeof include === 'string' ? [include] : include;
  return { ...start, ...set, ...(patterns && { include: patterns }) };
}

/** The static settings with what the command line asked for on top. */
function overrideStatic(recipe: Recipe, settings: StaticRecipe, overrides: RecipeOverrides): Recipe {
  const { bits, blockSize, accuracyLevel, zeroPoints, embeddings, symmetric } = overrides;
  const { opTypes, include, exclude } = overrides;
  for (const [key, value] of Object.entries({ bits, blockSize, accuracyLevel, zeroPoints, embeddings })) {
    if (value === undefined) continue;
    throw new WhittleError('E_USAGE', `mode ${recipe.name} has no ${key} to set`, {
      hint: 'A recipe with static settings chooses types and granularity (docs/static-int8.md).',
    });
  }
  const excluded: Match[] = [...list(recipe.exclude)];
  if (exclude !== undefined && exclude.length > 0) excluded.push({ tensor: exclude }, { node: exclude });
  return {
    ...recipe,
    static: {
      ...settings,
      ...(symmetric !== undefined && { symmetricActivations: symmetric }),
      ...(opTypes !== undefined && { operators: opTypes }),
      ...(include !== undefined && include.length > 0 && { include }),
    },
    ...(excluded.length > 0 && { exclude: excluded }),
  };
}

export interface RecipeOverrides {
  /** Bits of every matmul-nbits rule (2, 4, 8), of qdq rules (4, 8) and of gather-block rules (4, 8). */
  readonly bits?: number | undefined;
  readonly blockSize?: number | undefined;
  readonly symmetric?: boolean | undefined;
  readonly accuracyLevel?: number | undefined;
  /** Of every matmul-nbits rule; `real` makes it asymmetric. */
  readonly zeroPoints?: 'integer' | 'real' | undefined;
  /** Only weights of these operators. */
  readonly opTypes?: readonly string[] | undefined;
  /** Only tensors (or nodes) with these names. */
  readonly include?: readonly string[] | undefined;
  readonly exclude?: readonly string[] | undefined;
  /** Embedding tables as GatherBlockQuantized. */
  readonly embeddings?: 'keep' | 4 | 8 | undefined;
}

/** The recipe with what the command line asked for on top. E_USAGE where no scheme can meet a demand. */
export function applyOverrides(recipe: Recipe, overrides: RecipeOverrides): Recipe {
  const { bits, blockSize, accuracyLevel, zeroPoints, opTypes, include, exclude, embeddings } = overrides;
  const { symmetric } = overrides;
  if (recipe.static !== undefined) return overrideStatic(recipe, recipe.static, overrides);
  const touched = new Set<string>();
  const dynamic = recipe.rules.some(({ scheme }) => scheme.as === 'dynamic-int8');
  if (dynamic && (bits !== undefined || symmetric !== undefined)) {
    throw new WhittleError(
      'E_USAGE',
      `mode ${recipe.name} is always 8 bits, with the symmetry of its weight type`,
      {
        hint: 'Use int8 or uint8 to choose the weight type, or q4 with bits.',
      },
    );
  }
  let rules: Rule[] = recipe.rules.map((rule) => {
    // What a mode does instead where its own form would spoil a weight stays as it is.
    if (isFallback(rule)) return rule;
    const changed: Record<string, unknown> = { ...rule.scheme };
    const set = (key: string, value: unknown): void => {
      changed[key] = value;
      touched.add(key);
    };
    if (bits !== undefined && 'bits' in changed) set('bits', bits);
    if (bits !== undefined && rule.scheme.as === 'qdq') {
      set('type', `${rule.scheme.type.startsWith('u') ? 'uint' : 'int'}${bits}`);
      touched.add('bits');
    }
    if (blockSize !== undefined && 'blockSize' in changed && changed.blockSize !== 0)
      set('blockSize', blockSize);
    if (symmetric !== undefined && 'symmetric' in changed) set('symmetric', symmetric);
    if (symmetric !== undefined && rule.scheme.as === 'qdq') {
      set('type', `${symmetric ? '' : 'u'}int${String(changed.type).replace(/^u?int/, '')}`);
      touched.add('symmetric');
    }
    if (accuracyLevel !== undefined && 'accuracyLevel' in changed) set('accuracyLevel', accuracyLevel);
    if (zeroPoints !== undefined && 'accuracyLevel' in changed) {
      set('zeroPoints', zeroPoints);
      if (zeroPoints === 'real' && symmetric === undefined) set('symmetric', false);
    }
    const result = schemeSchema.safeParse(changed);
    if (!result.success) throw recipeError(result.error.issues[0], changed, `mode ${recipe.name}`, 'E_USAGE');
    return { match: rule.match, scheme: result.data };
  });
  for (const [key, value] of Object.entries({ bits, blockSize, symmetric, accuracyLevel, zeroPoints })) {
    if (value !== undefined && !touched.has(key)) {
      const qdq =
        key === 'bits' || key === 'blockSize' || key === 'symmetric' ? ', q2 and int4-qdq' : ' and q2';
      const reason =
        key === 'zeroPoints' && recipe.rules.some(({ scheme }) => scheme.as === 'qdq')
          ? ' DequantizeLinear takes zero points of the type of its codes.'
          : '';
      throw new WhittleError('E_USAGE', `mode ${recipe.name} has no ${key} to set`, {
        hint: `${key} belongs to the modes q4${qdq}, or to a recipe with such rules.${reason}`,
      });
    }
  }
  if (opTypes !== undefined) rules = onlyOperators(rules, opTypes);
  if (embeddings === 4 || embeddings === 8) {
    const scheme = schemeSchema.parse({
      as: 'gather-block',
      bits: embeddings,
      blockSize: blockSize ?? 32,
      symmetric: symmetric ?? true,
    });
    rules = [{ match: { opType: 'Gather', minElements: 1024 }, scheme }, ...rules];
  } else if (embeddings === 'keep') {
    rules = [{ match: { opType: 'Gather' }, scheme: { as: 'keep' } }, ...rules];
  }
  if (include !== undefined && include.length > 0) {
    rules = rules.flatMap((rule) => [
      { ...rule, match: { ...rule.match, tensor: include } },
      { ...rule, match: { ...rule.match, node: include } },
    ]);
  }
  const excluded: Match[] = [...list(recipe.exclude)];
  if (exclude !== undefined && exclude.length > 0) excluded.push({ tensor: exclude }, { node: exclude });
  return { ...recipe, rules, ...(excluded.length > 0 && { exclude: excluded }) };
}

function isFallback({ match }: Rule): boolean {
  return match.depthwise !== undefined || match.int8SqnrBelow !== undefined;
}

/** The rules for these operators alone; one that no rule speaks of takes the mode's first form. */
function onlyOperators(rules: readonly Rule[], opTypes: readonly string[]): Rule[] {
  const spoken = new Set<string>();
  const narrowed = rules.flatMap((rule) => {
    const own = rule.match.opType;
    const known =
      own === undefined
        ? opTypes
        : opTypes.filter((name) => (typeof own === 'string' ? own === name : own.includes(name)));
    for (const name of known) spoken.add(name);
    return known.length === 0 ? [] : [{ ...rule, match: { ...rule.match, opType: known } }];
  });
  const main = rules.find((rule) => !isFallback(rule));
  const others = opTypes.filter((name) => !spoken.has(name));
  if (main === undefined || others.length === 0) return narrowed;
  return [...narrowed, { ...main, match: { ...main.match, opType: others } }];
}

function list<T extends object>(value: T | readonly T[] | undefined): readonly T[] {
  if (value === undefined) return [];
  return isList(value) ? value : [value];
}

function isList<T>(value: T | readonly T[]): value is readonly T[] {
  return Array.isArray(value);
}

function refuseHostileKeys(value: unknown, file: string, path: readonly string[], depth: number): void {
  if (typeof value !== 'object' || value === null) return;
  if (depth > MAX_DEPTH) {
    throw new WhittleError('E_RECIPE', 'the recipe is nested too deeply', { file, found: path.join('.') });
  }
  for (const key of Object.getOwnPropertyNames(value)) {
    if (key === '__proto__' || key === 'constructor' || key === 'prototype') {
      throw new WhittleError('E_RECIPE', `the key ${key} is not allowed`, {
        file,
        found: [...path, key].join('.'),
      });
    }
    const child: unknown = Reflect.get(value, key);
    refuseHostileKeys(child, file, [...path, key], depth + 1);
  }
}

function recipeError(
  issue: z.core.$ZodIssue | undefined,
  value: unknown,
  file: string,
  code: 'E_RECIPE' | 'E_USAGE' = 'E_RECIPE',
): WhittleError {
  // A union reports one list of issues for each member: the one that got furthest is the one to tell.
  let current = issue;
  let path = [...(issue?.path ?? [])];
  while (current?.code === 'invalid_union' && current.errors.length > 0) {
    const inner: z.core.$ZodIssue | undefined = [...current.errors]
      .sort((a, b) => deepest(b) - deepest(a))[0]
      ?.toSorted((a, b) => b.path.length - a.path.length)[0];
    if (inner === undefined) break;
    path = [...path, ...inner.path];
    current = inner;
  }
  const where = path.map(String).join('.') || '(top)';
  if (current?.code === 'unrecognized_keys') {
    const key = current.keys[0] ?? '';
    const near = nearest(key, KEYS);
    return new WhittleError('E_RECIPE', `unknown key ${key} at ${where}`, {
      file,
      hint: near === undefined ? 'docs/recipes.md lists every key.' : `Did you mean ${near}?`,
    });
  }
  if (path.at(-1) === 'as' || current?.path.at(-1) === 'as') {
    const given = String(lookUp(value, path) ?? '');
    const near = nearest(given, SCHEME_NAMES);
    return new WhittleError('E_RECIPE', `unknown scheme at ${where}`, {
      file,
      expected: SCHEME_NAMES.join(', '),
      found: given,
      hint: near && `Did you mean ${near}?`,
    });
  }
  const found: unknown = lookUp(value, path);
  return new WhittleError(code, `${where}: ${current?.message ?? 'invalid'}`, {
    file,
    found: typeof found === 'object' ? undefined : String(found).slice(0, 200),
    hint: 'docs/recipes.md describes the format.',
  });
}

function deepest(issues: readonly z.core.$ZodIssue[]): number {
  return Math.max(0, ...issues.map((issue) => issue.path.length));
}

function lookUp(value: unknown, path: readonly PropertyKey[]): unknown {
  let current = value;
  for (const key of path) {
    if (typeof current !== 'object' || current === null) return undefined;
    current = Reflect.get(current, key);
  }
  return current;
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

/** A scheme on its own, checked: what a test or a program writes as a literal. */
export function validateScheme(value: unknown): Scheme {
  const result = schemeSchema.safeParse(value);
  if (!result.success) throw recipeError(result.error.issues[0], value, 'scheme');
  return result.data;
}
