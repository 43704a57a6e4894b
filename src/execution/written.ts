/**
 * What a job wrote, so that a later run can check it: for each of its outputs the ranges in the order of writing, and one
 * checksum over their bytes in that order. It finds what a crash does (bytes that never reached the disk, torn pages), which
 * is all that is asked of it, and costs a fraction of any kernel.
 */

import type { Kernels } from '../kernels/kernels.ts';
import { type Checksum, createChecksum } from './checksum.ts';

/** `count` pieces of `length` bytes, `stride` apart, the first at `offset` of the target file. */
export type WrittenPieces = readonly [offset: number, length: number, stride: number, count: number];

export interface Written {
  /** Index in the job's outputs. */
  readonly output: number;
  readonly checksum: number;
  readonly pieces: readonly WrittenPieces[];
}

/** Jobs that write more scattered than this are not noted: they are done again. */
const MOST_PIECES = 64;

interface Piece {
  readonly offset: number;
  length: number;
  stride: number;
  count: number;
}

interface Stream {
  readonly checksum: Checksum;
  readonly pieces: Piece[];
}

export interface WriteTracker {
  note(output: number, offset: number, bytes: Uint8Array): void;
  /** undefined where the writes were too scattered. */
  written(): Written[] | undefined;
}

export function trackWrites(kernels: Pick<Kernels, 'mixWords'>): WriteTracker {
  const streams = new Map<number, Stream>();
  let scattered = false;
  return {
    note(output, offset, bytes) {
      if (scattered || bytes.length === 0) return;
      let stream = streams.get(output);
      if (stream === undefined) {
        stream = { checksum: createChecksum(kernels), pieces: [] };
        streams.set(output, stream);
      }
      stream.checksum.add(bytes);
      if (extend(stream.pieces.at(-1), offset, bytes.length)) return;
      stream.pieces.push({ offset, length: bytes.length, stride: 0, count: 1 });
      scattered = stream.pieces.length > MOST_PIECES;
    },
    written() {
      if (scattered) return undefined;
      return [...streams].map(([output, { checksum, pieces }]) => ({
        output,
        checksum: checksum.value(),
        pieces: pieces.map(({ offset, length, stride, count }) => [offset, length, stride, count] as const),
      }));
    },
  };
}

/** Takes a write into the last piece where it follows it, or continues its pattern. */
function extend(last: Piece | undefined, offset: number, length: number): boolean {
  if (last === undefined) return false;
  if (last.count === 1 && offset === last.offset + last.length) {
    last.length += length;
    return true;
  }
  const stride = last.count === 1 ? offset - last.offset : last.stride;
  if (length !== last.length || stride <= 0 || offset !== last.offset + last.count * stride) return false;
  last.stride = stride;
  last.count++;
  return true;
}

/** Whether the ranges hold what was written. `read` fills its target, or returns false where the file is too short. */
export async function holds(
  { checksum, pieces }: Written,
  read: (offset: number, target: Uint8Array) => Promise<boolean>,
  buffer: Uint8Array,
  kernels: Pick<Kernels, 'mixWords'>,
): Promise<boolean> {
  const found = createChecksum(kernels);
  for (const [offset, length, stride, count] of pieces) {
    for (let i = 0; i < count; i++) {
      for (let done = 0; done < length; ) {
        const part = buffer.subarray(0, Math.min(buffer.length, length - done));
        if (!(await read(offset + i * stride + done, part))) return false;
        found.add(part);
        done += part.length;
      }
    }
  }
  return found.value() === checksum;
}
