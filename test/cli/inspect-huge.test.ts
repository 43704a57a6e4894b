/** `inspect` on a model of 100 GB: what the head says, without a look at a weight. */

import { open, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { GgufOutputTensor } from '../../src/formats/gguf/gguf.ts';
import { layoutGguf } from '../../src/formats/gguf/writer.ts';
import { withFolder } from '../formats/build-onnx.ts';
import { run } from './run.ts';

const LAYERS = 186;

/** 100 GB of f16 weights that were never written. */
async function writeHuge(path: string): Promise<number> {
  const tensors = Array.from(
    { length: LAYERS },
    (_, task): GgufOutputTensor => ({
      name: `blk.${task}.ffn_up.weight`,
      shape: [16384, 16384],
      type: 'f16',
      content: { kind: 'task', task },
    }),
  );
  const file = layoutGguf({ name: 'huge.gguf', metadata: [], tensors, alignment: 32 });
  const handle = await open(path, 'w');
  try {
    for (const segment of file.segments)
      if (segment.kind === 'bytes')
        await handle.write(segment.bytes, 0, segment.bytes.length, segment.offset);
  } finally {
    await handle.close();
  }
  await truncate(path, file.size);
  return file.size;
}

describe('inspect of 100 GB', () => {
  test('lists every tensor and says that no weight was measured; --no-stats says nothing of it', async () => {
    await withFolder(async (folder) => {
      const path = join(folder, 'huge.gguf');
      expect(await writeHuge(path)).toBeGreaterThan(99e9);
      const { code, stdout, stderr } = await run(['inspect', path]);
      expect(code).toBe(0);
      expect(stdout).toContain(`blk.${LAYERS - 1}`);
      expect(stderr).toMatch(/Weights were not measured: 9\d\.\d GiB.*--stats/);
      expect((await run(['inspect', path, '--no-stats'])).stderr).toBe('');
      const summary = JSON.parse((await run(['inspect', path, '--json'])).stdout);
      expect(summary.tensors).toHaveLength(LAYERS);
      expect(summary.tensors.every((tensor: object) => !('statistics' in tensor))).toBe(true);
    });
  });
});
