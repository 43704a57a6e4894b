/**
 * Valid files, mutated: opening one ends in a model or in a WhittleError, never otherwise; nothing outside of the file is asked
 * for, no read is larger than it; what opens, ggml opens too, and can be written again. 24,000 inputs in all.
 */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isWhittleError } from '../../../src/errors.ts';
import type { GgufModel } from '../../../src/formats/gguf/gguf.ts';
import { imatrixContent, layoutImatrix, readImportance } from '../../../src/formats/gguf/imatrix-writer.ts';
import { openGguf, openImatrix } from '../../../src/formats/gguf/open.ts';
import { layoutGguf } from '../../../src/formats/gguf/writer.ts';
import { encodeFile } from '../../../src/formats/onnx/model.ts';
import { memorySource } from '../../../src/io/memory-source.ts';
import { buildGguf } from './build-gguf.ts';
import { buildLegacyImatrix, imatrixOptions, legacyOptions } from './build-imatrix.ts';
import { type CountingSource, countingSource } from './counting-source.ts';
import { fieldOffsets, ggufOptions } from './generate-gguf.ts';
import { ggmlReader } from './ggml-reader.ts';
import { mutate, mutations } from './mutate.ts';

const GGML = await ggmlReader();
const OUTCOMES = [
  'opened',
  'E_TRUNCATED',
  'E_VERSION',
  'E_LIMIT',
  'E_GGUF',
  'E_ALIGN',
  'E_SHAPE',
  'E_DTYPE',
  'E_OFFSET',
];
/** Inputs made of each generated file. */
const PER_FILE = 20;

async function codeOf(counting: CountingSource, open: () => Promise<void>): Promise<string | undefined> {
  let code: string | undefined;
  try {
    await open();
  } catch (error) {
    if (!isWhittleError(error)) throw error;
    code = error.code;
  }
  if (counting.largest > counting.source.size) throw new Error('a read larger than the file');
  if (!counting.isClosed) throw new Error('the file was left open');
  return code;
}

/** What a model may hold follows from the size of its file. Plain checks: `expect` takes longer than opening a file. */
function assertInside({ metadata, tensors }: GgufModel, size: number): void {
  const ranges = [...metadata.map(({ record }) => record), ...tensors.map(({ data }) => data)];
  const isInside = ranges.every(
    ({ offset, length }) => offset >= 0 && length >= 0 && offset + length <= size,
  );
  if (!isInside) throw new Error('a range outside of the file');
  if (24 + metadata.length * 14 + tensors.length * 25 > size) throw new Error('more than the file can hold');
}

async function rewritten(model: GgufModel): Promise<Uint8Array> {
  return encodeFile(
    layoutGguf({
      name: 'again.gguf',
      alignment: model.alignment,
      metadata: model.metadata.map((entry) => ({ kind: 'copied', entry })),
      tensors: model.tensors.map(({ name, shape, type, data }) => ({
        name,
        shape,
        type,
        content: { kind: 'copy', ...data },
      })),
    }),
  );
}

test('20,000 mutated models end in success or a WhittleError', async () => {
  const outcomes = new Map<string, number>();
  const inputs = fc.tuple(ggufOptions, fc.array(mutations, { minLength: PER_FILE, maxLength: PER_FILE }));
  await fc.assert(
    fc.asyncProperty(inputs, async ([options, lists]) => {
      const valid = buildGguf(options);
      const fields = fieldOffsets(options);
      for (const list of lists) {
        const bytes = mutate(valid, list, fields);
        const counting = countingSource(memorySource(bytes, 'fuzz.gguf'));
        const code = await codeOf(counting, async () => {
          await using model = await openGguf(counting.source);
          assertInside(model, bytes.length);
          for (const entry of model.metadata) if (entry.type === 'array') await model.readArray(entry);
          if (GGML !== undefined && !GGML.accepts(bytes)) throw new Error('ggml refuses what was opened');
          await using again = await openGguf(memorySource(await rewritten(model)));
          if (again.tensors.length !== model.tensors.length) throw new Error('tensors were lost');
        });
        outcomes.set(code ?? 'opened', (outcomes.get(code ?? 'opened') ?? 0) + 1);
      }
    }),
    { numRuns: 1000 },
  );
  expect([...outcomes.values()].reduce((sum, count) => sum + count, 0)).toBe(20_000);
  if (process.env.WHITTLE_FUZZ_OUTCOMES === '1') console.log(Object.fromEntries(outcomes));
  // The mutations reach every check.
  for (const code of OUTCOMES) {
    expect(outcomes.get(code) ?? 0).toBeGreaterThan(0);
  }
}, 120_000);

test('4,000 mutated importance matrices of both forms end in success or a WhittleError', async () => {
  const files = fc.oneof(imatrixOptions.map(buildGguf), legacyOptions.map(buildLegacyImatrix));
  const outcomes = new Map<string, number>();
  const inputs = fc.tuple(files, fc.array(mutations, { minLength: PER_FILE, maxLength: PER_FILE }));
  await fc.assert(
    fc.asyncProperty(inputs, async ([valid, lists]) => {
      for (const list of lists) {
        const bytes = mutate(valid, list);
        const counting = countingSource(memorySource(bytes, 'fuzz.imatrix'));
        const code = await codeOf(counting, async () => {
          const imatrix = await openImatrix(counting.source);
          try {
            for (const entry of imatrix.entries.values()) await readImportance(entry);
            await encodeFile(layoutImatrix(await imatrixContent(imatrix), 'again.gguf'));
          } finally {
            await imatrix.close();
          }
        });
        outcomes.set(code ?? 'opened', (outcomes.get(code ?? 'opened') ?? 0) + 1);
      }
    }),
    { numRuns: 200 },
  );
  for (const code of ['opened', 'E_TRUNCATED', 'E_IMATRIX']) {
    expect(outcomes.get(code) ?? 0).toBeGreaterThan(0);
  }
}, 120_000);

test('bytes by chance end in a WhittleError', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), fc.boolean(), async (bytes, withMagic) => {
      if (withMagic) bytes.set([0x47, 0x47, 0x55, 0x46, 3, 0, 0, 0].slice(0, bytes.length));
      for (const open of [openGguf, openImatrix]) {
        const counting = countingSource(memorySource(bytes));
        await codeOf(counting, async () => (await open(counting.source)).close());
      }
    }),
    { numRuns: 1000 },
  );
});
