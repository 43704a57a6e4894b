/**
 * A float32 array as a NumPy file (format 1.0): the form in which `whittle quantize --input name=file.npy` takes real inputs,
 * since it carries its own shape. Source: numpy.lib.format.
 */

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0];
/** Magic, version and the header's length. */
const PREFIX = 10;
const ALIGNMENT = 64;

export function writeNpy(values: Float32Array, shape: readonly number[]): Uint8Array {
  const dimensions = shape.length === 1 ? `${shape[0]},` : shape.join(', ');
  const header = `{'descr': '<f4', 'fortran_order': False, 'shape': (${dimensions}), }`;
  const start = Math.ceil((PREFIX + header.length + 1) / ALIGNMENT) * ALIGNMENT;
  const bytes = new Uint8Array(start + values.length * 4);
  const view = new DataView(bytes.buffer);
  bytes.set(MAGIC);
  view.setUint16(MAGIC.length, start - PREFIX, true);
  bytes.set(new TextEncoder().encode(`${header.padEnd(start - PREFIX - 1)}\n`), PREFIX);
  for (const [index, value] of values.entries()) view.setFloat32(start + index * 4, value, true);
  return bytes;
}
