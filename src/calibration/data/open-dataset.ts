/**
 * Opens data for a model: whatever the source, a data set of complete inputs that fit the model's own, walked in a fixed order.
 * All that can be said of the data before the first run is checked here; each row is checked when it is read.
 */

import type { RuntimeValueInfo } from '../../runtime/runtime.ts';
import { arrayRows, npyRows } from './array-rows.ts';
import type { DataSpec, DatasetOptions } from './data-spec.ts';
import type { Dataset } from './dataset.ts';
import { imageRows } from './images.ts';
import { jsonRows, ndjsonRows } from './json-rows.ts';
import { moduleDataset } from './module-batches.ts';
import { readNpz } from './npz.ts';
import { rowsDataset } from './rows.ts';
import { readSafetensors } from './safetensors.ts';
import { syntheticDataset } from './synthetic.ts';
import { textRows } from './text.ts';

/**
 * @param inputs - of the model, as a runtime's session tells them
 * @throws WhittleError E_USAGE (options, or data of a kind that the model cannot take), E_NOT_FOUND, E_ACCESS, E_MISSING_PEER, E_EMPTY,
 * E_TRUNCATED, E_DATA, E_SHAPE, E_DTYPE, E_NONFINITE, E_LIMIT; the same may come while samples are walked
 */
export async function openDataset(
  spec: DataSpec,
  inputs: readonly RuntimeValueInfo[],
  options: DatasetOptions = {},
): Promise<Dataset> {
  switch (spec.kind) {
    case 'text':
      return rowsDataset(await textRows(spec, inputs, options), inputs, options);
    case 'json':
      return rowsDataset(await jsonRows(spec, inputs, options), inputs, options);
    case 'ndjson':
      return rowsDataset(await ndjsonRows(spec, inputs, options), inputs, options);
    case 'npy':
      return rowsDataset(await npyRows(spec, inputs), inputs, options);
    case 'npz':
      return rowsDataset(await arrayRows(spec.file, await readNpz(spec.file), inputs), inputs, options);
    case 'safetensors':
      return rowsDataset(
        await arrayRows(spec.file, await readSafetensors(spec.file), inputs),
        inputs,
        options,
      );
    case 'images':
      return rowsDataset(await imageRows(spec, inputs), inputs, options);
    case 'module':
      return moduleDataset(spec.file, inputs, options);
    case 'synthetic':
      return syntheticDataset(inputs, options);
    default:
      return spec satisfies never;
  }
}
