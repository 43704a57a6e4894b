/**
 * Recipe + ONNX model → plan, edited graph, tasks and output layout.
 *
 * `planCompression` decides from the recipe; `rebuildPlan` follows the schemes that stand in a plan (made earlier, maybe edited by
 * hand) and refuses where the model is not the one that was planned. Both do the same work on a copy of the graph; no
 * tensor is read but those that a rule with `int8SqnrBelow` asks about. Sizes in the plan are those of the files, since the layout is fixed before anything is computed.
 */

import { elementCount } from '../core/shape.ts';
import { WhittleError } from '../errors.ts';
import type { OutputFile, TensorBytes } from '../formats/layout.ts';
import { allGraphs, topologicalOrder } from '../formats/onnx/graph.ts';
import { layoutModel } from '../formats/onnx/layout.ts';
import type { GraphProto, ModelProto, NodeProto } from '../formats/onnx/messages.ts';
import {
  cloneModel,
  findWeights,
  normalizeConstants,
  type OnnxModel,
  type Weight,
} from '../formats/onnx/model.ts';
import { opsetVersion } from '../formats/onnx/model-versions.ts';
import { castOpset } from '../formats/onnx/rewrite/cast.ts';
import { createContext, type RewriteContext } from '../formats/onnx/rewrite/context.ts';
import { finishRewrite } from '../formats/onnx/rewrite/finish.ts';
import { convertToHalf } from '../formats/onnx/rewrite/fp16.ts';
import { raiseOpset, raiseProblem } from '../formats/onnx/rewrite/opset-raise.ts';
import { qdqOpset } from '../formats/onnx/rewrite/qdq.ts';
import { type ResolvedUse, resolveUses, spellPermutations } from '../formats/onnx/rewrite/uses.ts';
import type { Task } from '../numerics/task.ts';
import {
  applyDecision,
  asksForNoise,
  compileRecipe,
  type DecideContext,
  type Decision,
  decideWeight,
  settleLstm,
} from './decide.ts';
import { describePlan } from './describe-plan.ts';
import { assertLoadable } from './loadable.ts';
import type { Plan } from './plan.ts';
import type { Recipe, Rule, Scheme } from './recipe.ts';
import { type Abilities, commonAbilities, resolveTargets, type Target } from './targets.ts';
import { int8Sqnr } from './weight-noise.ts';

export interface PlanOptions {
  /** Names of targets; default onnxruntime-web and onnxruntime-node. */
  readonly targets?: readonly string[] | undefined;
  /** Where large tensors go; default auto (beside the model past 1.8 GiB, or where the source had them there). */
  readonly externalData?: 'auto' | 'never' | 'always' | undefined;
  /** Bare name of the output file. */
  readonly fileName: string;
}

export interface Planned {
  readonly plan: Plan;
  /** The edited graph; weights that tasks will fill are pending. */
  readonly proto: ModelProto;
  readonly tasks: readonly Task<TensorBytes>[];
  readonly files: readonly OutputFile[];
  /** Tasks of each weight whose codes an algorithm may choose, by its key. */
  readonly weightTasks?: ReadonlyMap<string, readonly number[]> | undefined;
}

/**
 * Plans `recipe` for `model`.
 * @throws WhittleError E_NOTHING_TO_DO where no weight would change; E_TARGET where a target does not load the model's
 * versions; E_USAGE for an unknown target
 */
export async function planCompression(
  model: OnnxModel,
  recipe: Recipe,
  options: PlanOptions,
): Promise<Planned> {
  return build(model, recipe, options, undefined);
}

/**
 * The same from a plan: its schemes decide, whatever the recipe's rules say.
 * @throws WhittleError E_INPUT_CHANGED where the model is not the one of the plan
 */
export async function rebuildPlan(model: OnnxModel, plan: Plan): Promise<Planned> {
  const fileName = plan.outputs[0]?.file ?? 'model.onnx';
  const externalData = plan.outputs.length > 1 ? 'always' : 'never';
  const planned = new Map(plan.tensors.map((tensor) => [tensor.key, tensor]));
  const weights = preparedWeights(cloneModel(model.proto)).weights;
  const found = new Set(weights.map(({ key }) => key));
  for (const { key, name, dtype, shape } of plan.tensors) {
    const weight = weights.find((candidate) => candidate.key === key);
    const same = weight?.dtype === dtype && weight.shape.join() === shape.join();
    if (same) continue;
    throw new WhittleError('E_INPUT_CHANGED', 'the model is not the one that was planned', {
      file: model.file,
      tensor: name,
      expected: `${dtype} [${shape.join(', ')}]`,
      found: found.has(key) ? `${weight?.dtype ?? ''} [${weight?.shape.join(', ') ?? ''}]` : 'no such tensor',
      hint: 'Make the plan again for this model.',
    });
  }
  return build(
    model,
    plan.recipe,
    { targets: plan.targets, externalData, fileName },
    (weight) => planned.get(weight.key)?.scheme ?? { as: 'keep' },
  );
}

/** Decides a weight's scheme in place of the recipe's rules. */
type FixedScheme = (weight: Weight) => Scheme;

async function build(
  model: OnnxModel,
  recipe: Recipe,
  options: PlanOptions,
  fixed: FixedScheme | undefined,
): Promise<Planned> {
  if (recipe.static !== undefined) {
    throw new WhittleError(
      'E_UNSUPPORTED',
      `${recipe.name} needs data: its scales come from what the model computes`,
      {
        file: model.file,
        hint: 'Use compress with data, or planStatic with ranges.',
      },
    );
  }
  const targets = resolveTargets(options.targets);
  const abilities = commonAbilities(targets);
  assertLoadable(model, abilities);
  const { proto, weights } = preparedWeights(cloneModel(model.proto));
  const sources = new Map<string, TensorBytes>();
  for (const weight of weights) {
    if ((elementCount(weight.shape) ?? 0) > 0)
      sources.set(weight.key, await model.tensorBytes(weight.tensor));
  }
  const context = createContext(proto, weights, sources);
  const uses = new Map(weights.map((weight) => [weight, resolveUses(weight, context.index)]));
  const noise = new Map<string, number>();
  for (const weight of fixed === undefined ? weights : []) {
    const bytes = sources.get(weight.key);
    if (bytes === undefined || !asksForNoise(weight, uses.get(weight) ?? [], recipe)) continue;
    noise.set(weight.key, await int8Sqnr(weight, bytes));
  }
  const decide = prepareOpset(context, weights, uses, recipe, abilities, fixed, noise);
  const compiled = compileRecipe(recipe);
  const decisions = settleLstm(
    weights.map((weight) => {
      const own = fixed === undefined ? compiled : compileRecipe(recipeOf(fixed(weight), recipe));
      return decideWeight(weight, uses.get(weight) ?? [], own, decide);
    }),
  );
  const active = decisions.filter(({ scheme }) => scheme.as !== 'keep');
  const chains = new Set<NodeProto>();
  for (const decision of active) {
    applyDecision(context, decision, decide);
    if (decision.scheme.as === 'qdq') spellPermutations(decision.uses, decision.weight.shape.length);
    for (const use of decision.uses) for (const node of use.chain) chains.add(node);
  }
  finishRewrite(
    context,
    chains,
    active.map(({ weight }) => weight),
  );
  const half =
    recipe.fp16 === undefined
      ? undefined
      : await convertToHalf(context, model, recipe.fp16, halfOptions(abilities));
  // A mode whose rules found nothing is not that mode: q4f16 without a 4-bit weight would be fp16 under a wrong name.
  if (active.length === 0 && (recipe.rules.length > 0 || (half?.converted ?? 0) === 0)) {
    throw nothingToDo(model, recipe, decisions);
  }
  addNotes(context, decisions, targets, abilities);
  const files = await layoutModel(proto, {
    fileName: options.fileName,
    externalData: options.externalData ?? 'auto',
    sourceHadExternal: model.hasExternalData,
    resolve: (tensor) => model.tensorBytes(tensor),
  });
  const plan = describePlan({
    model,
    recipe,
    targets: targets.map(({ name }) => name),
    decisions,
    context,
    files,
    sources,
  });
  const weightTasks = new Map(active.map(({ weight }) => [weight.key, context.tasksOf(weight)]));
  return { plan, proto, tasks: context.tasks, files, weightTasks };
}

/** The graph in the form that rewrites see, and its weights under the keys of the model as it was read. */
function preparedWeights(proto: ModelProto): { proto: ModelProto; weights: Weight[] } {
  const keys = new Map<GraphProto, Map<string, string>>();
  for (const { graph, name, key } of findWeights(proto)) {
    const names = keys.get(graph) ?? new Map<string, string>();
    keys.set(graph, names.set(name, key));
  }
  for (const { graph } of allGraphs(proto)) graph.node = topologicalOrder(graph) ?? graph.node;
  normalizeConstants(proto);
  const weights = findWeights(proto)
    .filter(({ origin }) => origin.kind === 'initializer')
    .map((weight) => ({ ...weight, key: keys.get(weight.graph)?.get(weight.name) ?? weight.key }));
  return { proto, weights };
}

/** A recipe that gives one weight the scheme of a plan; a table tied to its head was planned as the head's scheme. */
function recipeOf(scheme: Scheme, recipe: Recipe): Recipe {
  const rules: Rule[] = [{ match: { tensor: '**' }, scheme }];
  if (scheme.as === 'matmul-nbits' && scheme.bits !== 2) {
    const { bits, blockSize, symmetric } = scheme;
    const table: Scheme = { as: 'gather-block', bits, blockSize, symmetric };
    rules.unshift({ match: { tensor: '**', opType: 'Gather' }, scheme: table });
  }
  return { ...recipe, rules, exclude: undefined };
}

function halfOptions(abilities: Abilities): Parameters<typeof convertToHalf>[3] {
  return { nbitsF16: abilities.nbits.f16Bits, targets: abilities.names };
}

/** Raises the opset as far as the wanted schemes need and the graph allows, and says what forms may rely on. */
function prepareOpset(
  context: RewriteContext,
  weights: readonly Weight[],
  uses: ReadonlyMap<Weight, readonly ResolvedUse[]>,
  recipe: Recipe,
  abilities: Abilities,
  fixed: FixedScheme | undefined,
  noise: ReadonlyMap<string, number>,
): DecideContext {
  const { proto } = context;
  const unsigned = hasUnsignedOps(proto);
  const contextFor = (opset: number): DecideContext => ({
    abilities: {
      nbits: abilities.nbits,
      gatherBlock: abilities.gatherBlock,
      opset,
      fp16: recipe.fp16 !== undefined,
    },
    int8Sqnr: noise,
    resolveDynamic: (type) => (type !== 'auto' ? type : unsigned ? 'uint8' : 'int8'),
  });
  const present = opsetVersion(proto, '') ?? 0;
  const ideal = contextFor(abilities.maxOpset);
  const compiled = compileRecipe(recipe);
  const wanted = new Set<number>();
  for (const weight of weights) {
    const own = fixed === undefined ? compiled : compileRecipe(recipeOf(fixed(weight), recipe));
    const { scheme } = decideWeight(weight, uses.get(weight) ?? [], own, ideal);
    const needed = neededOpset(weight, scheme);
    if (needed > present && needed <= abilities.maxOpset) wanted.add(needed);
  }
  for (const version of [...wanted].sort((a, b) => b - a)) {
    const problem = raiseProblem(proto, version);
    if (problem === undefined) {
      raiseOpset(proto, version, context.uniqueName);
      context.notes.add(`The ai.onnx opset was raised from ${present} to ${version}.`);
      break;
    }
    context.notes.add(`The ai.onnx opset stays below ${version}: ${problem}.`);
  }
  return contextFor(opsetVersion(proto, '') ?? 0);
}

function neededOpset(weight: Weight, scheme: Scheme): number {
  switch (scheme.as) {
    case 'dynamic-int8':
      return 11;
    case 'qdq':
      return qdqOpset(weight, scheme);
    case 'cast':
      return castOpset(scheme);
    default:
      return 0;
  }
}

/** docs/onnx.md 1b: uint8 where the graph has any of these. */
function hasUnsignedOps(proto: ModelProto): boolean {
  const ops = new Set(['Conv', 'GroupQueryAttention', 'MultiHeadAttention']);
  for (const { graph } of allGraphs(proto))
    if (graph.node.some((node) => ops.has(node.opType ?? ''))) return true;
  return false;
}

function addNotes(
  context: RewriteContext,
  decisions: readonly Decision[],
  targets: readonly Target[],
  abilities: Abilities,
): void {
  const approximate = decisions.some(
    ({ scheme }) =>
      scheme.as === 'matmul-nbits' && scheme.accuracyLevel === 4 && scheme.zeroPoints !== 'real',
  );
  if (approximate && abilities.nbits.accuracyLevel) {
    context.notes.add(
      'accuracy_level 4: on node the activations of MatMulNBits are rounded to int8 (about 0.5 % relative error, many times faster); web computes exactly.',
    );
  }
  const real = decisions.some(({ scheme }) => scheme.as === 'matmul-nbits' && scheme.zeroPoints === 'real');
  if (real && targets.some(({ name }) => name !== 'onnxruntime-web')) {
    context.notes.add(
      'Real zero points: node dequantizes the whole weight for every product (exact, but several times slower for single rows, and accuracy_level 4 has no effect); web is as fast as without.',
    );
  }
  const blocked = decisions.some(
    ({ scheme, uses }) =>
      scheme.as === 'qdq' &&
      scheme.granularity === 'block' &&
      uses.some(({ node }) => node.opType === 'MatMul' || node.opType === 'Gemm'),
  );
  if (blocked && targets.some(({ name }) => name !== 'onnxruntime-web')) {
    context.notes.add(
      'Blocked DequantizeLinear before MatMul is fused on node with accuracy level 4; session config session.qdq_matmulnbits_accuracy_level=0 keeps it exact.',
    );
  }
  const signedConv = decisions.some(
    ({ scheme, uses }) =>
      scheme.as === 'dynamic-int8' &&
      scheme.weightType === 'int8' &&
      uses.some(({ role }) => role.kind === 'conv'),
  );
  if (signedConv) {
    context.notes.add(
      'Conv with signed weights runs 9 to 12 times slower than with uint8 ones: prefer q8 or uint8.',
    );
  }
}

function nothingToDo(model: OnnxModel, recipe: Recipe, decisions: readonly Decision[]): WhittleError {
  const operators = new Map<string, number>();
  for (const { uses, weight } of decisions) {
    for (const { node, role } of uses) {
      if (role.kind === 'other') continue;
      operators.set(
        node.opType ?? '',
        (operators.get(node.opType ?? '') ?? 0) + (elementCount(weight.shape) ?? 0),
      );
    }
  }
  const held = [...operators].sort((a, b) => b[1] - a[1]).map(([name]) => name);
  const reasons = new Map<string, number>();
  for (const { reason } of decisions) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  const main = [...reasons].sort((a, b) => b[1] - a[1]).slice(0, 3);
  const wanted = [...new Set(recipe.rules.flatMap(({ match }) => match.opType ?? []))].slice(0, 6);
  return new WhittleError('E_NOTHING_TO_DO', `${recipe.name} would change nothing in this model`, {
    file: model.file,
    expected: wanted.length === 0 ? 'float32 weights' : `weights of ${wanted.join(', ')}`,
    found:
      held.length === 0
        ? 'no weights'
        : `weights of ${held.slice(0, 6).join(', ')} (${main.map(([reason, count]) => `${count} × ${reason}`).join('; ')})`,
    hint: alternative(held, recipe),
  });
}

/** What would work instead, by the operators that hold the weights. */
function alternative(held: readonly string[], recipe: Recipe): string {
  if (held.length === 0) return 'The model holds no float weights: there is nothing to make smaller.';
  const works = held.includes('Conv')
    ? ['uint8', 'fp16', 'int8-qdq']
    : held.includes('MatMul') || held.includes('Gemm')
      ? ['q8', 'q4', 'fp16']
      : ['int8-qdq', 'fp16'];
  return `Try ${works
    .filter((mode) => mode !== recipe.name)
    .slice(0, 2)
    .join(' or ')}.`;
}
