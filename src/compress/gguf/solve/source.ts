/**
 * Where the statistics come from that GGUF types are solved on: data that is run on the ONNX file of the same model, stage by stage, or a file
 * that `whittle calibrate --gram` saved of it.
 */

import type { Collected } from '../../../calibration/collect/products.ts';
import type { Dataset } from '../../../calibration/data/dataset.ts';
import type { InputStatistics } from '../../../calibration/statistics/input-statistics.ts';
import { loadStatistics } from '../../../calibration/statistics/statistics-file.ts';
import { WhittleError } from '../../../errors.ts';
import type { OnnxModel } from '../../../formats/onnx/model.ts';
import type { Kernels } from '../../../kernels/kernels.ts';
import { onnxruntimeNode } from '../../../runtime/onnxruntime-node.ts';
import { openModelData } from '../../calibration-data.ts';
import { createCollector } from '../../solve/collector.ts';
import type { Layer } from '../../solve/layers.ts';
import type { QuantizeGgufOptions } from '../options.ts';
import type { BlockMethod } from './names.ts';

/** Where statistics of layers come from. */
export interface Source {
  readonly description: string;
  readonly dataset?: Dataset | undefined;
  /** Whether layers can be calibrated on the quantized prefix. */
  readonly sequential: boolean;
  /** @param layers - all that will be asked for, in the order of their stages */
  open(layers: readonly Layer[]): Collecting;
}

export interface Collecting extends AsyncDisposable {
  collect(
    layers: readonly Layer[],
    replaced: ReadonlyMap<string, Float32Array>,
    needs: readonly Collected[],
  ): Promise<ReadonlyMap<string, InputStatistics>>;
}

/** @throws WhittleError what opening the data, or the statistics, throws */
export async function openSource(
  onnx: OnnxModel,
  method: BlockMethod,
  kernels: Kernels,
  {
    data,
    statistics,
    threads,
    signal,
    onProgress,
  }: Pick<QuantizeGgufOptions, 'data' | 'statistics' | 'threads' | 'signal' | 'onProgress'>,
): Promise<Source> {
  if (statistics !== undefined) return savedSource(statistics, method);
  const dataset = await openModelData(onnx, data ?? { source: { kind: 'synthetic' } }, { threads, signal });
  const float = { proto: onnx.proto, resolve: onnx.tensorBytes.bind(onnx) };
  const options = { runtime: onnxruntimeNode(), kernels, threads, signal, onProgress };
  return {
    description: dataset.description,
    dataset,
    sequential: true,
    open(all) {
      const collector = createCollector(float, dataset, all, options);
      return {
        collect: (layers, replaced, collect) =>
          collector.collect(
            layers.flatMap(({ products }) => products),
            replaced,
            collect,
          ),
        [Symbol.asyncDispose]: () => collector[Symbol.asyncDispose](),
      };
    },
  };
}

/** @throws WhittleError E_DATA where they lack what the method needs; when layers are asked for, where they are of another model */
async function savedSource(file: string, { name, needs }: BlockMethod): Promise<Source> {
  const set = await loadStatistics(file);
  const lacking = [...set.entries].flatMap(([weight, found]) =>
    needs.some((part) => (part === 'gram' || part === 'cross' ? found[part] === undefined : false))
      ? [weight]
      : [],
  );
  if (lacking.length > 0) {
    throw new WhittleError('E_DATA', `the statistics lack what ${name} needs`, {
      file,
      tensor: lacking[0],
      expected: needs.map((part) => (part === 'gram' ? 'Gram matrices' : part)).join(', '),
      found: 'sums of squares',
      hint: needs.includes('cross')
        ? 'They are collected while layers are solved: give --data instead.'
        : 'Make them with whittle calibrate --gram.',
    });
  }
  return {
    description: `${set.samples} samples: ${set.datasets.join('; ')}`,
    sequential: false,
    open: () => ({
      collect: async (layers) => {
        assertOwn(file, layers, set.entries);
        return set.entries;
      },
      [Symbol.asyncDispose]: async () => {},
    }),
  };
}

/** @throws WhittleError E_DATA, E_SHAPE */
function assertOwn(
  file: string,
  layers: readonly Layer[],
  entries: ReadonlyMap<string, InputStatistics>,
): void {
  const hint = 'Make them of the ONNX file that --onnx names, with whittle calibrate --gram.';
  if (layers.length > 0 && !layers.some(({ key }) => entries.has(key))) {
    throw new WhittleError('E_DATA', 'the statistics are of another model: they know none of the layers', {
      file,
      expected: layers
        .slice(0, 3)
        .map(({ key }) => key)
        .join(', '),
      found: [...entries.keys()].slice(0, 3).join(', ') || 'no weight',
      hint,
    });
  }
  for (const { key, inputs } of layers) {
    const found = entries.get(key)?.inputs ?? inputs;
    if (found === inputs) continue;
    throw new WhittleError('E_SHAPE', 'the statistics are of another model', {
      file,
      tensor: key,
      expected: `${inputs} inputs`,
      found: `${found} inputs`,
      hint,
    });
  }
}
