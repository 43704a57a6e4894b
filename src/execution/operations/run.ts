/** The door to the operations: how one may be cut, and running a window of it. */

import type { MatMulNBitsOperation, Operation } from '../../numerics/operation.ts';
import { affineRunner } from './affine.ts';
import { bnb4Runner } from './bnb4.ts';
import type { Cut, OperationContext, OperationRunner, Window, WindowResult } from './context.ts';
import { convertRunner, copyRunner } from './copy.ts';
import { gatherBlockRunner } from './gather-block.ts';
import { ggmlRunner } from './ggml.ts';
import { matMulNBitsRunner } from './matmul-nbits.ts';
import { realZerosRunner } from './matmul-nbits-real.ts';
import { qdqBlockRunner } from './qdq-block.ts';
import { scaledConvertRunner } from './scaled-convert.ts';

export function cutOf(operation: Operation): Cut {
  switch (operation.kind) {
    case 'copy':
      return copyRunner.cut(operation);
    case 'convert':
      return convertRunner.cut(operation);
    case 'scaled-convert':
      return scaledConvertRunner.cut(operation);
    case 'matmul-nbits':
      return nbitsRunner(operation).cut(operation);
    case 'bnb4':
      return bnb4Runner.cut(operation);
    case 'affine':
      return affineRunner.cut(operation);
    case 'qdq-block':
      return qdqBlockRunner.cut(operation);
    case 'gather-block':
      return gatherBlockRunner.cut(operation);
    case 'ggml':
      return ggmlRunner.cut(operation);
    default:
      return operation satisfies never;
  }
}

/**
 * Runs `operation` over `window` (units of its cut).
 * @throws WhittleError E_NONFINITE by the context's policy, and whatever reading and writing raise.
 */
export function runOperation(
  operation: Operation,
  window: Window,
  context: OperationContext,
): Promise<WindowResult> {
  switch (operation.kind) {
    case 'copy':
      return copyRunner.run(operation, window, context);
    case 'convert':
      return convertRunner.run(operation, window, context);
    case 'scaled-convert':
      return scaledConvertRunner.run(operation, window, context);
    case 'matmul-nbits':
      return nbitsRunner(operation).run(operation, window, context);
    case 'bnb4':
      return bnb4Runner.run(operation, window, context);
    case 'affine':
      return affineRunner.run(operation, window, context);
    case 'qdq-block':
      return qdqBlockRunner.run(operation, window, context);
    case 'gather-block':
      return gatherBlockRunner.run(operation, window, context);
    case 'ggml':
      return ggmlRunner.run(operation, window, context);
    default:
      return operation satisfies never;
  }
}

function nbitsRunner({ zeroPoints }: MatMulNBitsOperation): OperationRunner<MatMulNBitsOperation> {
  return zeroPoints === 'real' ? realZerosRunner : matMulNBitsRunner;
}
