/** Which files of a folder are sessions, what results are called, and that config.json is replaced whole or not at all. */

import { lstat, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { updateConfigFile } from '../../src/hub/config-file.ts';
import { findSessions, folderOfFile, planFolder } from '../../src/hub/folder.ts';
import { DTYPE_SUFFIXES, dataFileNames, outputName, splitFileName } from '../../src/hub/names.ts';

let base: string;

beforeAll(async () => {
  base = await mkdtemp(join(tmpdir(), 'whittle-hub-'));
});
afterAll(() => rm(base, { recursive: true, force: true }));

async function makeFolder(name: string, files: Record<string, string>): Promise<string> {
  const root = join(base, name);
  for (const [path, text] of Object.entries(files)) {
    await mkdir(join(root, path, '..'), { recursive: true });
    await writeFile(join(root, path), text);
  }
  return root;
}

test('session files are those without a dtype suffix; data files count to their size', async () => {
  const root = await makeFolder('seq2seq', {
    'config.json': '{}',
    'onnx/encoder_model.onnx': '123',
    'onnx/decoder_model_merged.onnx': '12345',
    'onnx/decoder_model_merged.onnx_data': '1234567',
    'onnx/decoder_model_merged.onnx_data_1': '1',
    'onnx/decoder_model_merged.onnx_data_old': '1234',
    'onnx/encoder_model_q4f16.onnx': '1',
    'onnx/encoder_model_mine.onnx': '1',
    'onnx/notes.txt': '',
    'onnx/.hidden.onnx': '',
    'onnx/folder.onnx/x': '',
  });
  const folder = await planFolder(root, { extraSuffixes: ['_mine'] });
  expect(folder.sessions.map(({ session, bytes }) => [session, bytes])).toEqual([
    ['decoder_model_merged', 13],
    ['encoder_model', 3],
  ]);
  expect(folder.variants.map(({ session, suffix }) => [session, suffix])).toEqual([
    ['encoder_model', '_mine'],
    ['encoder_model', '_q4f16'],
  ]);
  expect(folder.config).toBe(join(root, 'config.json'));
  expect(await planFolder(join(root, 'onnx'), { extraSuffixes: ['_mine'] })).toMatchObject({
    sessions: folder.sessions,
    root,
  });
  expect(await folderOfFile(join(root, 'onnx/encoder_model.onnx'))).toMatchObject({ root });
  expect(await folderOfFile(join(root, 'config.json'))).toBeUndefined();
});

test.each([
  ['an absent folder', 'nowhere', {}, 'E_NOT_FOUND'],
  ['a folder without onnx/', 'plain', { 'config.json': '{}' }, 'E_NOT_A_MODEL'],
  ['an onnx/ that holds only variants', 'variants', { 'onnx/model_q4.onnx': '1' }, 'E_NOT_A_MODEL'],
])('%s is refused', async (_, name, files, code) => {
  const root = await makeFolder(name, files);
  await expect(findSessions(root)).rejects.toMatchObject({ code });
});

test('every dtype suffix comes apart from its session again, the longest first', () => {
  for (const suffix of Object.values(DTYPE_SUFFIXES)) {
    const name = outputName('decoder_model_merged.onnx', suffix);
    expect(splitFileName(name)).toEqual({ session: 'decoder_model_merged', suffix });
  }
  expect(splitFileName('model_int8_qdq.onnx')).toEqual({ session: 'model', suffix: '_int8_qdq' });
  expect(splitFileName('_q4.onnx')).toEqual({ session: '_q4', suffix: '' });
  expect(splitFileName('.onnx')).toBeUndefined();
  expect(splitFileName('model.onnx_data')).toBeUndefined();
});

test('a suffix of the source is replaced in the name of the result', () => {
  expect(outputName('model.onnx', '_q4')).toBe('model_q4.onnx');
  expect(outputName('model_fp16.onnx', '_q4f16')).toBe('model_q4f16.onnx');
  expect(outputName('silero_vad_v5.onnx', '_quantized')).toBe('silero_vad_v5_quantized.onnx');
});

test('data files are called as transformers.js fetches them', () => {
  expect(dataFileNames('model_q4.onnx', 3)).toEqual([
    'model_q4.onnx_data',
    'model_q4.onnx_data_1',
    'model_q4.onnx_data_2',
  ]);
});

test('config.json is replaced in one step, leaving nothing beside it', async () => {
  const root = await makeFolder('config', { 'config.json': '{"a": 1}\n', 'onnx/model.onnx': '1' });
  const folder = await planFolder(root);
  expect(await updateConfigFile(folder, [{ name: 'model_q4.onnx', dataFiles: 0 }])).toBe(false);
  expect(await updateConfigFile(folder, [{ name: 'model_q4.onnx', dataFiles: 1 }])).toBe(true);
  expect(JSON.parse(await readFile(join(root, 'config.json'), 'utf8'))).toEqual({
    a: 1,
    'transformers.js_config': { use_external_data_format: { 'model_q4.onnx': 1 } },
  });
  expect(await readdir(root)).toEqual(['config.json', 'onnx']);
});

test.skipIf(process.platform === 'win32')(
  'a linked config.json becomes a file; the shared original stays',
  async () => {
    const root = await makeFolder('linked', { 'blob.json': '{}', 'onnx/model.onnx': '1' });
    await symlink(join(root, 'blob.json'), join(root, 'config.json'));
    await updateConfigFile(await planFolder(root), [{ name: 'model.onnx', dataFiles: 2 }]);
    expect(await readFile(join(root, 'blob.json'), 'utf8')).toBe('{}');
    expect((await lstat(join(root, 'config.json'))).isSymbolicLink()).toBe(false);
  },
);

test('a folder without config.json is left alone', async () => {
  const root = await makeFolder('bare', { 'onnx/model.onnx': '1' });
  expect(await updateConfigFile(await planFolder(root), [{ name: 'model_q4.onnx', dataFiles: 1 }])).toBe(
    false,
  );
  expect(await readdir(root)).toEqual(['onnx']);
});
