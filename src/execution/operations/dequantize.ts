/** placeholder */
import type { DequantizeOperation } from '../../numerics/dequantize-operation.ts';
import type { PartRole } from '../../numerics/operation.ts';
import type { OperationContext, Window, WindowResult } from './context.ts';

export interface DequantizeContext extends Omit<OperationContext, 'read'> {
  read(role: PartRole, offset: number, target: Uint8Array): Promise<void> | void;
}

export async function runDequantize(
  operation: DequantizeOperation,
  _window: Window,
  _context: DequantizeContext,
): Promise<WindowResult> {
  throw new Error(operation.kind);
}
