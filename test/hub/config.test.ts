/** What transformers.js would fetch after the update is what stands beside the model. */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { claimedDataFiles, updateConfig } from '../../src/hub/config.ts';

const sessions = ['model', 'encoder_model'];

function update(config: unknown, name: string, dataFiles: number): unknown {
  const text = JSON.stringify(config, null, 2);
  return JSON.parse(updateConfig(text, { written: [{ name, dataFiles }], sessions }));
}

const custom = (setting: unknown, rest: object = {}) => ({
  model_type: 'bert',
  'transformers.js_config': { ...rest, use_external_data_format: setting },
});

test('a configuration that is already right comes back byte for byte', () => {
  const text = '{ "eps":1e-06,\n\n "model_type" :"bert" }\n';
  expect(updateConfig(text, { written: [{ name: 'model_q4.onnx', dataFiles: 0 }], sessions })).toBe(text);
});

test('the number of data files is noted under the full file name', () => {
  expect(update({ model_type: 'bert' }, 'model_q4.onnx', 2)).toEqual(custom({ 'model_q4.onnx': 2 }));
});

test('other settings, order, indentation and number spelling stay', () => {
  const text =
    '{\n    "layer_norm_eps": 1e-12,\n    "transformers.js_config": {\n        "dtype": "q4"\n    },\n    "rope_theta": 10000.0\n}\n';
  expect(updateConfig(text, { written: [{ name: 'model_q4.onnx', dataFiles: 1 }], sessions })).toBe(
    '{\n    "layer_norm_eps": 1e-12,\n    "transformers.js_config": {\n        "dtype": "q4",\n        "use_external_data_format": {\n            "model_q4.onnx": 1\n        }\n    },\n    "rope_theta": 10000.0\n}\n',
  );
});

test('an entry whose file no longer has data goes, and the setting with it', () => {
  expect(update(custom({ 'model_q4.onnx': 1, 'model.onnx': 1 }), 'model_q4.onnx', 0)).toEqual(
    custom({ 'model.onnx': 1 }),
  );
  expect(update(custom({ 'model_q4.onnx': 1 }, { dtype: 'q4' }), 'model_q4.onnx', 0)).toEqual({
    model_type: 'bert',
    'transformers.js_config': { dtype: 'q4' },
  });
  expect(update(custom({ 'model_q4.onnx': 1 }), 'model_q4.onnx', 0)).toEqual({ model_type: 'bert' });
});

test('a claim for the whole session is contradicted for a file that has no data', () => {
  expect(update(custom({ model: 1 }), 'model_q4.onnx', 0)).toEqual(custom({ model: 1, 'model_q4.onnx': 0 }));
});

test('one value for all becomes a map that says the same of the other files', () => {
  expect(update(custom(true), 'model_q4.onnx', 0)).toEqual(
    custom({ model: true, encoder_model: true, 'model_q4.onnx': 0 }),
  );
  expect(update(custom(3), 'model_q4.onnx', 3)).toEqual(custom(3));
});

test('a value of one device, which replaces the first there, is kept true as well', () => {
  const config = custom(
    { model: 1 },
    { device_config: { webgpu: { use_external_data_format: true }, wasm: {} } },
  );
  expect(update(config, 'model_q4.onnx', 0)).toEqual(
    custom(
      { model: 1, 'model_q4.onnx': 0 },
      {
        device_config: {
          webgpu: { use_external_data_format: { model: true, encoder_model: true, 'model_q4.onnx': 0 } },
          wasm: {},
        },
      },
    ),
  );
});

test('a byte order mark is kept', () => {
  const text = updateConfig('\uFEFF{}', { written: [{ name: 'model_q4.onnx', dataFiles: 1 }], sessions });
  expect(text.startsWith('\uFEFF{"transformers.js_config"')).toBe(true);
});

test.each([
  ['not JSON', '{', 'E_NOT_A_MODEL'],
  ['not an object', '[]', 'E_NOT_A_MODEL'],
  ['custom settings that are no object', '{"transformers.js_config": 1}', 'E_NOT_A_MODEL'],
])('refuses a configuration that is %s', (_, text, code) => {
  const run = () => updateConfig(text, { written: [{ name: 'model_q4.onnx', dataFiles: 1 }], sessions });
  expect(run).toThrow(expect.objectContaining({ code }));
});

test('refuses more data files than transformers.js fetches', () => {
  expect(() => updateConfig('{}', { written: [{ name: 'a.onnx', dataFiles: 101 }], sessions })).toThrow(
    expect.objectContaining({ code: 'E_LIMIT' }),
  );
});

const files = [
  'model.onnx',
  'model_q4.onnx',
  'encoder_model.onnx',
  'encoder_model_fp16.onnx',
  'model_fp8.onnx',
];
const counts = fc.constantFrom<boolean | number>(true, false, 0, 1, 2);
const settings = fc.oneof(
  counts,
  fc.constant(null),
  fc.dictionary(fc.constantFrom(...files, ...sessions), counts, { maxKeys: 5 }),
);

/** The lookup as transformers.js does it, by the name under which a file is asked for. */
const lookup = (setting: Parameters<typeof claimedDataFiles>[0], name: string) =>
  claimedDataFiles(setting, name, name.replace(/(_q4|_fp16)?\.onnx$/, ''));

test('after any update every written file has its number and every other file the number it had', () => {
  fc.assert(
    fc.property(settings, fc.subarray(files, { minLength: 1 }), fc.nat(3), (before, names, dataFiles) => {
      const written = names.map((name) => ({ name, dataFiles }));
      const config = JSON.parse(updateConfig(JSON.stringify(custom(before)), { written, sessions }));
      const after = config['transformers.js_config']?.use_external_data_format;
      for (const name of files.filter((name) => name !== 'model_fp8.onnx' || names.includes(name))) {
        expect(lookup(after, name), name).toBe(names.includes(name) ? dataFiles : lookup(before, name));
      }
    }),
    { numRuns: 500 },
  );
});
