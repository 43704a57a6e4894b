/** Algorithms that choose the codes of GGUF types, and what each does; the names are those of ONNX, where they mean the same. */

import type { BlockFeedbackOptions } from '../../../algorithms/block-feedback.ts';
import type { Collected } from '../../../calibration/collect/products.ts';
import { nearest } from '../../../core/nearest.ts';
import { WhittleError } from '../../../errors.ts';

export interface BlockMethod {
  readonly name: string;
  readonly needs: readonly Collected[];
  readonly options: BlockFeedbackOptions;
}

const METHODS: readonly BlockMethod[] = [
  { name: 'gptq', needs: ['gram'], options: {} },
  { name: 'gptq-act-order', needs: ['gram'], options: { activationOrder: true } },
  { name: 'gptaq', needs: ['gram', 'cross'], options: { activationOrder: true, asymmetric: 1 } },
  { name: 'best', needs: ['gram'], options: { activationOrder: true, refined: true } },
];

const DEFAULT = 'gptq-act-order';

/** undefined for `rtn`, which is ggml's own encoder. @throws WhittleError E_USAGE for what is no algorithm of GGUF types */
export function blockMethod(wanted: string | undefined): BlockMethod | undefined {
  if (wanted === 'rtn') return undefined;
  const name = wanted === undefined || wanted === 'auto' ? DEFAULT : wanted;
  const method = METHODS.find((known) => known.name === name);
  if (method !== undefined) return method;
  const names = ['auto', 'rtn', ...METHODS.map((known) => known.name)];
  const near = nearest(name, names);
  throw new WhittleError('E_USAGE', `${name} is no algorithm for GGUF types`, {
    expected: names.join(', '),
    found: name,
    hint:
      near === undefined
        ? 'The encoders of ggml search the scales of a block themselves; --imatrix weighs their errors.'
        : `Did you mean ${near}?`,
  });
}
