/** The engine without threads and disk: what it reads, writes and holds is bounded, comes in order, and is all there or nothing. */

import { describe, expect, test } from 'vitest';
import { executeInline } from '../../src/execution/inline.ts';
import { openGgufSource } from '../../src/formats/gguf/open-source.ts';
import { memorySource } from '../../src/io/memory-source.ts';
import type { ByteSink, ByteSource } from '../../src/io/source.ts';
import { type Kernels, referenceKernels, wasmKernels } from '../../src/kernels/index.ts';
import { planGguf } from '../../src/planning/gguf/plan-gguf.ts';
import { pageGguf } from '../browser/page-models.ts';
import { buildGguf } from '../formats/gguf/build-gguf.ts';

/** A model of which only the head exists: the one weight, of 8192 × 6144 f16 (96 MiB), reads as zeros. */
function hugeSource(reads: number[]): ByteSource {
  const shape = [8192, 6144];
  const metadata = [['general.architecture', 'string', 'llama']] as const;
  const whole = buildGguf({
    metadata,
    tensors: [{ name: 'blk.0.ffn_down.weight', shape, type: 'f16', bytes: new Uint8Array(0) }],
  });
  return {
    name: 'huge.gguf',
    size: whole.length + 8192 * 6144 * 2,
    async readInto(offset, target) {
      reads.push(target.length);
      target.fill(0);
      if (offset < whole.length) target.set(whole.subarray(offset, offset + target.length));
    },
    async close() {},
  };
}

interface Recorded extends ByteSink {
  readonly writes: { readonly offset: number; readonly length: number }[];
  readonly ends: string[];
}

function recorder(name: string): Recorded {
  const writes: Recorded['writes'] = [];
  const ends: string[] = [];
  return {
    name,
    writes,
    ends,
    async write(offset, bytes) {
      writes.push({ offset, length: bytes.length });
    },
    commit: async () => void ends.push('commit'),
    abort: async () => void ends.push('abort'),
  };
}

async function fastKernels(): Promise<Kernels> {
  return (await wasmKernels()) ?? referenceKernels();
}

describe('a weight of 96 MiB', () => {
  test.each(['Q8_0', 'Q4_0', 'F16'])(
    'to %s: pieces of at most 4 MiB, in at most 16 MiB of kernel memory',
    async (to) => {
      const reads: number[] = [];
      const model = await openGgufSource(hugeSource(reads));
      const { files, tasks } = await planGguf(model, { to, fileName: 'out.gguf' });
      const kernels = await fastKernels();
      const arenas: number[] = [];
      const watched: Kernels = {
        ...kernels,
        arena(byteLength) {
          arenas.push(byteLength);
          return kernels.arena(byteLength);
        },
      };
      const sink = recorder('out.gguf');
      await executeInline([{ files, tasks, sinks: [sink] }], { kernels: watched });
      expect(reads.length).toBeGreaterThan(20);
      expect(Math.max(...reads)).toBeLessThanOrEqual(4 << 20);
      expect(Math.max(...sink.writes.map(({ length }) => length))).toBeLessThanOrEqual(4 << 20);
      expect(Math.max(0, ...arenas)).toBeLessThanOrEqual(16 << 20);
    },
  );
});

describe('outputs', () => {
  test('every byte of a GGUF file is written once, from the first to the last', async () => {
    const model = await openGgufSource(memorySource(pageGguf(), 'page.gguf'));
    const { files, tasks } = await planGguf(model, { to: 'Q4_K_M', fileName: 'out.gguf' });
    const sink = recorder('out.gguf');
    await executeInline([{ files, tasks, sinks: [sink] }]);
    let at = 0;
    for (const { offset, length } of sink.writes) {
      expect(offset).toBe(at);
      at += length;
    }
    expect([at, sink.ends]).toEqual([files[0]?.size, ['commit']]);
  });

  test('a failure while the second is written aborts the first too', async () => {
    const model = await openGgufSource(memorySource(pageGguf(), 'page.gguf'));
    const plans = [
      await planGguf(model, { to: 'Q8_0', fileName: 'a.gguf' }),
      await planGguf(model, { to: 'Q4_0', fileName: 'b.gguf' }),
    ];
    const first = recorder('a.gguf');
    const second = { ...recorder('b.gguf'), write: () => Promise.reject(new Error('unplugged')) };
    const sets = plans.map(({ files, tasks }, index) => ({
      files,
      tasks,
      sinks: [index === 0 ? first : second],
    }));
    await expect(executeInline(sets)).rejects.toThrow('unplugged');
    expect([first.ends, second.ends]).toEqual([['abort'], ['abort']]);
  });

  test('a source that ends too early is a coded error that names the tensor', async () => {
    const whole = pageGguf();
    const model = await openGgufSource({
      ...memorySource(whole, 'page.gguf'),
      async readInto(offset, target) {
        const source = memorySource(offset > 4096 ? whole.subarray(0, 4096) : whole, 'page.gguf');
        await source.readInto(offset, target);
      },
    });
    const { files, tasks } = await planGguf(model, { to: 'Q8_0', fileName: 'out.gguf' });
    const sink = recorder('out.gguf');
    await expect(executeInline([{ files, tasks, sinks: [sink] }])).rejects.toMatchObject({
      code: 'E_TRUNCATED',
      details: { tensor: expect.stringContaining('weight') },
    });
    expect(sink.ends).toEqual(['abort']);
  });
});
