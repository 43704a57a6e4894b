/**
 * Recovers the code books of ggml's IQ types from its prebuilt library, by asking it to dequantize blocks made for the
 * purpose: block after block that names the points 0, 1, 2, … with scale 1 and no signs, so that what comes back is the
 * points' components. The books are facts of the format; nothing of the library's text is used.
 *
 * Components are stored as indices of their levels (the distinct values, ascending): 2 bits each for the points of eight
 * components, 3 for those of four, component i at bit (2 or 3)·i, as little-endian 16-bit numbers in base64.
 *
 *   node scripts/recover-codebooks.mjs           writes src/kernels/ggml/codebooks/iq*.ts
 *   node scripts/recover-codebooks.mjs --check   compares; exit 1 on a difference
 *
 * Needs the dev dependencies koffi and @node-llama-cpp/linux-x64.
 */

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Halves 1, 4 and 8: they cancel the constant factor of each type's scale. */
const HALF = { 1: 0x3c00, 4: 0x4400, 8: 0x4800 };

/**
 * How a block names points. `place(block, slot, index)` writes the index of the slot-th point; all other bits stay zero.
 * `offset` is what dequantizing adds to every component.
 */
export const BOOKS = [
  {
    name: 'iq2_xxs',
    points: 256,
    dimensions: 8,
    bits: 2,
    bytes: 66,
    unit: 8,
    place: (block, slot, index) => {
      block[2 + 8 * (slot >> 2) + (slot & 3)] = index;
    },
  },
  {
    name: 'iq2_xs',
    points: 512,
    dimensions: 8,
    bits: 2,
    bytes: 74,
    unit: 8,
    place: (block, slot, index) => {
      block[2 + 2 * slot] = index & 255;
      block[3 + 2 * slot] = index >> 8;
    },
  },
  {
    name: 'iq2_s',
    points: 1024,
    dimensions: 8,
    bits: 2,
    bytes: 82,
    unit: 8,
    place: (block, slot, index) => {
      block[2 + slot] = index & 255;
      block[66 + (slot >> 2)] |= (index >> 8) << (2 * (slot & 3));
    },
  },
  {
    name: 'iq3_xxs',
    points: 256,
    dimensions: 4,
    bits: 3,
    bytes: 98,
    unit: 4,
    place: (block, slot, index) => {
      block[2 + slot] = index;
    },
  },
  {
    name: 'iq3_s',
    points: 512,
    dimensions: 4,
    bits: 3,
    bytes: 110,
    unit: 1,
    place: (block, slot, index) => {
      block[2 + slot] = index & 255;
      block[66 + (slot >> 3)] |= (index >> 8) << (slot & 7);
    },
  },
  {
    name: 'iq1_s',
    points: 2048,
    dimensions: 8,
    bits: 2,
    bytes: 50,
    unit: 1,
    offset: 0.125,
    place: (block, slot, index) => {
      block[2 + slot] = index & 255;
      const high = (index >> 8) << (3 * (slot & 3));
      block[34 + 2 * (slot >> 2)] |= high & 255;
      block[35 + 2 * (slot >> 2)] |= high >> 8;
    },
  },
];

/**
 * @param book - one of BOOKS
 * @param dequantize - (type, blocks) → values
 * @returns the levels, ascending, and the points as numbers
 */
export function recover(book, dequantize) {
  const { name, points, dimensions, bits, bytes, unit, offset = 0, place } = book;
  const perBlock = 256 / dimensions;
  const blocks = new Uint8Array((points / perBlock) * bytes);
  for (let index = 0; index < points; index++) {
    const start = Math.floor(index / perBlock) * bytes;
    blocks[start] = HALF[unit] & 255;
    blocks[start + 1] = HALF[unit] >> 8;
    place(blocks.subarray(start, start + bytes), index % perBlock, index);
  }
  const values = dequantize(name, blocks).map((value) => value - offset);
  const levels = [...new Set(values)].sort((a, b) => a - b);
  const packed = Uint16Array.from({ length: points }, (_, index) => {
    let word = 0;
    for (let i = 0; i < dimensions; i++) {
      word |= levels.indexOf(values[index * dimensions + i]) << (bits * i);
    }
    return word;
  });
  return { levels, packed };
}

function textOf({ name, dimensions, bits, points }, { levels, packed }) {
  const bytes = Buffer.alloc(2 * packed.length);
  for (const [i, word] of packed.entries()) bytes.writeUInt16LE(word, 2 * i);
  const lines = bytes.toString('base64').match(/.{1,100}/g) ?? [];
  const users = name === 'iq1_s' ? 'IQ1_S and IQ1_M' : name.toUpperCase();
  return `/**
 * The code book of ${users}: ${points} points of ${dimensions} components.
 *
 * Recovered by scripts/recover-codebooks.mjs: ggml's library dequantized blocks that name the points one after the other,
 * with scale 1. \`levels\` are the distinct values, \`points\` the points as indices of levels, ${bits} bits for each component
 * (component i at bit ${bits}·i), little-endian 16-bit numbers in base64. test/kernels/ggml/codebooks.test.ts recovers the book again
 * and compares.
 */

import { readCodebook } from './codebook.ts';

export const ${name.toUpperCase()} = readCodebook({
  dimensions: ${dimensions},
  bits: ${bits},
  levels: [${levels.join(', ')}],
  points: [
${lines.map((line) => `    '${line}',`).join('\n')}
  ],
});
`;
}

async function main(check) {
  const { default: koffi } = await import('koffi');
  const library = koffi.load(
    fileURLToPath(
      new URL('../node_modules/@node-llama-cpp/linux-x64/bins/linux-x64/libggml-base.so', import.meta.url),
    ),
  );
  const dequantize = (name, blocks) => {
    const call = library.func(`void dequantize_row_${name}(const void *x, float *y, int64_t k)`);
    const { bytes } = BOOKS.find((book) => book.name === name);
    const target = new Float32Array((blocks.length / bytes) * 256);
    call(blocks, target, target.length);
    return target;
  };
  for (const book of BOOKS) {
    const path = fileURLToPath(
      new URL(`../src/kernels/ggml/codebooks/${book.name.replace('_', '-')}.ts`, import.meta.url),
    );
    const text = textOf(book, recover(book, dequantize));
    const found = existsSync(path) ? readFileSync(path, 'utf8') : '';
    if (found === text) continue;
    if (check) {
      console.error(`${path} differs from the library`);
      process.exitCode = 1;
    } else {
      writeFileSync(path, text);
    }
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv.includes('--check'));
