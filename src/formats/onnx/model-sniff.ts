/**
 * Refuses files that are not ONNX by their first bytes. Protobuf has no magic number: without this a picture or a web page
 * would be "malformed at byte 0".
 */

import type { ByteSource } from '../../io/source.ts';
import { describeForeign, readHeadBytes } from '../sniff.ts';

/** @throws WhittleError E_EMPTY, E_LFS_POINTER, E_PICKLE, E_NOT_A_MODEL */
export async function assertOnnx(source: ByteSource): Promise<void> {
  const head = await readHeadBytes(source, 'onnx');
  const foreign = describeForeign(head, 'onnx', source.name);
  if (foreign !== undefined) throw foreign;
}
