/** Outputs of a page, with stand-ins for what only a browser has; test/browser/entry.test.ts runs the real ones. */

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createBlobSink } from '../../src/io/blob-sink.ts';
import { gatherWrites } from '../../src/io/gather-writes.ts';
import { fileHandleSink, type SyncHandle, streamSink, syncHandleSink } from '../../src/io/page-sinks.ts';

const bytesOf = async (blob: Blob): Promise<number[]> => [...new Uint8Array(await blob.arrayBuffer())];

describe('Blob', () => {
  test('writes in any order; gaps are zero; exists only after commit', async () => {
    const sink = createBlobSink('out', 10);
    await sink.write(6, Uint8Array.of(6, 7));
    await sink.write(0, Uint8Array.of(1, 2));
    expect(() => sink.blob()).toThrow(expect.objectContaining({ code: 'E_IO' }));
    await sink.commit();
    expect(await bytesOf(sink.blob())).toEqual([1, 2, 0, 0, 0, 0, 6, 7, 0, 0]);
    await sink.commit();
  });

  test('abort leaves nothing; writes outside, after the end and over others are refused', async () => {
    const sink = createBlobSink('out', 4);
    await expect(sink.write(2, new Uint8Array(3))).rejects.toMatchObject({ code: 'E_IO' });
    await sink.abort();
    await sink.abort();
    await expect(sink.write(0, new Uint8Array(1))).rejects.toMatchObject({ code: 'E_IO' });
    await expect(sink.commit()).rejects.toMatchObject({ code: 'E_IO' });
    const twice = createBlobSink('out', 4);
    await twice.write(0, new Uint8Array(3));
    await twice.write(1, new Uint8Array(1));
    await expect(twice.commit()).rejects.toMatchObject({ code: 'E_IO', details: { offset: 1 } });
  });

  test('gaps larger than any buffer are zeros', async () => {
    const sink = createBlobSink('out', 5_000_000);
    await sink.write(4_999_999, Uint8Array.of(9));
    await sink.commit();
    const content = await bytesOf(sink.blob());
    expect([content.length, content[0], content[4_999_998], content[4_999_999]]).toEqual([
      5_000_000, 0, 0, 9,
    ]);
  });
});

test('gathered writes arrive whole and once, whatever their order and sizes', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 3_000_000 }), { maxLength: 6 }),
      fc.nat(),
      async (sizes, seed) => {
        let at = 0;
        const pieces = sizes.map((size) => {
          at += size;
          return { offset: at - size, size };
        });
        const order = pieces
          .map((piece, index) => ({ piece, key: (index * 7919 + seed) % 13 }))
          .sort((a, b) => a.key - b.key);
        const passed: { offset: number; length: number; first: number | undefined }[] = [];
        const gathered = gatherWrites((offset, bytes) => {
          passed.push({ offset, length: bytes.length, first: bytes[0] });
        });
        for (const { piece } of order) await gathered.write(piece.offset, new Uint8Array(piece.size).fill(7));
        await gathered.flush();
        passed.sort((a, b) => a.offset - b.offset);
        let end = 0;
        for (const { offset, length, first } of passed) {
          expect([offset, first]).toEqual([end, 7]);
          end += length;
        }
        expect(end).toBe(at);
      },
    ),
    { numRuns: 15 },
  );
});

describe('stream', () => {
  const collect = (): { stream: WritableStream<Uint8Array>; bytes: number[]; ends: string[] } => {
    const bytes: number[] = [];
    const ends: string[] = [];
    const stream = new WritableStream<Uint8Array>({
      write: (chunk) => void bytes.push(...chunk),
      close: () => void ends.push('closed'),
      abort: () => void ends.push('aborted'),
    });
    return { stream, bytes, ends };
  };

  test('what comes too early waits for its turn; buffers may be used again at once', async () => {
    const { stream, bytes, ends } = collect();
    const sink = streamSink(stream);
    const buffer = Uint8Array.of(3, 4);
    await sink.write(2, buffer);
    buffer.fill(5);
    await sink.write(4, buffer);
    expect(bytes).toEqual([]);
    await sink.write(0, Uint8Array.of(1, 2));
    await sink.commit();
    expect([bytes, ends]).toEqual([[1, 2, 3, 4, 5, 5], ['closed']]);
  });

  test('missing bytes end in an error, never in a shorter file', async () => {
    const { stream, ends } = collect();
    const sink = streamSink(stream);
    await sink.write(2, Uint8Array.of(3));
    await expect(sink.commit()).rejects.toMatchObject({ code: 'E_IO', details: { offset: 0 } });
    await sink.abort();
    expect(ends).toEqual(['aborted']);
  });

  test('a stream that fails is a coded error', async () => {
    const stream = new WritableStream({
      write: () => Promise.reject(new DOMException('full', 'QuotaExceededError')),
    });
    const sink = streamSink(stream, 'upload');
    const run = async (): Promise<void> => {
      for (let i = 0; i < 3; i++) await sink.write(i, Uint8Array.of(i));
    };
    await expect(run()).rejects.toMatchObject({ code: 'E_NO_SPACE', details: { file: 'upload' } });
    await sink.abort();
  });
});

describe('handles', () => {
  /** Takes three bytes in one call. */
  function slowHandle(room: number): { handle: SyncHandle; content: number[]; calls: string[] } {
    const content: number[] = [];
    const calls: string[] = [];
    const handle: SyncHandle = {
      write(bytes, { at }) {
        const part = bytes.subarray(0, Math.max(0, Math.min(3, room - at)));
        for (const [index, byte] of part.entries()) content[at + index] = byte;
        return part.length;
      },
      truncate: (size) => {
        content.length = size;
        calls.push(`truncate ${size}`);
      },
      flush: () => void calls.push('flush'),
      close: () => void calls.push('close'),
    };
    return { handle, content, calls };
  }

  test('short writes go on until everything is there; the file is flushed and closed', async () => {
    const { handle, content, calls } = slowHandle(100);
    const sink = await syncHandleSink(handle, 'out');
    await sink.write(0, Uint8Array.of(1, 2, 3, 4, 5, 6, 7));
    await sink.commit();
    await sink.abort();
    expect([content, calls]).toEqual([
      [1, 2, 3, 4, 5, 6, 7],
      ['truncate 0', 'flush', 'close'],
    ]);
  });

  test('a full disk is E_NO_SPACE, and giving up leaves the file empty', async () => {
    const { handle, content, calls } = slowHandle(5);
    const sink = await syncHandleSink(handle, 'out');
    await sink.write(0, new Uint8Array(9));
    await expect(sink.commit()).rejects.toMatchObject({ code: 'E_NO_SPACE' });
    await sink.abort();
    expect([content, calls]).toEqual([[], ['truncate 0', 'truncate 0', 'close']]);
  });

  test('a permission that was refused, and a file that is open elsewhere', async () => {
    const refusing = (name: string) => ({
      name: 'out.gguf',
      createWritable: () => Promise.reject(new DOMException('no', name)),
    });
    await expect(fileHandleSink(refusing('NotAllowedError'))).rejects.toMatchObject({
      code: 'E_ACCESS',
      details: { file: 'out.gguf', found: 'NotAllowedError' },
    });
    await expect(fileHandleSink(refusing('NoModificationAllowedError'))).rejects.toMatchObject({
      code: 'E_LOCKED',
    });
  });
});
