/**
 * Which scheme each weight gets, and why. The rules of the recipe are asked for every use of a weight; the first that
 * matches and whose form the weight can take decides. Uses of one weight must agree, for a weight is stored once:
 * where one of them keeps it in float, quantizing for the others would add a copy, so it is kept whole. The exception is
 * a table tied to the output head, whose packed copy both operators read.
 */

import { elementCount, formatShape } from '../core/shape.ts';
import type { Weight } from '../formats/onnx/model.ts';
import { bnb4 } from '../formats/onnx/rewrite/bnb4.ts';
import { cast } from '../formats/onnx/rewrite/cast.ts';
import type { RewriteContext } from '../formats/onnx/rewrite/context.ts';
import { dynamicInt8 } from '../formats/onnx/rewrite/dynamic-int8.ts';
import { type FormAbilities, refuse, type Verdict } from '../formats/onnx/rewrite/form.ts';
import { gatherBlock } from '../formats/onnx/rewrite/gather-block.ts';
import { applyTied, matmulNBits, tiedProblem } from '../formats/onnx/rewrite/matmul-nbits.ts';
import { qdq } from '../formats/onnx/rewrite/qdq.ts';
import type { ResolvedUse } from '../formats/onnx/rewrite/uses.ts';
import { compileGlobs } from './glob.ts';
import type { Match, Recipe, Scheme } from './recipe.ts';

export type ActiveScheme = Exclude<Scheme, { as: 'keep' }>;

export interface Decision {
  readonly weight: Weight;
  readonly uses: readonly ResolvedUse[];
  readonly scheme: Scheme;
  readonly reason: string;
  /** Set where uses take different forms of one weight. */
  readonly perUse?: ReadonlyMap<ResolvedUse, ActiveScheme> | undefined;
  /** A table and its output head read one packed copy. */
  readonly tied?: boolean | undefined;
}

/** What a matcher is asked about. */
interface Subject {
  readonly weight: Weight;
  readonly use: ResolvedUse;
  readonly elements: number;
  /** Estimate of weight-noise.ts in dB, where it was asked for. */
  readonly int8Sqnr: number | undefined;
}

type Matcher = (subject: Subject) => boolean;

export interface CompiledRecipe {
  readonly rules: readonly {
    readonly matches: Matcher;
    readonly scheme: Scheme;
    readonly named: boolean;
    readonly label: string;
  }[];
  readonly excluded: Matcher;
}

export function compileRecipe(recipe: Recipe): CompiledRecipe {
  const exclude =
    recipe.exclude === undefined ? [] : isMatchList(recipe.exclude) ? recipe.exclude : [recipe.exclude];
  const excluders = exclude.map(compileMatch);
  return {
    rules: recipe.rules.map(({ match, scheme }, index) => ({
      matches: compileMatch(match),
      scheme,
      named: match.tensor !== undefined || match.node !== undefined,
      label: `rule ${index + 1}`,
    })),
    excluded: (subject) => excluders.some((matches) => matches(subject)),
  };
}

function isMatchList(value: Match | readonly Match[]): value is readonly Match[] {
  return Array.isArray(value);
}

function compileMatch({ tensor, node, opType, minElements = 0, depthwise, int8SqnrBelow }: Match): Matcher {
  const tensorTest = tensor === undefined ? undefined : compileGlobs(tensor);
  const nodeTest = node === undefined ? undefined : compileGlobs(node);
  const opTest = opType === undefined ? undefined : compileGlobs(opType);
  return ({ weight, use, elements, int8Sqnr }) =>
    elements >= minElements &&
    (depthwise === undefined || depthwise === isGrouped(use)) &&
    (int8SqnrBelow === undefined || (int8Sqnr !== undefined && int8Sqnr < int8SqnrBelow)) &&
    (tensorTest === undefined || tensorTest(weight.name) || tensorTest(weight.key)) &&
    (nodeTest === undefined || nodeTest(use.node.name ?? '')) &&
    (opTest === undefined || opTest(use.node.opType ?? ''));
}

function isGrouped({ node, role }: ResolvedUse): boolean {
  if (role.kind !== 'conv') return false;
  return (node.attribute.find(({ name }) => name === 'group')?.i ?? 1n) > 1n;
}

/** Whether a rule's match needs the estimate of weight-noise.ts to speak of this weight. */
export function asksForNoise(weight: Weight, uses: readonly ResolvedUse[], recipe: Recipe): boolean {
  const elements = elementCount(weight.shape) ?? 0;
  return recipe.rules.some(
    ({ match }) =>
      match.int8SqnrBelow !== undefined &&
      uses.some((use) => compileMatch(match)({ weight, use, elements, int8Sqnr: Number.NEGATIVE_INFINITY })),
  );
}

/** Weight type of dynamic int8 for the whole graph: uint8 where signed weights would be slow (docs/onnx.md 2). */
export type ResolveDynamic = (weightType: 'int8' | 'uint8' | 'auto') => 'int8' | 'uint8';

export interface DecideContext {
  readonly abilities: FormAbilities;
  readonly resolveDynamic: ResolveDynamic;
  /** Weight key → estimate of weight-noise.ts, for the weights that a rule asks about. */
  readonly int8Sqnr: ReadonlyMap<string, number>;
}

/** Whether `use` of `weight` can take `scheme`. */
export function checkScheme(
  weight: Weight,
  use: ResolvedUse,
  scheme: ActiveScheme,
  { abilities, resolveDynamic }: DecideContext,
): Verdict {
  switch (scheme.as) {
    case 'matmul-nbits':
      return matmulNBits.check(weight, use, scheme, abilities);
    case 'bnb4':
      return bnb4.check(weight, use, scheme, abilities);
    case 'dynamic-int8':
      if (abilities.opset < 11)
        return refuse('DynamicQuantizeLinear needs opset 11, and the model cannot be raised');
      return dynamicInt8.check(
        weight,
        use,
        { ...scheme, weightType: resolveDynamic(scheme.weightType) },
        abilities,
      );
    case 'qdq':
      return qdq.check(weight, use, scheme, abilities);
    case 'cast':
      return cast.check(weight, use, scheme, abilities);
    case 'gather-block':
      return gatherBlock.check(weight, use, scheme, abilities);
    default:
      return scheme satisfies never;
  }
}

interface UseDecision {
  readonly use: ResolvedUse;
  readonly scheme: Scheme;
  readonly reason: string;
}

function decideUse(
  weight: Weight,
  use: ResolvedUse,
  recipe: CompiledRecipe,
  context: DecideContext,
): UseDecision {
  const elements = elementCount(weight.shape) ?? 0;
  const subject: Subject = { weight, use, elements, int8Sqnr: context.int8Sqnr.get(weight.key) };
  const keep = (reason: string): UseDecision => ({ use, scheme: { as: 'keep' }, reason });
  if (recipe.excluded(subject)) return keep('excluded by the recipe');
  const refusals: string[] = [];
  for (const { matches, scheme, named, label } of recipe.rules) {
    if (!matches(subject)) continue;
    if (scheme.as === 'keep') return keep(`kept by ${label}`);
    if (use.role.kind === 'other' && !named) continue;
    const verdict = checkScheme(weight, use, scheme, context);
    if (verdict.ok) {
      const why = verdict.note === undefined ? label : `${label}; ${verdict.note}`;
      return { use, scheme, reason: `${use.node.opType ?? ''} weight, ${why}` };
    }
    refusals.push(verdict.reason);
  }
  if (refusals.length > 0) return keep(refusals.join('; '));
  return keep(unmatchedReason(subject, recipe));
}

/** Why no rule spoke of the use: its operator, or only its size. */
function unmatchedReason(subject: Subject, recipe: CompiledRecipe): string {
  const { use, elements, weight } = subject;
  const large = { ...subject, elements: Number.MAX_SAFE_INTEGER };
  const tooSmall = recipe.rules.some(({ matches }) => matches(large));
  if (use.role.kind === 'other' || weight.shape.length < 2)
    return `bias, norm or operand of ${use.node.opType ?? ''}`;
  if (tooSmall) return `small: ${elements} elements`;
  return `no rule for ${use.node.opType ?? ''}`;
}

/** The decision for a weight, from those of its uses. */
export function decideWeight(
  weight: Weight,
  uses: readonly ResolvedUse[],
  recipe: CompiledRecipe,
  context: DecideContext,
): Decision {
  const keep = (reason: string): Decision => ({ weight, uses, scheme: { as: 'keep' }, reason });
  if (uses.length === 0) return keep(weight.isGraphOutput ? 'an output of the graph' : 'nothing reads it');
  const each = uses.map((use) => decideUse(weight, use, recipe, context));
  const first = each[0];
  const active = each.filter((decision) => decision.scheme.as !== 'keep');
  if (first === undefined || active.length === 0) return keep(first?.reason ?? '');
  if (weight.isGraphOutput) return keep('an output of the graph');
  const kept = each.find((decision) => decision.scheme.as === 'keep');
  if (kept !== undefined) {
    const hint = kept.use.role.kind === 'gather' ? '; embeddings 4 or 8 shrinks both' : '';
    return keep(`tied: ${kept.use.node.opType ?? ''} reads it too and keeps it (${kept.reason})${hint}`);
  }
  const forms = new Set(each.map(({ scheme }) => JSON.stringify(scheme)));
  if (forms.size === 1) {
    const shared = uses.length > 1 ? `; one copy for ${uses.length} uses` : '';
    return { weight, uses, scheme: first.scheme, reason: `${first.reason}${shared}` };
  }
  return decideMixed(weight, uses, each, context);
}

function decideMixed(
  weight: Weight,
  uses: readonly ResolvedUse[],
  each: readonly UseDecision[],
  { abilities }: DecideContext,
): Decision {
  const gather = each.map(({ scheme }) => scheme).find((scheme) => scheme.as === 'gather-block');
  const product = each.map(({ scheme }) => scheme).find((scheme) => scheme.as === 'matmul-nbits');
  const onlyBoth = each.every(({ scheme }) => scheme === gather || scheme === product);
  if (gather?.as === 'gather-block' && product?.as === 'matmul-nbits' && onlyBoth) {
    const { zeroPoints } = product;
    const problem = tiedProblem(weight, uses, { ...gather, zeroPoints }, abilities);
    const { bits, blockSize, symmetric } = gather;
    const scheme: ActiveScheme = zeroPoints === 'real' ? product : { ...product, bits, blockSize, symmetric };
    if (problem === undefined) {
      return {
        weight,
        uses,
        scheme,
        tied: true,
        reason: 'embedding tied to its output head: one copy for both',
      };
    }
    const perUse = new Map(uses.map((use) => [use, use.role.kind === 'gather' ? gather : scheme] as const));
    return { weight, uses, scheme, perUse, reason: `tied, but stored twice: ${problem}` };
  }
  const forms = [...new Set(each.map(({ scheme }) => scheme.as))].join(', ');
  return {
    weight,
    uses,
    scheme: { as: 'keep' },
    reason: `its ${uses.length} uses ask for different forms (${forms}) of ${formatShape(weight.shape)}`,
  };
}

/** DynamicQuantizeLSTM needs both matrices: where one is kept, the other is kept too. */
export function settleLstm(decisions: readonly Decision[]): Decision[] {
  const quantized = new Map<unknown, Set<number>>();
  for (const { uses, scheme } of decisions) {
    if (scheme.as !== 'dynamic-int8') continue;
    for (const { node, input, role } of uses) {
      if (role.kind === 'lstm') quantized.set(node, (quantized.get(node) ?? new Set()).add(input));
    }
  }
  return decisions.map((decision) => {
    if (decision.scheme.as !== 'dynamic-int8') return decision;
    const alone = decision.uses.some(
      ({ node, role }) => role.kind === 'lstm' && quantized.get(node)?.size !== 2,
    );
    if (!alone) return decision;
    return { ...decision, scheme: { as: 'keep' }, reason: 'the other matrix of the LSTM is not quantized' };
  });
}

/** Edits the model as decided. */
export function applyDecision(context: RewriteContext, decision: Decision, decide: DecideContext): void {
  const { weight, uses, scheme, perUse, tied } = decision;
  if (tied === true && scheme.as === 'matmul-nbits') {
    if (scheme.bits !== 2)
      applyTied(context, weight, uses, { ...scheme, bits: scheme.bits }, decide.abilities);
  } else if (perUse !== undefined) {
    for (const [use, own] of perUse) applyScheme(context, weight, [use], own, decide);
  } else if (scheme.as !== 'keep') {
    applyScheme(context, weight, uses, scheme, decide);
  }
}

function applyScheme(
  context: RewriteContext,
  weight: Weight,
  uses: readonly ResolvedUse[],
  scheme: ActiveScheme,
  { abilities, resolveDynamic }: DecideContext,
): void {
  switch (scheme.as) {
    case 'matmul-nbits':
      matmulNBits.apply(context, weight, uses, scheme, abilities);
      break;
    case 'bnb4':
      bnb4.apply(context, weight, uses, scheme, abilities);
      break;
    case 'dynamic-int8': {
      const settings = { ...scheme, weightType: resolveDynamic(scheme.weightType) };
      dynamicInt8.apply(context, weight, uses, settings, abilities);
      break;
    }
    case 'qdq':
      qdq.apply(context, weight, uses, scheme, abilities);
      break;
    case 'cast':
      cast.apply(context, weight, uses, scheme, abilities);
      break;
    case 'gather-block':
      gatherBlock.apply(context, weight, uses, scheme, abilities);
      break;
    default:
      scheme satisfies never;
  }
}
