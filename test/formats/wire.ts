/** Hand-made protobuf bytes, for what no writer would write. */

export function bytesOf(...parts: (number | Uint8Array | string)[]): Uint8Array {
  const pieces = parts.map((part) =>
    typeof part === 'number'
      ? Uint8Array.of(part)
      : typeof part === 'string'
        ? new TextEncoder().encode(part)
        : part,
  );
  const joined = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0));
  let offset = 0;
  for (const piece of pieces) {
    joined.set(piece, offset);
    offset += piece.length;
  }
  return joined;
}

export function varint(number: number): Uint8Array {
  const bytes: number[] = [];
  let rest = number;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80);
  return Uint8Array.of(...bytes, rest);
}

/** Field of wire type 0. */
export function int(field: number, number: number): Uint8Array {
  return bytesOf(varint(field * 8), varint(number));
}

/** Field of wire type 2. */
export function len(field: number, ...content: (number | Uint8Array | string)[]): Uint8Array {
  const bytes = bytesOf(...content);
  return bytesOf(varint(field * 8 + 2), varint(bytes.length), bytes);
}

/** The beginning of a model: IR 8, ai.onnx 17. */
export const HEADER = bytesOf(int(1, 8), len(8, int(2, 17)));
