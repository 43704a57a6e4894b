/** Whether the targets load models of these versions at all: said before anything is planned or run. */

import { WhittleError } from '../errors.ts';
import type { OnnxModel } from '../formats/onnx/model.ts';
import { opsetVersion } from '../formats/onnx/model-versions.ts';
import type { Abilities } from './targets.ts';

/** Versions are never lowered, so a model that a target does not load gives results that it does not load. @throws WhittleError E_TARGET */
export function assertLoadable(model: OnnxModel, { maxIr, maxOpset, names }: Abilities): void {
  const ir = Number(model.proto.irVersion ?? 0n);
  const opset = opsetVersion(model.proto, '') ?? 0;
  if (ir <= maxIr && opset <= maxOpset) return;
  throw new WhittleError('E_TARGET', `the model is newer than ${names.join(', ')} can load`, {
    file: model.file,
    expected: `IR ≤ ${maxIr}, ai.onnx ≤ ${maxOpset}`,
    found: `IR ${ir}, ai.onnx ${opset}`,
    hint: 'Export the model with an older opset.',
  });
}
