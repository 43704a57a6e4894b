/** `whittle modes`: the modes as a table made from their recipes and the targets' abilities, or one recipe as JSON. */

import { DATA_MODE_NAMES, MODE_NAMES, presetRecipe } from '../planning/presets.ts';
import type { Recipe, Scheme } from '../planning/recipe.ts';
import { resolveTargets, TARGET_NAMES, type Target } from '../planning/targets.ts';
import { type Column, renderTable } from '../report/table.ts';
import type { Context } from './context.ts';

const COLUMNS: readonly Column[] = [
  { title: 'mode' },
  { title: 'bits', align: 'right' },
  { title: 'suffix' },
  { title: 'form', min: 12 },
  { title: 'runs in', min: 10, drop: 1 },
  { title: 'what it is', min: 24, drop: 2 },
];

export async function runModes(context: Context, mode: string | undefined): Promise<undefined> {
  if (mode !== undefined) {
    context.printJson(presetRecipe(mode));
    return undefined;
  }
  const targets = resolveTargets(TARGET_NAMES);
  const modes = [...MODE_NAMES, ...DATA_MODE_NAMES].map((name) => {
    const recipe = presetRecipe(name);
    return {
      mode: name,
      bits: bitsOf(recipe),
      suffix: recipe.suffix ?? '',
      form: formOf(recipe),
      targets: targets.filter((target) => runs(recipe, target)).map((target) => target.name),
      description: recipe.description ?? '',
    };
  });
  if (context.json) {
    context.printJson({ modes });
    return undefined;
  }
  const rows = modes.map(({ mode: name, bits, suffix, form, targets: where, description }) => [
    name,
    String(bits),
    suffix,
    form,
    where.length === targets.length ? 'everywhere' : where.join(', '),
    description,
  ]);
  context.print(renderTable(COLUMNS, rows, { width: context.width, style: context.style }));
  context.say(`\nTargets: ${targets.map(({ name, description }) => `${name} (${description})`).join('; ')}`);
  return undefined;
}

/** Bits of the weights that the mode is about. */
export function bitsOf(recipe: Recipe): number {
  if (recipe.static !== undefined) return 8;
  const scheme = recipe.rules[0]?.scheme;
  return scheme === undefined ? 16 : schemeBits(scheme);
}

function schemeBits(scheme: Scheme): number {
  switch (scheme.as) {
    case 'matmul-nbits':
    case 'gather-block':
      return scheme.bits;
    case 'bnb4':
      return 4;
    case 'dynamic-int8':
      return 8;
    case 'qdq':
      return scheme.type.endsWith('4') ? 4 : 8;
    case 'cast':
      return scheme.type.startsWith('f8') ? 8 : 16;
    case 'keep':
      return 32;
    default:
      return scheme satisfies never;
  }
}

const FORMS: Readonly<Record<Scheme['as'], string>> = {
  keep: '',
  'matmul-nbits': 'MatMulNBits',
  bnb4: 'MatMulBnb4',
  'dynamic-int8': 'MatMulInteger, ConvInteger …',
  qdq: 'DequantizeLinear',
  cast: 'Cast',
  'gather-block': 'GatherBlockQuantized',
};

function formOf(recipe: Recipe): string {
  if (recipe.static !== undefined) return 'QuantizeLinear, DequantizeLinear';
  const forms = new Set(recipe.rules.map(({ scheme }) => scheme.as));
  const parts = [...forms].filter((as) => as !== 'keep').map((as) => FORMS[as]);
  if (recipe.fp16 !== undefined) parts.push('float16 graph');
  return parts.join(' + ');
}

function runs(recipe: Recipe, target: Target): boolean {
  return recipe.rules.every(({ scheme }) => {
    if (scheme.as === 'matmul-nbits') {
      const bits = recipe.fp16 === undefined ? target.nbits.bits : target.nbits.f16Bits;
      const zeros = scheme.zeroPoints !== 'real' || target.nbits.realZeroBits.includes(scheme.bits);
      return zeros && bits.includes(scheme.bits) && target.nbits.blocks.includes(scheme.blockSize);
    }
    return scheme.as !== 'gather-block' || target.gatherBlock.bits.includes(scheme.bits);
  });
}
