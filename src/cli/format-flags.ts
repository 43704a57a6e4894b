/** Flags that belong to one format: given with a model of the other they are refused, since ignoring them would be a lie. */

import { access } from 'node:fs/promises';
import { type ModelFormat, modelFormat } from '../compress/model-format.ts';
import { WhittleError } from '../errors.ts';

const ONNX_ONLY: ReadonlySet<string> = new Set([
  '--recipe',
  '--target',
  '--bits',
  '--block-size',
  '--symmetric',
  '--asymmetric',
  '--accuracy-level',
  '--zero-points',
  '--op-types',
  '--include',
  '--exclude',
  '--embeddings',
  '--external-data',
  '--nonfinite',
  '--bias-correction',
  '--save-solution',
  '--solution',
  '--prepare',
  '--activations',
  '--preprocessing',
  '--max-loss',
  '--loss',
  '--evaluate-data',
  '--evaluate-samples',
  '--verify',
  '--no-verify',
  '--runtime',
  '--shape',
  '--input',
  '--runs',
  '--min-cosine',
  '--no-run',
]);

const GGUF_ONLY: ReadonlySet<string> = new Set([
  '--imatrix',
  '--onnx',
  '--statistics',
  '--include-weights',
  '--exclude-weights',
  '--pure',
  '--leave-output-tensor',
  '--output-tensor-type',
  '--token-embedding-type',
  '--tensor-type',
  '--tensor-type-file',
  '--prune-layers',
  '--override-kv',
  '--allow-requantize',
  '--keep-split',
]);

const HINTS: Readonly<Record<ModelFormat, string>> = {
  gguf: 'See "GGUF" in whittle help quantize; --to takes a file type such as Q4_K_M.',
  onnx: 'See "ONNX" in whittle help quantize; --to takes modes such as q4.',
};

/** @throws WhittleError E_USAGE where a flag of the other format was given */
export function refuseForeignFlags(given: Iterable<string>, format: ModelFormat, file: string): void {
  const foreign = format === 'gguf' ? ONNX_ONLY : GGUF_ONLY;
  for (const flag of given) {
    if (!foreign.has(flag)) continue;
    throw new WhittleError('E_USAGE', `${flag} is for ${format === 'gguf' ? 'ONNX' : 'GGUF'} models`, {
      file,
      found: format === 'gguf' ? 'a GGUF model' : 'an ONNX model',
      hint: HINTS[format],
    });
  }
}

/** Two models that are held against each other. @throws WhittleError E_USAGE where they are of different formats */
export async function assertSameFormat(original: string, result: string): Promise<void> {
  for (const file of [original, result]) {
    // Opening a file that cannot be read tells what is wrong.
    const readable = await access(file).then(
      () => true,
      () => false,
    );
    if (!readable) return;
  }
  const [expected, found] = [await modelFormat(original), await modelFormat(result)];
  if (expected === found) return;
  const name = { onnx: 'an ONNX model', gguf: 'a GGUF model' };
  throw new WhittleError('E_USAGE', 'the two models are of different formats', {
    file: result,
    expected: `${name[expected]}, as ${original}`,
    found: name[found],
    hint: 'Their weights have other names and orders. Hold each against the original in its own format.',
  });
}
