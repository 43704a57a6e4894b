/**
 * The step between planning and writing where a largest loss was given: every planned mode goes on with as few layers kept as bring
 * its loss within the bound. Each try is planned, solved and written like a result, to a folder of its own that is gone at the end,
 * and runs beside the original; what is written afterwards are the same bytes, and passes the usual proof.
 */

import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Dataset } from '../../calibration/data/dataset.ts';
import { isWhittleError, WhittleError } from '../../errors.ts';
import { executeFiles } from '../../execution/execute.ts';
import { onnxruntimeNode } from '../../runtime/onnxruntime-node.ts';
import { onnxruntimeWeb } from '../../runtime/onnxruntime-web.ts';
import type { Runtime } from '../../runtime/runtime.ts';
import type { DataQuality } from '../../verify/evaluate/on-data.ts';
import { partOf } from '../evaluate-sample.ts';
import type { CompressOptions, KeptWithinLoss, MaxLoss } from '../options.ts';
import type { PlannedMode, PlannedModel } from '../run-modes.ts';
import type { JudgedData } from './data.ts';
import { createJudge, type Judge } from './judge.ts';
import { type KeepableLayer, keepableLayers, keeping, roundsActivations } from './layers.ts';
import { formatLoss, type Loss, lossOf, naturalMeasure } from './measures.ts';
import { LOSS_MEASURES, type LossMeasure } from './names.ts';
import { rankAlone, rankWeights } from './rank.ts';
import { reuseCodes } from './reuse.ts';
import { withinLoss } from './search.ts';

/** A model with the data that its modes are judged on, and the options with what is left to calibrate on. */
export interface JudgedModel extends PlannedModel {
  readonly judged: JudgedData;
  readonly options: CompressOptions;
}

export interface Steps {
  /** The plan of a mode; undefined where nothing is left to quantize. */
  readonly plan: (judged: JudgedModel, output: PlannedMode['output']) => Promise<PlannedMode | undefined>;
  /** The mode with its weights solved where that was asked for; what was solved is held until it is disposed of. */
  readonly solve: (judged: JudgedModel, mode: PlannedMode) => Promise<SolvedMode>;
}

export interface SolvedMode extends AsyncDisposable {
  readonly mode: PlannedMode;
}

export interface ModesWithinLoss extends AsyncDisposable {
  readonly models: readonly PlannedModel[];
}

/** Samples on which layers are tried alone: rows with one label tell little each, windows of text hold many tokens. */
const LABELLED_RANKING = 32;
const OTHER_RANKING = 4;

/**
 * @throws WhittleError E_VERIFICATION where a mode loses too much even with its layers kept; E_USAGE where the data does not tell the
 *   measure; and what planning, solving, writing and running throw. Nothing is left behind then.
 */
export async function keepWithinLoss(
  models: readonly JudgedModel[],
  maxLoss: MaxLoss,
  steps: Steps,
): Promise<ModesWithinLoss> {
  const held: AsyncDisposable[] = [];
  const dispose = async (): Promise<void> => {
    for (const solved of held) await solved[Symbol.asyncDispose]();
  };
  const folder = await mkdtemp(join(tmpdir(), 'whittle-tries-'));
  try {
    const results: PlannedModel[] = [];
    for (const judged of models) {
      const { options, model, modes } = judged;
      const runtime = runtimeOf(options);
      const original = modes[0]?.output.input ?? model.file;
      const ranking = await rankingOf(judged.judged);
      await using judge = await createJudge(original, judged.judged.evaluation, {
        runtime,
        threads: options.threads,
      });
      await using rankJudge = await createJudge(original, ranking, { runtime, threads: options.threads });
      const kept: PlannedMode[] = [];
      for (const mode of modes) {
        const search = new ModeSearch(judged, mode, maxLoss, steps, {
          folder,
          judge,
          rankJudge,
          runtime,
          held,
        });
        const { solved, loss } = await search.run(ranking);
        held.push(solved);
        kept.push({ ...solved.mode, loss });
      }
      results.push({ model, modes: kept });
    }
    return { models: results, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Where something is calibrated that data also ranks: what is judged on is left for the judgement. */
async function rankingOf({ calibration, evaluation }: JudgedData): Promise<Dataset> {
  const dataset = calibration ?? evaluation;
  const few = await partOf(dataset, OTHER_RANKING);
  for await (const { labels } of few.samples())
    if (labels !== undefined) return partOf(dataset, LABELLED_RANKING);
  return few;
}

function runtimeOf({ verify }: CompressOptions): Runtime {
  const web = typeof verify === 'object' && verify.runtime === 'onnxruntime-web';
  return web ? onnxruntimeWeb() : onnxruntimeNode();
}

/** A result that was made to be judged. */
interface Candidate {
  readonly solved: SolvedMode;
  readonly folder: string;
  readonly file: string;
}

interface Bench {
  /** Disposed of when everything is written. */
  readonly held: AsyncDisposable[];
  readonly folder: string;
  readonly judge: Judge;
  readonly rankJudge: Judge;
  readonly runtime: Runtime;
}

/** The search for one mode of one model. */
class ModeSearch {
  readonly #judged: JudgedModel;
  readonly #mode: PlannedMode;
  readonly #maxLoss: MaxLoss;
  readonly #steps: Steps;
  readonly #bench: Bench;
  readonly #held: AsyncDisposable[];
  readonly #layers: readonly KeepableLayer[];
  readonly #losses: Loss[] = [];
  #made = 0;
  #tried = 0;
  #measure: LossMeasure | undefined;
  #whole: DataQuality | undefined;
  /** The mode with nothing kept, solved: later tries take its codes. */
  #first: SolvedMode | undefined;

  constructor(judged: JudgedModel, mode: PlannedMode, maxLoss: MaxLoss, steps: Steps, bench: Bench) {
    this.#judged = judged;
    this.#mode = mode;
    this.#maxLoss = maxLoss;
    this.#steps = steps;
    this.#bench = bench;
    this.#held = bench.held;
    this.#layers = keepableLayers(mode);
    this.#measure = maxLoss.measure;
  }

  async run(ranking: Dataset): Promise<{ solved: SolvedMode; loss: KeptWithinLoss }> {
    const started = performance.now();
    const { signal } = this.#judged.options;
    const { limit } = this.#maxLoss;
    const byName = new Map(this.#layers.map((layer) => [layer.name, layer]));
    const found = await withinLoss<Candidate>({
      maxLoss: limit,
      make: (kept) => this.#make(kept.flatMap((name) => byName.get(name) ?? [])),
      evaluate: (candidate) => this.#evaluate(candidate),
      rank: async (whole) =>
        (await this.#rank(whole, ranking)).map(({ name, keepBytes }) => ({ weight: name, keepBytes })),
      discard: (candidate) => discard(candidate),
      format: (loss) => (this.#measure === undefined ? String(loss) : formatLoss(loss, this.#measure)),
      signal,
    }).catch((error: unknown) => {
      throw this.#named(error);
    });
    const { solved, folder } = found.result;
    await rm(folder, { recursive: true, force: true });
    const { evaluation } = this.#judged.judged;
    const measure = this.#measure ?? 'error';
    const own = this.#losses.find(({ loss }) => loss === found.loss);
    return {
      solved,
      loss: {
        measure,
        unit: LOSS_MEASURES[measure].unit,
        limit,
        loss: found.loss,
        original: own?.original,
        result: own?.result,
        layers: this.#layers.length,
        kept: found.kept.map(({ weight, keepBytes }) => ({ layer: weight, bytes: keepBytes })),
        keptBytes: found.keptBytes,
        tries: found.tries,
        data: evaluation.description,
        synthetic: evaluation.synthetic,
        samples: this.#whole?.samples ?? evaluation.count,
        seconds: (performance.now() - started) / 1000,
      },
    };
  }

  async #make(kept: readonly KeepableLayer[]): Promise<Candidate | undefined> {
    this.#tried++;
    this.#say(`${kept.length} layers kept`);
    const mode = kept.length === 0 ? this.#mode : await this.#plan(kept);
    if (mode === undefined) return undefined;
    const solved = await this.#solve(mode);
    try {
      return { solved, ...(await this.#write(solved.mode)) };
    } catch (error) {
      await solved[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #solve(mode: PlannedMode): Promise<SolvedMode> {
    const first = this.#first;
    const reused = first && reuseCodes({ before: this.#mode, after: first.mode }, mode);
    if (reused !== undefined) return { mode: reused, [Symbol.asyncDispose]: async () => {} };
    const solved = await this.#steps.solve(this.#judged, mode);
    if (first !== undefined) return solved;
    this.#first = solved;
    this.#held.push(solved);
    // Held until the end, whatever becomes of this try.
    return { mode: solved.mode, [Symbol.asyncDispose]: async () => {} };
  }

  #plan(kept: readonly KeepableLayer[]): Promise<PlannedMode | undefined> {
    const { output } = this.#mode;
    return this.#steps.plan(this.#judged, { ...output, recipe: keeping(output.recipe, kept) });
  }

  /** Writes a mode to a folder of its own. */
  async #write({ files, tasks }: PlannedMode): Promise<{ folder: string; file: string }> {
    const { threads, nonFinite, signal } = this.#judged.options;
    const folder = join(this.#bench.folder, String(this.#made++));
    await mkdir(folder);
    await executeFiles({
      files,
      tasks,
      target: { directory: folder },
      threads,
      nonFinite,
      signal,
      journal: false,
    });
    return { folder, file: join(folder, files[0]?.name ?? '') };
  }

  async #evaluate({ file }: Candidate): Promise<number> {
    const { options } = this.#judged;
    let quality: DataQuality;
    try {
      quality = await this.#bench.judge.judge(file, { signal: options.signal, onProgress: this.#reporter() });
    } catch (error) {
      // A result that answers NaN where the original does not: with more layers kept it may not.
      if (isWhittleError(error) && error.code === 'E_VERIFICATION') return Number.POSITIVE_INFINITY;
      throw error;
    }
    this.#whole ??= quality;
    this.#measure ??= naturalMeasure(quality);
    const loss = lossOf(quality, this.#measure);
    this.#losses.push(loss);
    return loss.loss;
  }

  async #rank({ file }: Candidate, ranking: Dataset): Promise<KeepableLayer[]> {
    const { options } = this.#judged;
    const model = this.#mode.prepared?.model ?? this.#judged.model;
    const { rankJudge, runtime } = this.#bench;
    const { signal, threads } = options;
    const onProgress = this.#reporter();
    const whole = this.#whole;
    if (!roundsActivations(this.#mode) && whole !== undefined)
      return rankWeights(
        model,
        file,
        this.#layers,
        { dataset: ranking, whole },
        { runtime, threads, signal, onProgress },
      );
    const alone = async (layer: KeepableLayer): Promise<DataQuality | undefined> => {
      const mode = await this.#plan(this.#layers.filter((other) => other !== layer));
      if (mode === undefined) return undefined;
      const written = await this.#write(mode);
      try {
        return await rankJudge.judge(written.file, { signal });
      } finally {
        await rm(written.folder, { recursive: true, force: true });
      }
    };
    return rankAlone(this.#layers, alone, { signal, onProgress });
  }

  #reporter(): CompressOptions['onProgress'] {
    const { onProgress } = this.#judged.options;
    if (onProgress === undefined) return undefined;
    const where = `${this.#mode.output.recipe.name}, try ${this.#tried}`;
    return (progress) => onProgress({ ...progress, phase: `${where}: ${progress.phase}` });
  }

  #say(phase: string): void {
    this.#reporter()?.({ phase, bytesDone: 0, bytesTotal: 0 });
  }

  /** What went wrong, with the mode that it went wrong in. */
  #named(error: unknown): unknown {
    if (!isWhittleError(error) || error.code !== 'E_VERIFICATION') return error;
    const { name } = this.#mode.output.recipe;
    return new WhittleError(error.code, `${name}: ${error.message}`, {
      ...error.details,
      file: this.#mode.output.input,
      hint: `Nothing was written. ${error.details.hint ?? ''}`.trim(),
      cause: error,
    });
  }
}

async function discard({ solved, folder }: Candidate): Promise<void> {
  await rm(folder, { recursive: true, force: true });
  await solved[Symbol.asyncDispose]();
}
