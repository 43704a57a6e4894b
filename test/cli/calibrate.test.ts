/** `whittle calibrate`: a statistics file and an importance matrix from a model and its data, and going on where a run stopped. */

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { loadStatistics, saveStatistics } from '../../src/calibration/statistics/statistics-file.ts';
import { calibrate } from '../../src/compress/calibrate.ts';
import { openImatrix } from '../../src/formats/gguf/open.ts';
import { encodeModel } from '../../src/formats/onnx/layout.ts';
import { floats, graph, model, node, value, withFolder } from '../formats/build-onnx.ts';
import { run } from './run.ts';

/** One projection of a decoder, and a model without products. */
async function writeModels(folder: string): Promise<{ path: string; none: string }> {
  const inputs = [value('x', 'f32', ['n', 3])];
  const outputs = [value('y', 'f32', ['n', 2])];
  const proto = model(
    graph({
      nodes: [node('MatMul', ['x', 'w'], ['y'], { name: '/model/layers.4/mlp/up_proj/MatMul' })],
      initializers: [floats('w', [3, 2])],
      inputs,
      outputs,
    }),
  );
  const path = join(folder, 'model.onnx');
  const none = join(folder, 'none.onnx');
  await writeFile(path, await encodeModel(proto));
  const relu = graph({ nodes: [node('Relu', ['x'], ['y'])], inputs, outputs });
  await writeFile(none, await encodeModel(model(relu)));
  return { path, none };
}

test('statistics and an importance matrix are written; a stopped run goes on to the same sums; mistakes are named', async () => {
  await withFolder(async (folder) => {
    const { path, none } = await writeModels(folder);
    const out = join(folder, 'model.stats');
    const matrix = join(folder, 'matrix.gguf');
    const command = ['calibrate', path, '--out', out, '--samples', '24', '--gram', '--threads', '1'];
    const { code, stdout } = await run([...command, '--imatrix', matrix, '--json']);
    expect({ code, report: JSON.parse(stdout) }).toMatchObject({
      code: 0,
      report: { samples: 24, weights: 1, synthetic: true, resumed: 0 },
    });
    const whole = await loadStatistics(out);
    expect(whole.entries.get('w')?.gram?.length).toBe(9);
    const imatrix = await openImatrix(matrix);
    expect([...imatrix.entries.keys()]).toEqual(['blk.4.ffn_up.weight']);
    await imatrix.close();

    expect((await run(command)).stderr).toContain('E_OUTPUT_EXISTS');
    // As a stopped run leaves it: the first eight samples only.
    await run([...command, '--force', '--samples', '8']);
    const part = await loadStatistics(out);
    await saveStatistics(out, { ...part, datasets: whole.datasets }, { force: true });
    const resumed = await run([...command, '--resume', '--json']);
    expect(JSON.parse(resumed.stdout)).toMatchObject({ samples: 24, resumed: 8 });
    const again = await loadStatistics(out);
    expect(again.entries.get('w')?.rows).toBe(whole.entries.get('w')?.rows);
    expect(again.entries.get('w')?.squares[0]).toBeCloseTo(whole.entries.get('w')!.squares[0]!, 4);

    await saveStatistics(out, { ...part, datasets: ['other data'] }, { force: true });
    expect((await run([...command, '--resume'])).stderr).toContain('E_RESUME');
    expect((await run(['calibrate', none, '--out', join(folder, 'n.stats')])).stderr).toContain(
      'E_NOTHING_TO_DO',
    );
    await writeFile(join(folder, 'model.gguf'), 'GGUF');
    const gguf = await run(['calibrate', join(folder, 'model.gguf'), '--out', join(folder, 'g.stats')]);
    expect({ code: gguf.code, text: gguf.stderr }).toMatchObject({
      code: 4,
      text: expect.stringContaining('--imatrix'),
    });
  });
});

test('a run goes on only with what it was begun with: data, seed, model, Gram matrices, figures of values', async () => {
  await withFolder(async (folder) => {
    const { path } = await writeModels(folder);
    const out = join(folder, 'model.stats');
    const rows = join(folder, 'rows.json');
    await writeFile(rows, JSON.stringify(Array.from({ length: 20 }, (_, i) => ({ x: [i, 1 - i, 0.5] }))));
    const command = ['calibrate', path, '--data', rows, '--samples', '12', '--out', out, '--threads', '1'];
    const resume = [...command, '--resume', '--json'];
    const refusal = async (words: readonly string[]) => JSON.parse((await run(words)).stdout).error;
    expect((await run([...command, '--tensors', 'y', '--per-channel', '1'])).code).toBe(0);
    expect(await refusal([...resume, '--seed', '2'])).toMatchObject({
      code: 'E_RESUME',
      expected: expect.stringContaining('seed 2'),
    });
    expect(await refusal([...resume, '--gram'])).toMatchObject({
      code: 'E_RESUME',
      message: expect.stringContaining('--gram'),
    });
    for (const words of [
      ['--tensors', 'x'],
      ['--tensors', 'y', '--histograms', '--per-channel', '1'],
      ['--tensors', 'y', '--per-channel', '0'],
    ]) {
      expect(await refusal([...resume, ...words])).toMatchObject({ code: 'E_RESUME', tensor: words[1] });
    }
    expect(await refusal(resume)).toMatchObject({ code: 'E_RESUME', tensor: 'y' });
    const same = [...resume, '--tensors', 'y', '--per-channel', '-1'];
    expect(JSON.parse((await run(same)).stdout)).toMatchObject({ samples: 12, resumed: 12, tensors: 1 });
    const set = await loadStatistics(out);
    const entries = new Map([...set.entries].map(([, entry]) => ['other', entry]));
    await saveStatistics(out, { ...set, entries }, { force: true });
    expect(await refusal(resume)).toMatchObject({ code: 'E_RESUME', tensor: 'w' });

    // Gram matrices that were begun are finished, also where the flag is forgotten.
    await run([...command, '--gram', '--force']);
    const whole = await loadStatistics(out);
    await run([...command, '--gram', '--force', '--samples', '8']);
    const part = await loadStatistics(out);
    await saveStatistics(out, { ...part, datasets: whole.datasets }, { force: true });
    expect(JSON.parse((await run(resume)).stdout)).toMatchObject({ samples: 12, resumed: 8 });
    expect((await loadStatistics(out)).entries.get('w')?.gram).toHaveLength(9);
  });
});

test('a run that is stopped says how many samples are done and how to go on; one that has kept nothing does not', async () => {
  await withFolder(async (folder) => {
    const { path } = await writeModels(folder);
    const output = join(folder, 'model.stats');
    const stopAt = (sample: number) => {
      const stop = new AbortController();
      return calibrate(path, {
        output,
        dataset: { samples: 24 },
        threads: 1,
        signal: stop.signal,
        onProgress: ({ bytesDone }) => {
          if (bytesDone === sample) stop.abort();
        },
      });
    };
    const early = await stopAt(3).catch((error: unknown) => error);
    expect(early).toMatchObject({ code: 'E_ABORTED' });
    expect(early).not.toMatchObject({ details: { hint: expect.anything() } });
    await expect(stopAt(11)).rejects.toMatchObject({
      code: 'E_ABORTED',
      details: {
        hint: 'Run the same command with --resume to continue: 8 of 24 samples are done.',
      },
    });
    expect((await loadStatistics(output)).samples).toBe(8);
  });
});
