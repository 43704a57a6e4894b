/** A small model as preparations edit it, and both versions run on the same values. */

import { copyModel } from '../../../src/calibration/collect/tapped-model.ts';
import { editableCopy } from '../../../src/compress/prepare/editable.ts';
import { foldFactors, sitesOf } from '../../../src/compress/prepare/fold-site.ts';
import type { EditableModel } from '../../../src/compress/prepare/pass.ts';
import { createSpool } from '../../../src/compress/solve/spool.ts';
import { createRandom } from '../../../src/core/random.ts';
import type { ModelProto } from '../../../src/formats/onnx/messages.ts';
import { openOnnx } from '../../../src/formats/onnx/open.ts';
import { referenceKernels } from '../../../src/kernels/index.ts';
import { sourceOf } from '../../formats/build-onnx.ts';

export async function editable(proto: ModelProto): Promise<EditableModel> {
  return editableCopy(await openOnnx(await sourceOf(proto)), referenceKernels(), createSpool());
}

/** The model with its tensors in place. */
export function inMemory(model: EditableModel): Promise<ModelProto> {
  const { proto, tensorBytes } = model.asModel();
  return copyModel({ proto, resolve: tensorBytes });
}

/** Every place of the model gets factors between 1/8 and 8. */
export async function scaledAtRandom(proto: ModelProto, seed: number) {
  const model = await editable(proto);
  const random = createRandom(seed);
  const sites = await sitesOf(model);
  for (const site of sites) {
    const factors = Float64Array.from({ length: site.channels }, () => 2 ** (random.uniform() * 6 - 3));
    await foldFactors(model, site, factors);
  }
  return { sites, proto: await inMemory(model) };
}
