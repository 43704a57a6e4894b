/** Models and options whose outputs are compared as whole files. */

import type { GgufQuantizeOptions } from '../../../src/planning/gguf/options.ts';
import type { QuantizeRequest } from '../../oracle/llama.ts';
import type { ModelShape } from './shapes.ts';
import { guideOverrides, smallModel, type TestGuide } from './whole-files.ts';

/** The same wish in both languages. */
export interface Change {
  readonly ours: Omit<GgufQuantizeOptions, 'fileName'>;
  readonly theirs: Omit<QuantizeRequest, 'input' | 'output'>;
}

interface TestModel {
  readonly name: string;
  readonly shape: ModelShape;
  /** File types of the sample; `+` is with importance. The library takes seconds to get ready for the types of 1 and 2 bits. */
  readonly sample: readonly string[];
}

export const MODELS: readonly TestModel[] = [
  {
    name: 'dense',
    shape: smallModel({ layers: 8, inner: 256 }),
    sample: [
      'BF16',
      'Q8_0',
      'Q5_K_M+',
      'Q5_1',
      'Q4_K_M',
      'Q4_0+',
      'IQ4_NL',
      'Q3_K_L',
      'Q2_K',
      'TQ2_0',
      'Q1_0',
    ],
  },
  {
    name: 'experts',
    shape: smallModel({ layers: 2, inner: 256, experts: 4, groups: 4, type: 'bf16' }),
    sample: ['F32', 'MXFP4_MOE', 'Q4_K_S+', 'Q3_K_M+', 'IQ4_XS', 'Q2_K_S+'],
  },
  {
    name: 'odd rows, tied',
    shape: smallModel({ layers: 3, width: 160, inner: 96, tied: true, type: 'f32' }),
    sample: [
      'F16',
      'Q6_K',
      'Q5_K_S',
      'Q4_1+',
      'Q5_0+',
      'IQ4_XS+',
      'IQ3_M',
      'IQ2_M+',
      'IQ1_S+',
      'TQ1_0',
      'Q2_0',
    ],
  },
];

const Q4_K_M = { to: 'Q4_K_M', id: 15 } as const;

export const CHANGES: readonly {
  readonly name: string;
  readonly model: string;
  readonly change: (shape: ModelShape, guide: TestGuide) => Change;
}[] = [
  {
    name: '--pure',
    model: 'dense',
    change: () => ({ ours: { to: 'Q4_K_M', pure: true }, theirs: { fileType: Q4_K_M.id, pure: true } }),
  },
  {
    name: '--pure on a tied model with --output-tensor-type',
    model: 'odd rows, tied',
    change: () => ({
      ours: { to: 'Q8_0', pure: true, outputTensorType: 'f16' },
      theirs: { fileType: 7, pure: true, outputTensorType: 'f16' },
    }),
  },
  {
    name: '--output-tensor-type on a tied model',
    model: 'odd rows, tied',
    change: () => ({
      ours: { to: 'Q4_0', outputTensorType: 'q5_1' },
      theirs: { fileType: 2, outputTensorType: 'q5_1' },
    }),
  },
  {
    name: '--leave-output-tensor',
    model: 'dense',
    change: () => ({
      ours: { to: 'Q4_0', leaveOutputTensor: true },
      theirs: { fileType: 2, leaveOutputTensor: true },
    }),
  },
  {
    name: '--output-tensor-type and --token-embedding-type',
    model: 'dense',
    change: () => ({
      ours: { to: 'Q4_0', outputTensorType: 'q5_K', tokenEmbeddingType: 'q8_0' },
      theirs: { fileType: 2, outputTensorType: 'q5_K', tokenEmbeddingType: 'q8_0' },
    }),
  },
  {
    name: '--tensor-type, the first pattern deciding, counters standing still',
    model: 'dense',
    change: () => {
      const tensorTypes = [
        { pattern: 'blk\\.[02]\\.(attn_v|ffn_down)', type: 'q8_0' },
        { pattern: 'ffn_(up|gate)', type: 'q5_0' },
        { pattern: 'blk\\.1\\.ffn_up', type: 'f16' },
      ] as const;
      return { ours: { to: 'Q4_K_M', tensorTypes }, theirs: { fileType: Q4_K_M.id, tensorTypes } };
    },
  },
  {
    name: '--tensor-type with F16',
    model: 'dense',
    change: () => {
      const tensorTypes = [{ pattern: 'attn', type: 'q8_0' }] as const;
      return { ours: { to: 'BF16', tensorTypes }, theirs: { fileType: 32, tensorTypes } };
    },
  },
  {
    name: '--prune-layers',
    model: 'dense',
    change: () => ({
      ours: { to: 'Q4_K_M', pruneLayers: [1, 2, 6] },
      theirs: { fileType: Q4_K_M.id, pruneLayers: [1, 2, 6] },
    }),
  },
  {
    name: '--prune-layers with importance',
    model: 'dense',
    change: (_, { imatrix, request }) => ({
      ours: { to: 'Q4_0', pruneLayers: [0, 7], imatrix },
      theirs: { fileType: 2, pruneLayers: [0, 7], imatrix: request, overrides: guideOverrides(imatrix) },
    }),
  },
  {
    name: '--prune-layers of layers that are not there',
    model: 'dense',
    change: () => ({
      ours: { to: 'Q8_0', pruneLayers: [99] },
      theirs: { fileType: 7, pruneLayers: [99] },
    }),
  },
  {
    name: '--override-kv of every type, of a new key, an old one and one that the rules read',
    model: 'dense',
    change: () => ({
      ours: {
        to: 'Q4_K_M',
        overrideKv: [
          { key: 'general.name', type: 'string', value: 'another name' },
          { key: 'test.number', type: 'u32', value: 7 },
          { key: 'test.float', type: 'f32', value: 0.1 },
          { key: 'test.flag', type: 'bool', value: true },
          { key: 'llama.attention.head_count_kv', type: 'u32', value: 4 },
          { key: 'general.file_type', type: 'u32', value: 3 },
        ],
      },
      theirs: {
        fileType: Q4_K_M.id,
        overrides: [
          { key: 'general.name', tag: 'str', value: 'another name' },
          { key: 'test.number', tag: 'int', value: -7 },
          { key: 'test.float', tag: 'float', value: 0.1 },
          { key: 'test.flag', tag: 'bool', value: true },
          { key: 'llama.attention.head_count_kv', tag: 'int', value: 4 },
          { key: 'general.file_type', tag: 'int', value: 3 },
        ],
      },
    }),
  },
  {
    name: '--override-kv of the number of heads changes the mix',
    model: 'dense',
    change: () => ({
      ours: { to: 'Q2_K', overrideKv: [{ key: 'llama.attention.head_count_kv', type: 'u32', value: 4 }] },
      theirs: { fileType: 10, overrides: [{ key: 'llama.attention.head_count_kv', tag: 'int', value: 4 }] },
    }),
  },
  {
    name: 'COPY',
    model: 'dense',
    change: () => ({ ours: { to: 'copy' }, theirs: { fileType: 0, copy: true } }),
  },
  {
    name: 'COPY with pruned layers',
    model: 'experts',
    change: () => ({
      ours: { to: 'COPY', pruneLayers: [0] },
      theirs: { fileType: 0, copy: true, pruneLayers: [0] },
    }),
  },
  {
    name: '--exclude-weights',
    model: 'dense',
    change: (_, { imatrix, request }) => ({
      ours: { to: 'Q4_K_M', imatrix, excludeWeights: ['attn_', 'blk.3.'] },
      theirs: filtered(imatrix, request, (name) => !name.includes('attn_') && !name.includes('blk.3.')),
    }),
  },
  {
    name: '--include-weights',
    model: 'dense',
    change: (_, { imatrix, request }) => ({
      ours: { to: 'Q4_K_M', imatrix, includeWeights: ['ffn_down'] },
      theirs: filtered(imatrix, request, (name) => name.includes('ffn_down')),
    }),
  },
  {
    name: 'include-weights that leave nothing',
    model: 'odd rows, tied',
    change: (_, { imatrix }) => ({
      ours: { to: 'Q4_0', imatrix, includeWeights: ['nothing'] },
      theirs: { fileType: 2 },
    }),
  },
  {
    name: 'a file type that is no use without importance is refused',
    model: 'dense',
    change: () => ({ ours: { to: 'IQ2_XXS' }, theirs: { fileType: 19 } }),
  },
  {
    name: 'importance that lacks a weight which needs it is refused',
    model: 'dense',
    change: (_, { imatrix, request }) => ({
      ours: { to: 'Q2_K_S', imatrix, excludeWeights: ['blk.0.attn_k'] },
      theirs: {
        ...filtered(imatrix, request, (name) => !name.includes('blk.0.attn_k')),
        fileType: 21,
      },
    }),
  },
];

function filtered(
  imatrix: TestGuide['imatrix'],
  request: TestGuide['request'],
  wanted: (name: string) => boolean,
): Change['theirs'] {
  const entries = new Map([...imatrix.entries].filter(([name]) => wanted(name)));
  return {
    fileType: Q4_K_M.id,
    imatrix: request.filter(({ name }) => wanted(name)),
    overrides: guideOverrides({ ...imatrix, entries }),
  };
}
