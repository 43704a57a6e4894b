import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { BLOCK_TYPES, isBlockType } from '../../src/core/ggml-types.ts';
import { BLOCK_SHEETS } from '../../src/numerics/encodings/ggml-table.ts';
import { ggmlTypeTable, supportMatrix } from '../../src/numerics/index.ts';

/** The formatter may pad cells. */
const unpadded = (text: string): string => text.replace(/ +/g, ' ').replace(/-{3,}/g, '---');
const read = (file: string): string =>
  unpadded(readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8'));

test.each(Object.keys(BLOCK_TYPES).filter(isBlockType))(
  '%s: the fields of a block add up to its bytes',
  (type) => {
    const total = BLOCK_SHEETS[type].fields.reduce((sum, [, bytes]) => sum + bytes, 0);
    expect(total).toBe(BLOCK_TYPES[type].bytes);
  },
);

test('docs/encodings.md shows exactly the data sheets that the rows render', () => {
  expect(read('docs/encodings.md')).toContain(unpadded(ggmlTypeTable()));
});

test('README.md shows exactly which encoding goes into which files', () => {
  expect(read('README.md')).toContain(unpadded(supportMatrix()));
});
