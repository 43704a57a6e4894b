/** The plan beyond what whole files show: errors, what llama-quantize cannot do, parts, reasons. */

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createRandom } from '../../../src/core/random.ts';
import type { GgufModel, GgufTensor } from '../../../src/formats/gguf/gguf.ts';
import { openGguf } from '../../../src/formats/gguf/open.ts';
import { memorySource } from '../../../src/io/memory-source.ts';
import { readFacts } from '../../../src/planning/gguf/facts.ts';
import type { GgufQuantizeOptions } from '../../../src/planning/gguf/options.ts';
import { planGguf } from '../../../src/planning/gguf/plan-gguf.ts';
import { type BuildEntry, type BuildTensor, buildGguf } from '../../formats/gguf/build-gguf.ts';
import { llamaOracle } from '../../oracle/llama.ts';
import { filled, firstDifference, guideFor, madeByUs, smallModel } from './whole-files.ts';

const oracle = llamaOracle();

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'whittle-plan-'));
});
afterAll(async () => {
  await oracle?.close();
  rmSync(folder, { recursive: true, force: true });
});

const open = (
  metadata: readonly BuildEntry[],
  tensors: readonly BuildTensor[],
  alignment = 32,
): Promise<GgufModel> => openGguf(memorySource(buildGguf({ metadata, tensors, alignment }), 'model.gguf'));

const plan = (model: GgufModel, options: Partial<GgufQuantizeOptions> & { to: string }) =>
  planGguf(model, { fileName: 'out.gguf', ...options });

const LLAMA: readonly BuildEntry[] = [
  ['general.architecture', 'string', 'llama'],
  ['llama.block_count', 'u32', 2],
];

const matrix = (name: string, ...shape: number[]): BuildTensor => ({ name, shape, type: 'f16' });

describe('errors', () => {
  test('weights that are quantized already are refused, and taken with leave', async () => {
    const model = await open(LLAMA, [{ ...matrix('blk.0.attn_q.weight', 32, 2), type: 'q4_0' }]);
    await expect(plan(model, { to: 'Q8_0' })).rejects.toMatchObject({ code: 'E_REQUANT', exitCode: 4 });
    const { tensors } = await plan(model, { to: 'Q8_0', allowRequantize: true });
    expect(tensors[0]).toMatchObject({ from: 'q4_0', to: 'q8_0', task: 0 });
    const same = await plan(model, { to: 'Q4_0' });
    expect(same.tensors[0]).toMatchObject({ to: 'q4_0', task: undefined, reason: 'already q4_0' });
  });

  test('too few bits without importance are refused, but not in a dry run', async () => {
    const model = await open(LLAMA, [matrix('blk.0.attn_q.weight', 256, 2)]);
    await expect(plan(model, { to: 'IQ2_XS' })).rejects.toMatchObject({ code: 'E_IMATRIX' });
    const dry = await plan(model, { to: 'IQ2_XS', dryRun: true });
    expect(dry.wantsImatrix).toBe(true);
    expect(dry.tensors[0]).toMatchObject({ to: 'iq2_xs' });
  });

  test('importance of another model is refused, but embeddings are forgiven', async () => {
    const shape = smallModel({ layers: 1 });
    const { imatrix } = guideFor(smallModel({ layers: 1, width: 512 }));
    const model = await openGguf(memorySource(filled(shape)));
    await expect(plan(model, { to: 'Q4_0', imatrix })).rejects.toMatchObject({ code: 'E_IMATRIX' });
    const entry = { ...imatrix.entries.get('blk.0.attn_q.weight')!, name: 'token_embd.weight' };
    const forgiven = { ...imatrix, entries: new Map([[entry.name, entry]]) };
    const { tensors } = await plan(model, { to: 'Q4_0', imatrix: forgiven });
    expect(tensors.every(({ importance }) => !importance)).toBe(true);
  });

  test.each([
    [{ to: 'Q4_0', includeWeights: ['a'], excludeWeights: ['b'] }, 'E_USAGE'],
    [{ to: 'Q4_0', includeWeights: ['a'] }, 'E_USAGE'],
    [{ to: 'Q4_0', outputTensorType: 'i32' }, 'E_USAGE'],
    [{ to: 'Q4_0', tensorTypes: [{ pattern: 'attn', type: 'q8_K' }] }, 'E_USAGE'],
    [{ to: 'Q4_0', tensorTypes: [{ pattern: '(', type: 'q8_0' }] }, 'E_USAGE'],
    [{ to: 'Q4_0', pruneLayers: [-1] }, 'E_USAGE'],
    [{ to: 'Q4_0', overrideKv: [{ key: '', type: 'u32', value: 1 }] }, 'E_USAGE'],
    [{ to: 'Q4_0', overrideKv: [{ key: 'general.alignment', type: 'u32', value: 48 }] }, 'E_USAGE'],
    [{ to: 'Q4_0', overrideKv: [{ key: 'general.alignment', type: 'string', value: '64' }] }, 'E_USAGE'],
    [{ to: 'Q4_0', tokenEmbeddingType: 'q4_K' }, 'E_UNSUPPORTED'],
    [{ to: 'Q1_0' }, 'E_UNSUPPORTED'],
    [{ to: 'nothing' }, 'E_USAGE'],
  ] satisfies [Partial<GgufQuantizeOptions> & { to: string }, string][])('%j: %s', async (options, code) => {
    const model = await open(LLAMA, [
      matrix('token_embd.weight', 96, 2),
      matrix('blk.0.attn_q.weight', 96, 2),
    ]);
    await expect(plan(model, options)).rejects.toMatchObject({ code });
  });

  test('an expert whose layer the name does not tell is refused', async () => {
    const metadata: readonly BuildEntry[] = [...LLAMA, ['llama.expert_count', 'u32', 8]];
    for (const name of ['ffn_down_exps.weight', 'blk.2.ffn_down_exps.weight']) {
      const model = await open(metadata, [matrix(name, 256, 2, 8)]);
      await expect(plan(model, { to: 'Q4_K_M' })).rejects.toMatchObject({ code: 'E_UNSUPPORTED' });
      await expect(plan(model, { to: 'Q4_K_M', pure: true })).resolves.toBeDefined();
    }
  });
});

describe('where llama-quantize stops or writes what cannot be read', () => {
  test('an architecture that nobody knows is quantized, by its layers and heads', async () => {
    const model = await open(
      [
        ['general.architecture', 'string', 'flux'],
        ['flux.attention.head_count', 'u32', 8],
        ['flux.attention.head_count_kv', 'u32[]', [2, 2]],
      ],
      [...Array.from({ length: 16 }, (_, i) => matrix(`blk.${i}.attn_v.weight`, 256, 2))],
    );
    const { tensors, notes } = await plan(model, { to: 'Q2_K' });
    expect(tensors.every(({ to }) => to === 'q4_K')).toBe(true);
    expect(notes.join(' ')).toContain('16 layers, as counted');
  });

  test('a file that names no architecture is quantized', async () => {
    const model = await open([], [matrix('double_blocks.0.img_attn.qkv.weight', 3072, 2)]);
    const { tensors } = await plan(model, { to: 'Q4_K_S' });
    expect(tensors[0]).toMatchObject({ to: 'q4_K', reason: 'main type of Q4_K_S' });
  });

  test.each([8, 32, 64, 4096])('an alignment of %i is honoured', async (alignment) => {
    const path = join(folder, `aligned-${alignment}.gguf`);
    const tensors = [matrix('token_embd.weight', 64, 3), matrix('blk.0.ffn_up.weight', 64, 5)];
    writeFileSync(path, buildGguf({ metadata: LLAMA, tensors, alignment }));
    const bytes = [...(await madeByUs(path, { to: 'Q4_0' })).values()][0]!;
    const again = await openGguf(memorySource(bytes));
    expect(again.alignment).toBe(alignment);
    expect(again.tensors).toHaveLength(2);
    expect(again.tensors.every(({ data }) => data.offset % alignment === 0)).toBe(true);
  });

  test('an alignment that is overridden is honoured', async () => {
    const path = join(folder, 'realigned.gguf');
    writeFileSync(
      path,
      buildGguf({ metadata: LLAMA, tensors: [matrix('a.weight', 32, 3), matrix('b.weight', 32, 3)] }),
    );
    const overrideKv = [{ key: 'general.alignment', type: 'u32' as const, value: 256 }];
    const bytes = [...(await madeByUs(path, { to: 'Q4_0', overrideKv })).values()][0]!;
    const again = await openGguf(memorySource(bytes));
    expect(again.alignment).toBe(256);
    expect(again.tensors.map(({ data }) => data.offset % 256)).toEqual([0, 0]);
  });

  test('lists with a value for each layer lose those of pruned layers', async () => {
    const model = await open(
      [
        ['general.architecture', 'string', 'hybrid'],
        ['hybrid.block_count', 'u32', 4],
        ['hybrid.attention.head_count_kv', 'u32[]', [0, 8, 0, 4]],
        ['hybrid.rope.dimension_sections', 'i32[]', [1, 2, 3, 4]],
        ['other.list', 'i32[]', [1, 2, 3, 4]],
      ],
      [0, 1, 2, 3].map((layer) => matrix(`blk.${layer}.attn_q.weight`, 32, 2)),
    );
    const { files, tensors, notes } = await plan(model, { to: 'COPY', pruneLayers: [1, 2] });
    expect(tensors.map(({ name, source }) => [name, source])).toEqual([
      ['blk.0.attn_q.weight', 'blk.0.attn_q.weight'],
      ['blk.1.attn_q.weight', 'blk.3.attn_q.weight'],
    ]);
    expect(notes.join(' ')).toContain('hybrid.attention.head_count_kv: the values of the pruned layers');
    const again = await openGguf(memorySource(await head(files[0]!)));
    const list = again.entry('hybrid.attention.head_count_kv');
    expect(list?.type === 'array' && (await again.readArray(list))).toEqual([0, 4]);
    for (const key of ['hybrid.rope.dimension_sections', 'other.list']) {
      expect(again.entry(key)).toMatchObject({ count: 4 });
    }
    expect(again.value('hybrid.block_count')).toBe(2);
  });

  test('pruning renumbers encoders and decoders alike, in the order of numbers', async () => {
    const names = ['dec.blk.0.a.weight', 'dec.blk.2.a.weight', 'dec.blk.10.a.weight', 'dec.blk.3.a.weight'];
    const model = await open(
      LLAMA,
      names.map((name) => matrix(name, 32, 1)),
    );
    const { tensors } = await plan(model, { to: 'COPY', pruneLayers: [3] });
    const map = new Map(tensors.map(({ source, name }) => [source, name]));
    expect(map.get('dec.blk.10.a.weight')).toBe('dec.blk.3.a.weight');
    expect(map.get('dec.blk.2.a.weight')).toBe('dec.blk.2.a.weight');
    expect(map.has('dec.blk.3.a.weight')).toBe(false);
  });

  test.each([
    ['MXFP4', 38, 'mxfp4'],
    ['NVFP4', 39, 'nvfp4'],
  ] as const)('%s is a target for dense models', async (to, fileType, type) => {
    const shape = smallModel({ layers: 2, inner: 96 });
    const model = await openGguf(memorySource(filled(shape)));
    const planned = await plan(model, { to });
    expect(planned).toMatchObject({ fileType, name: to });
    const types = new Map(planned.tensors.map((tensor) => [tensor.name, tensor.to]));
    expect(types.get('blk.0.attn_q.weight')).toBe(type);
    expect(types.get('output.weight')).toBe('q6_K');
    expect(types.get('blk.0.ffn_down.weight')).toBe(to === 'MXFP4' ? 'mxfp4' : 'iq4_nl');
  });

  test('layers are counted in the names of any number of tensors, and any number is pruned', async () => {
    const model = await open([], [matrix('blk.6.attn_q.weight', 32, 2)]);
    const tensors = Array<GgufTensor>(300_000).fill(model.tensors[0]!);
    const { facts } = await readFacts({ ...model, tensors }, [], false);
    expect(facts.layers).toBe(7);
    const layers = Array.from({ length: 300_000 }, (_, i) => i);
    expect((await plan(model, { to: 'Q4_0', pruneLayers: layers })).tensors).toHaveLength(0);
  });

  test('tensors of integers stay as they are', async () => {
    const model = await open(LLAMA, [{ ...matrix('blk.0.table.weight', 4, 2), type: 'i32' }]);
    const { tensors, notes } = await plan(model, { to: 'Q4_0' });
    expect(tensors[0]).toMatchObject({ to: 'i32', task: undefined });
    expect(notes.join(' ')).toContain('no floats');
  });
});

describe('what is written', () => {
  test('dimensions of one value at the end are dropped', async () => {
    const model = await open(LLAMA, [
      { ...matrix('blk.0.a.weight', 4, 1, 1), type: 'f32' },
      matrix('b.weight', 32, 2, 1),
    ]);
    const { tensors } = await plan(model, { to: 'COPY' });
    expect(tensors.map(({ shape }) => shape)).toEqual([[32, 2], [4]]);
  });

  test('texts are cut at an embedded NUL, and the user is told', async () => {
    const model = await open(
      [
        ['general.architecture', 'string', 'llama'],
        ['a.text', 'string', 'be\0hind'],
        ['a.list', 'string[]', ['one', 't\0wo', 'three']],
      ],
      [],
    );
    const { files, notes } = await plan(model, { to: 'COPY' });
    const again = await openGguf(memorySource(await head(files[0]!)));
    expect(again.value('a.text')).toBe('be');
    const list = again.entry('a.list');
    expect(list?.type === 'array' && (await again.readArray(list))).toEqual(['one', 't', 'three']);
    expect(notes.filter((note) => note.includes('NUL'))).toHaveLength(2);
  });

  test('every weight has its reason in words', async () => {
    const model = await openGguf(memorySource(filled(smallModel({ layers: 8, width: 160, inner: 256 }))));
    const { tensors, notes } = await plan(model, { to: 'Q4_K_M' });
    const reason = new Map(tensors.map((tensor) => [tensor.name, tensor.reason]));
    expect(reason.get('output_norm.weight')).toBe('a vector: kept');
    expect(reason.get('blk.0.ffn_down.weight')).toContain('outer layers');
    expect(reason.get('blk.0.attn_q.weight')).toContain("rows of 160 values are no multiple of q4_K's 256");
    expect(notes.join(' ')).toContain('q4_K → q5_0');
  });

  test('COPY without a file type in the input says what it guesses, as llama-quantize does', async () => {
    const model = await open(LLAMA, [
      matrix('a.weight', 32, 1),
      { ...matrix('b.weight', 32, 1), type: 'q8_0' },
      matrix('c.weight', 32, 1),
    ]);
    const { files } = await plan(model, { to: 'COPY' });
    const again = await openGguf(memorySource(await head(files[0]!)));
    expect(again.value('general.file_type')).toBe(1024 + 1);
  });

  test('a count of one serves all matrices of a dense weight', async () => {
    const { imatrix } = guideFor(smallModel({ layers: 1 }));
    const sums = createRandom(1);
    const bytes = new Uint8Array(Float32Array.from({ length: 64 * 3 }, () => sums.uniform()).buffer);
    const counts = new Uint8Array(Float32Array.of(100).buffer);
    const entry = {
      name: 'blk.0.attn_k_b.weight',
      columns: 192,
      matrices: 1,
      values: { kind: 'inline' as const, bytes },
      counts: { kind: 'inline' as const, bytes: counts },
    };
    const model = await open(LLAMA, [matrix('blk.0.attn_k_b.weight', 64, 2, 3)]);
    const { tasks } = await plan(model, {
      to: 'Q4_0',
      imatrix: { ...imatrix, entries: new Map([[entry.name, entry]]) },
    });
    expect(tasks[0]?.operation).toMatchObject({ importance: 'counts', matrixRows: 2, rows: 6 });
    const given = tasks[0]?.importance?.counts;
    expect(given?.kind === 'inline' && [...new Float32Array(given.bytes.slice().buffer)]).toEqual([
      100, 100, 100,
    ]);
  });
});

describe('parts', () => {
  /** Three parts of one model, cut after some tensors, by the keys that llama-gguf-split gives them. */
  function writeParts(prefix: string): string {
    const shape = smallModel({ layers: 4, inner: 256 });
    const random = createRandom(3);
    const tensors = shape.tensors.map((tensor): BuildTensor => {
      const count = tensor.shape.reduce((product, dimension) => product * dimension, 1);
      if (tensor.type === 'f32')
        return { ...tensor, bytes: new Uint8Array(new Float32Array(count).fill(1).buffer) };
      const halves = Uint16Array.from({ length: count }, () => 0x2800 + Math.floor(random.uniform() * 0x800));
      return { ...tensor, bytes: new Uint8Array(halves.buffer) };
    });
    const cuts = [0, 7, 20, tensors.length];
    for (let part = 0; part < 3; part++) {
      const own: BuildEntry[] = [
        ['split.no', 'u16', part],
        ['split.tensors.count', 'i32', tensors.length],
        ['split.count', 'u16', 3],
      ];
      const metadata = part === 0 ? [...shape.metadata, ...own] : own;
      const bytes = buildGguf({ metadata, tensors: tensors.slice(cuts[part], cuts[part + 1]) });
      writeFileSync(`${prefix}-0000${part + 1}-of-00003.gguf`, bytes);
    }
    return `${prefix}-00001-of-00003.gguf`;
  }

  test.skipIf(oracle === undefined)('merged and with --keep-split are those of llama-quantize', async () => {
    const input = writeParts(join(folder, 'model'));
    const merged = await oracle!.quantize({ input, output: join(folder, 'merged.gguf'), fileType: 12 });
    expect(merged.outcome).toBe('done');
    const ours = await madeByUs(input, { to: 'Q3_K_M', fileName: 'merged.gguf' });
    expect(
      firstDifference(ours.get('merged.gguf')!, readFileSync(join(folder, 'merged.gguf'))),
    ).toBeUndefined();

    const kept = await oracle!.quantize({
      input,
      output: join(folder, 'kept'),
      fileType: 12,
      keepSplit: true,
    });
    expect(kept.outcome).toBe('done');
    const parts = await madeByUs(input, { to: 'Q3_K_M', keepSplit: true, fileName: 'kept.gguf' });
    const names = readdirSync(folder)
      .filter((name) => name.startsWith('kept-'))
      .sort();
    expect([...parts.keys()]).toEqual(names);
    for (const name of names) {
      expect(firstDifference(parts.get(name)!, readFileSync(join(folder, name)))).toBeUndefined();
    }
  });

  test('parts that pruning empties are left out, and the rest can be read', async () => {
    const input = writeParts(join(folder, 'emptied'));
    const parts = await madeByUs(input, {
      to: 'Q8_0',
      keepSplit: true,
      pruneLayers: [1, 2, 3],
      fileName: 'less-00001-of-00003.gguf',
    });
    expect([...parts.keys()][0]).toMatch(/^less-00001-of-0000[23]\.gguf$/);
    for (const [name, bytes] of parts) writeFileSync(join(folder, name), bytes);
    const again = await openGguf(join(folder, [...parts.keys()][0]!));
    expect(again.tensors.map(({ name }) => name)).toContain('blk.0.ffn_down.weight');
    await again.close();
  });

  test('one file with keepSplit stays one file of the given name', async () => {
    const model = await open(LLAMA, [matrix('a.weight', 32, 1)]);
    const { files } = await plan(model, { to: 'Q8_0', keepSplit: true });
    expect(files.map(({ name }) => name)).toEqual(['out.gguf']);
  });
});

/** A planned file without its tasks' parts, as bytes: enough to read its header. */
async function head(file: Awaited<ReturnType<typeof planGguf>>['files'][number]): Promise<Uint8Array> {
  const bytes = new Uint8Array(file.size);
  for (const segment of file.segments) {
    if (segment.kind === 'bytes') bytes.set(segment.bytes, segment.offset);
    if (segment.kind === 'copy') {
      const target = bytes.subarray(segment.offset, segment.offset + segment.length);
      await segment.source.readInto(segment.sourceOffset, target);
    }
  }
  return bytes;
}
