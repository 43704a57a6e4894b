/** docs/gguf-types.md tells the file types as the rows have them, and the rows tell sizes that are true. */

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { FILE_TYPES, type FileType } from '../../../src/planning/gguf/file-types.ts';
import { planGguf } from '../../../src/planning/gguf/plan-gguf.ts';
import { MODEL_SHAPES } from './shapes.ts';
import { openShape } from './type-maps.ts';

const document = readFileSync(fileURLToPath(new URL('../../../docs/gguf-types.md', import.meta.url)), 'utf8');

function line({ name, aliases, id, main, bits, fileBits, imatrix, description }: FileType): string {
  const names = [name, ...aliases].map((word) => `\`${word}\``).join(', ');
  const guide = { required: 'needed', helps: 'helps', unused: '–' }[imatrix];
  return `| ${names} | ${id} | ${main} | ${Number(bits.toFixed(4))} | ${fileBits.toFixed(2)} | ${guide} | ${description} |`;
}

test('the table of file types is that of the rows', () => {
  const lines = document.split('\n');
  const first = lines.findIndex((text) => text.startsWith('| `F32`'));
  expect(lines.slice(first, first + FILE_TYPES.length)).toEqual(FILE_TYPES.map(line));
});

test("the whole file's bits per weight are those of a model with the shapes of Llama 3.1 8B", async () => {
  const model = await openShape(MODEL_SHAPES.find(({ name }) => name === 'llama-8b')!);
  const wrong: string[] = [];
  for (const { name, fileBits } of FILE_TYPES) {
    const { tensors } = await planGguf(model, { to: name, fileName: 'out.gguf', dryRun: true });
    const weights = tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
    const bits = (tensors.reduce((sum, { toBytes }) => sum + toBytes, 0) * 8) / weights;
    if (Math.abs(bits - fileBits) > 0.0101) wrong.push(`${name}: ${bits.toFixed(2)}, row ${fileBits}`);
  }
  expect(wrong).toEqual([]);
});
