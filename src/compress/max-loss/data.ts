/**
 * What a mode with a largest loss is calibrated on and judged on, for one model: other data where it was named, else a part of the
 * same that is held out of the calibration.
 */

import { DEFAULT_SAMPLES } from '../../calibration/data/data-spec.ts';
import type { Dataset } from '../../calibration/data/dataset.ts';
import { WhittleError } from '../../errors.ts';
import type { OnnxModel } from '../../formats/onnx/model.ts';
import { openModelData } from '../calibration-data.ts';
import { partOf } from '../evaluate-sample.ts';
import type { CalibrationData, CompressOptions, MaxLoss } from '../options.ts';
import { splitDataset } from './split.ts';

export interface JudgedData {
  /** Undefined where nothing is calibrated. */
  readonly calibration: Dataset | undefined;
  readonly evaluation: Dataset;
}

/** Rows with labels that are judged on unless `samples` says otherwise: accuracy moves in steps of one row. */
const LABELLED_SAMPLES = 512;
/** Others, each of which has many scores. */
const OTHER_SAMPLES = 64;

/**
 * @param calibrates - whether anything of the request is fitted to data: else all of it may be judged on
 * @throws WhittleError E_USAGE without data, E_EMPTY where there is too little, and what opening data throws
 */
export async function openJudgedData(
  model: OnnxModel,
  options: CompressOptions,
  { data: other, samples }: MaxLoss,
  calibrates: boolean,
): Promise<JudgedData> {
  const { data } = options;
  if (other !== undefined) {
    const calibration =
      calibrates && data !== undefined ? await openModelData(model, data, options) : undefined;
    return { calibration, evaluation: await openWhole(model, other, options, samples) };
  }
  if (data === undefined) {
    throw new WhittleError('E_USAGE', 'a loss is measured on data, and none was given', {
      hint: 'Name the data with --data, or with --evaluate-data where it is only judged on.',
    });
  }
  if (!calibrates)
    return { calibration: undefined, evaluation: await openWhole(model, data, options, samples) };
  if (isDataset(data)) return splitDataset(data, samples ?? Math.floor(data.count / 2));
  const own = data.samples ?? DEFAULT_SAMPLES;
  const held = samples ?? ((await hasLabels(model, data, options)) ? LABELLED_SAMPLES : OTHER_SAMPLES);
  const asked = own === 'all' ? own : own + held;
  const dataset = await openModelData(model, { ...data, samples: asked }, options);
  const notes = dataset.notes.filter((note) => !note.includes(`of the ${asked} samples that were asked for`));
  return splitDataset({ ...dataset, notes }, heldOf(dataset.count, own, held, data.batch ?? 1));
}

/** Runs to hold out. Where there are too few rows the calibration has its due first, but a quarter is held out at least. */
function heldOf(runs: number, own: number | 'all', held: number, batch: number): number {
  const quarter = Math.ceil(runs / 4);
  if (own === 'all') return quarter;
  const enough = runs * batch >= own + held;
  return enough ? Math.round((runs * held) / (own + held)) : Math.max(quarter, runs - Math.ceil(own / batch));
}

/** Everything, up to the number of samples. */
async function openWhole(
  model: OnnxModel,
  data: Dataset | CalibrationData,
  options: CompressOptions,
  samples: number | undefined,
): Promise<Dataset> {
  if (isDataset(data)) return samples === undefined ? data : partOf(data, samples);
  const count =
    samples ?? data.samples ?? ((await hasLabels(model, data, options)) ? LABELLED_SAMPLES : OTHER_SAMPLES);
  return openModelData(model, { ...data, samples: count }, options);
}

async function hasLabels(
  model: OnnxModel,
  data: CalibrationData,
  options: CompressOptions,
): Promise<boolean> {
  const dataset = await openModelData(model, { ...data, samples: 1 }, options);
  for await (const { labels } of dataset.samples()) return labels !== undefined;
  return false;
}

function isDataset(data: Dataset | CalibrationData): data is Dataset {
  return 'samples' in data && typeof data.samples === 'function';
}
