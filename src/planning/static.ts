/**
 * Static quantization of a whole ONNX graph: model + ranges + recipe → plan, edited graph, tasks and layout, as `planCompression` does
 * for recipes with rules. Pure: the ranges are an input (compress/static collects them), and the plan holds every scale.
 *
 * Order: constants become initializers, what follows convolutions is folded into them, the opset is raised where scales by channel
 * need it, then tensors are selected, parameters computed and Q/DQ written (formats/onnx/rewrite/static).
 */

import { WhittleError } from '../errors.ts';
import type { TensorBytes } from '../formats/layout.ts';
import { type FoldableGraph, foldBehindProducts } from '../formats/onnx/fold/batchnorm.ts';
import { allGraphs, topologicalOrder } from '../formats/onnx/graph.ts';
import { layoutModel } from '../formats/onnx/layout.ts';
import type { GraphProto, ModelProto, NodeProto, TensorProto } from '../formats/onnx/messages.ts';
import {
  cloneModel,
  findWeights,
  normalizeConstants,
  type OnnxModel,
  uniqueName,
  type Weight,
} from '../formats/onnx/model.ts';
import { opsetVersion } from '../formats/onnx/model-versions.ts';
import { rawTensor } from '../formats/onnx/rewrite/build.ts';
import { createContext } from '../formats/onnx/rewrite/context.ts';
import { finishRewrite } from '../formats/onnx/rewrite/finish.ts';
import { raiseOpset, raiseProblem } from '../formats/onnx/rewrite/opset-raise.ts';
import { emitStatic } from '../formats/onnx/rewrite/static/emit.ts';
import {
  type DerivedValue,
  foldAheadOfConvolutions,
  mergeScalarFactors,
} from '../formats/onnx/rewrite/static/fold-ahead.ts';
import {
  type ConstantValues,
  type StaticParameters,
  staticParameters,
} from '../formats/onnx/rewrite/static/parameters.ts';
import { type Selection, selectTensors } from '../formats/onnx/rewrite/static/select.ts';
import { LIGHT, outsideConvolutions } from '../formats/onnx/rewrite/static/surroundings.ts';
import { resolveUses } from '../formats/onnx/rewrite/uses.ts';
import { inferElementTypes } from '../formats/onnx/types.ts';
import { inferRanks } from '../formats/onnx/types-rank.ts';
import type { ValueRange } from '../numerics/affine.ts';
import type { Decision } from './decide.ts';
import { describePlan } from './describe-plan.ts';
import { compileGlobs } from './glob.ts';
import { assertLoadable } from './loadable.ts';
import type { Plan, PlannedActivation } from './plan.ts';
import type { Planned, PlanOptions } from './plan-onnx.ts';
import type { Match, Recipe, Scheme, StaticRecipe } from './recipe.ts';
import { commonAbilities, resolveTargets } from './targets.ts';

/** Ranges of the activations that `staticTensors` names. */
export type ActivationRanges = ReadonlyMap<string, ValueRange>;

/**
 * The same from a plan, with the ranges that stand in it.
 * @throws WhittleError E_INPUT_CHANGED where the model is not the one of the plan
 */
export async function rebuildStatic(model: OnnxModel, plan: Plan): Promise<Planned> {
  const ranges = new Map((plan.activations ?? []).map(({ name, min, max }) => [name, { min, max }]));
  const { selection, isWeight } = await prepare(model, plan.recipe);
  const missing = neededNames(selection, isWeight).find((name) => !ranges.has(name));
  const planned =
    missing === undefined
      ? await planStatic(model, ranges, plan.recipe, {
          targets: plan.targets,
          externalData: plan.outputs.length > 1 ? 'always' : 'never',
          fileName: plan.outputs[0]?.file ?? 'model.onnx',
        })
      : undefined;
  const shapes = ({ tensors }: Plan): string =>
    tensors.map(({ key, dtype, shape }) => `${key} ${dtype} ${shape.join()}`).join('\n');
  if (planned !== undefined && shapes(planned.plan) === shapes(plan)) return planned;
  throw new WhittleError('E_INPUT_CHANGED', 'the model is not the one that was planned', {
    file: model.file,
    tensor: missing,
    hint: 'Make the plan again for this model.',
  });
}

interface Prepared {
  readonly proto: ModelProto;
  readonly graph: GraphProto;
  readonly settings: StaticRecipe;
  readonly selection: Selection;
  readonly isWeight: (name: string) => boolean;
  readonly folded: number;
  readonly derived: ReadonlyMap<string, DerivedValue>;
  readonly raised: string | undefined;
  readonly opset: number;
}

/** Activations whose ranges `planStatic` needs, by their names in the model as it is. Empty where nothing would be quantized. */
export async function staticTensors(model: OnnxModel, recipe: Recipe): Promise<string[]> {
  const { selection, isWeight, derived } = await prepare(model, recipe);
  return [...new Set(neededNames(selection, isWeight).map((name) => derived.get(name)?.of ?? name))];
}

function neededNames({ tensors }: Selection, isWeight: Prepared['isWeight']): string[] {
  return [...tensors].flatMap(([name, { kind }]) => (kind !== 'shared' && !isWeight(name) ? [name] : []));
}

/**
 * Plans the static quantization that `recipe.static` asks for.
 * @throws WhittleError E_NOTHING_TO_DO where no operator of the recipe is in the model; E_GRAPH where a range is missing;
 *   E_NONFINITE where one is not finite; E_TARGET as `planCompression`
 */
export async function planStatic(
  model: OnnxModel,
  ranges: ActivationRanges,
  recipe: Recipe,
  options: PlanOptions,
): Promise<Planned> {
  const targets = resolveTargets(options.targets);
  assertLoadable(model, commonAbilities(targets));
  const prepared = await prepare(model, recipe);
  const { proto, graph, settings, selection, isWeight, derived } = prepared;
  if (selection.tensors.size === 0) throw nothingToDo(model, settings);
  const weights = findWeights(proto).filter(({ origin }) => origin.kind === 'initializer');
  const own = new Map(weights.filter((weight) => weight.graph === graph).map((each) => [each.name, each]));
  const sources = new Map<string, TensorBytes>();
  for (const weight of weights) sources.set(weight.key, await model.tensorBytes(weight.tensor));
  const constants = new Map<string, ConstantValues>();
  const biases = selection.biases.map(({ bias }) => bias);
  for (const name of new Set([...selection.tensors.keys(), ...biases])) {
    const weight = own.get(name);
    if (weight !== undefined) constants.set(name, await valuesOf(model, weight.tensor));
  }
  const parameters = staticParameters({
    graph,
    selection,
    settings,
    ranges: withDerived(ranges, derived),
    constants,
    isWeight,
  });
  const context = createContext(proto, weights, sources);
  const uses = new Map(weights.map((weight) => [weight, resolveUses(weight, context.index)]));
  const contrib = settings.activations.endsWith('16') && prepared.opset < 21;
  const quantized = new Set(
    emitStatic({ context, graph, selection, parameters, constants, weights: own, contrib }),
  );
  const int32 = new Set(parameters.biases.map(({ bias }) => bias));
  finishRewrite(
    context,
    new Set(),
    weights.filter((weight) => quantized.has(weight)),
  );
  addNotes(context.notes, prepared, settings);
  const files = await layoutModel(proto, {
    fileName: options.fileName,
    externalData: options.externalData ?? 'auto',
    sourceHadExternal: model.hasExternalData,
    resolve: (tensor) => model.tensorBytes(tensor),
  });
  const decisions = weights.map(
    (weight): Decision => ({
      weight,
      uses: uses.get(weight) ?? [],
      ...decisionOf(weight, quantized.has(weight), int32.has(weight.name), parameters),
    }),
  );
  const plan = describePlan({
    model,
    recipe,
    targets: targets.map(({ name }) => name),
    decisions,
    context,
    files,
    sources,
  });
  return {
    plan: { ...plan, activations: describeActivations(parameters) },
    proto,
    tasks: context.tasks,
    files,
  };
}

function withDerived(ranges: ActivationRanges, derived: ReadonlyMap<string, DerivedValue>): ActivationRanges {
  const all = new Map(ranges);
  for (const [name, { of, factor }] of derived) {
    const range = ranges.get(of);
    // A plan holds the range of the value itself.
    if (range === undefined || ranges.has(name)) continue;
    const ends = [range.min * factor, range.max * factor];
    all.set(name, { min: Math.min(...ends), max: Math.max(...ends) });
  }
  return all;
}

async function prepare(model: OnnxModel, recipe: Recipe): Promise<Prepared> {
  const settings = recipe.static;
  if (settings === undefined) {
    throw new WhittleError('E_RECIPE', 'the recipe has no static settings', { found: recipe.name });
  }
  const proto = cloneModel(model.proto);
  const { graph } = proto;
  if (graph === undefined)
    throw new WhittleError('E_NOT_A_MODEL', 'the file holds no graph', { file: model.file });
  const known = new Set<string>(graph.input.map(({ name }) => name ?? ''));
  const made = new Set<string>();
  for (const node of graph.node) {
    for (const name of node.output) (node.opType === 'Constant' ? made : known).add(name);
  }
  for (const { graph: each } of allGraphs(proto)) each.node = topologicalOrder(each) ?? each.node;
  normalizeConstants(proto);
  const facts = foldFacts(model, proto, graph);
  const behind = settings.fold ? await foldBehindProducts(facts, ['Conv', 'ConvTranspose', 'Gemm']) : [];
  const ahead = settings.fold ? await foldAheadOfConvolutions(facts) : undefined;
  if (settings.fold) {
    const outside = outsideConvolutions(graph);
    await mergeScalarFactors(facts, (node) => !outside.has(node) && LIGHT.has(node.opType ?? ''));
  }
  const derived = ahead?.derived ?? new Map<string, DerivedValue>();
  for (const name of derived.keys()) known.add(name);
  const raised = raiseAsNeeded(proto, settings);
  const opset = opsetVersion(proto, '') ?? 0;
  const inputs = new Set(graph.input.map(({ name }) => name ?? ''));
  const constants = new Map(
    graph.initializer
      .filter(({ name }) => !inputs.has(name ?? ''))
      .map((tensor) => [tensor.name ?? '', tensor]),
  );
  const isWeight = (name: string): boolean =>
    constants.has(name) && !(settings.constants === 'activations' && made.has(name));
  const types = inferElementTypes(proto);
  const scalars = new Map<string, number>();
  for (const node of graph.node) {
    const name = node.opType === 'Pad' ? (node.input[2] ?? '') : '';
    const tensor = constants.get(name);
    const value = tensor?.dataType === 1 ? (await facts.read(tensor))[0] : undefined;
    if (value !== undefined) scalars.set(name, value);
  }
  const selection = selectTensors(graph, {
    settings,
    opset,
    isFloat: (name) => types.typeOf(graph, name) === 'f32' && (known.has(name) || constants.has(name)),
    excludes: excluder(recipe, settings, graph),
    isWeight,
    scalarOf: (name) => scalars.get(name),
  });
  const folded = behind.reduce((sum, { operators }) => sum + operators.length, ahead?.count ?? 0);
  return { proto, graph, settings, selection, isWeight, folded, derived, raised, opset };
}

/** The graph as folds edit it; what they write is held in memory. */
function foldFacts(model: OnnxModel, proto: ModelProto, graph: GraphProto): FoldableGraph {
  const inputs = new Set(graph.input.map(({ name }) => name ?? ''));
  const constants = new Map(graph.initializer.map((tensor) => [tensor.name ?? '', tensor]));
  const allocate = uniqueName(proto);
  const ranks = inferRanks(proto);
  return {
    graph,
    uniqueName: allocate,
    constant: (name) => (inputs.has(name) ? undefined : constants.get(name)),
    read: async (tensor) => (await valuesOf(model, tensor)).values,
    write: async (tensor, values) => {
      tensor.rawData = { kind: 'inline', bytes: new Uint8Array(values.slice().buffer) };
      tensor.floatData = undefined;
      tensor.externalData = [];
      tensor.dataLocation = undefined;
    },
    add: async (name, dims, values) => {
      const tensor = rawTensor(allocate(name), 'f32', dims, new Uint8Array(values.slice().buffer));
      graph.initializer.push(tensor);
      constants.set(tensor.name ?? '', tensor);
      return tensor;
    },
    rankOf: (name) => ranks.rankOf(graph, name),
  };
}

/** Scales along an axis need opset 13, any Q and DQ 10. Gives what the user should know. */
function raiseAsNeeded(proto: ModelProto, settings: StaticRecipe): string | undefined {
  const present = opsetVersion(proto, '') ?? 0;
  const needed = settings.perChannel && settings.constants === 'weights' ? 13 : 10;
  if (present >= needed) return undefined;
  const problem = raiseProblem(proto, needed);
  if (problem !== undefined) {
    throw new WhittleError('E_UNSUPPORTED', `static quantization needs ai.onnx opset ${needed}`, {
      found: `opset ${present}, and it cannot be raised: ${problem}`,
      hint: 'Export the model with a newer opset.',
    });
  }
  raiseOpset(proto, needed, uniqueName(proto));
  return `The ai.onnx opset was raised from ${present} to ${needed}.`;
}

async function valuesOf(model: OnnxModel, tensor: TensorProto): Promise<ConstantValues> {
  const bytes = await model.readTensor(tensor);
  return { values: new Float32Array(bytes.slice().buffer), shape: tensor.dims };
}

function excluder(recipe: Recipe, settings: StaticRecipe, graph: GraphProto): (node: NodeProto) => boolean {
  const matches = list(recipe.exclude).map(nodeMatcher);
  const included = settings.include === undefined ? undefined : compileGlobs(settings.include);
  const outside = settings.elementwise === 'convolutions' ? outsideConvolutions(graph) : new Set<NodeProto>();
  return (node) =>
    outside.has(node) ||
    matches.some((matches) => matches(node)) ||
    (included !== undefined && !namesOf(node).some((name) => included(name)));
}

function list(exclude: Recipe['exclude']): readonly Match[] {
  if (exclude === undefined) return [];
  return isMatchList(exclude) ? exclude : [exclude];
}

function isMatchList(value: Match | readonly Match[]): value is readonly Match[] {
  return Array.isArray(value);
}

/** Name, inputs and outputs: what a pattern may speak of. */
function namesOf(node: NodeProto): string[] {
  return [node.name ?? '', ...node.input, ...node.output].filter((name) => name !== '');
}

function nodeMatcher({ tensor, node: named, opType }: Match): (node: NodeProto) => boolean {
  const tensorTest = tensor === undefined ? undefined : compileGlobs(tensor);
  const nodeTest = named === undefined ? undefined : compileGlobs(named);
  const opTest = opType === undefined ? undefined : compileGlobs(opType);
  return (node) =>
    (tensorTest === undefined || [...node.input, ...node.output].some((name) => tensorTest(name))) &&
    (nodeTest === undefined || nodeTest(node.name ?? '')) &&
    (opTest === undefined || opTest(node.opType ?? ''));
}

function decisionOf(
  { name }: Weight,
  isQuantized: boolean,
  isBias: boolean,
  parameters: StaticParameters,
): { scheme: Scheme; reason: string } {
  const found = parameters.weights.get(name);
  if (isBias)
    return { scheme: { as: 'keep' }, reason: 'bias: int32, scale of its input times that of its weight' };
  if (!isQuantized || found === undefined)
    return { scheme: { as: 'keep' }, reason: 'no quantized operator reads it' };
  const granularity = found.axis === null ? 'tensor' : 'channel';
  const type = found.type === 'int8' || found.type === 'uint8' ? found.type : undefined;
  if (type === undefined)
    return { scheme: { as: 'keep' }, reason: `operand, ${found.type} as activations are` };
  const reason = found.adjusted ? 'static quantization; scale enlarged for its bias' : 'static quantization';
  return { scheme: { as: 'qdq', type, granularity, blockSize: 0 }, reason };
}

function describeActivations({ activations, ranges }: StaticParameters): PlannedActivation[] {
  return [...activations].map(([name, { type, scales, zeroPoints }]) => ({
    name,
    type,
    scale: scales[0] ?? 1,
    zeroPoint: zeroPoints[0] ?? 0,
    min: ranges.get(name)?.min ?? 0,
    max: ranges.get(name)?.max ?? 0,
  }));
}

function addNotes(notes: Set<string>, { folded, raised, selection }: Prepared, settings: StaticRecipe): void {
  if (raised !== undefined) notes.add(raised);
  if (folded > 0) notes.add(`${folded} nodes around convolutions were folded into their weights and biases.`);
  if (selection.dropped.size > 0)
    notes.add(`${selection.dropped.size} Relu and Clip nodes became the end of a quantized range.`);
  const saturates =
    settings.weights === 'int8' && !settings.reduceRange && settings.activations.endsWith('8');
  if (saturates) {
    notes.add(
      'int8 weights in their full range: on x86 without VNNI sums of products saturate at 16 bits (reduceRange avoids it).',
    );
  }
}

function nothingToDo(model: OnnxModel, settings: StaticRecipe): WhittleError {
  const held = new Set((model.proto.graph?.node ?? []).map(({ opType }) => opType ?? ''));
  return new WhittleError('E_NOTHING_TO_DO', 'no operator of this model would be quantized', {
    file: model.file,
    expected: `one of ${settings.operators.slice(0, 8).join(', ')} over f32 values`,
    found: [...held].slice(0, 12).join(', '),
    hint: 'Half-precision models have to be exported in f32 first.',
  });
}
