/**
 * The modes as pure recipe data: what `--to q4` means is written here and nowhere else (docs/modes.md explains
 * each). Settings follow the files of transformers.js where it has such files (docs/onnx.md 1b). Weights below
 * `MIN_ELEMENTS` are left alone: the nodes and names that a rewrite adds would outweigh what it saves.
 */

import { nearest } from '../core/nearest.ts';
import { WhittleError } from '../errors.ts';
import type { Recipe, Rule, Scheme } from './recipe.ts';

/** Fewest elements of a weight that presets touch: 4 KiB of f32 against about 1 KB of added graph. */
export const MIN_ELEMENTS = 1024;

/** Operators that only move elements: weights reach their real operator through them (silero's LSTM). */
export const DATA_MOVEMENT_OPS = [
  'Concat',
  'Expand',
  'Flatten',
  'Identity',
  'Reshape',
  'Slice',
  'Split',
  'Squeeze',
  'Transpose',
  'Unsqueeze',
] as const;

const MATMUL_OPS = ['MatMul', 'Gemm'] as const;

function nbits(bits: 2 | 4 | 8, symmetric: boolean, accuracyLevel: 0 | 4): Rule[] {
  const scheme: Scheme = { as: 'matmul-nbits', bits, blockSize: 32, symmetric, accuracyLevel };
  return [{ match: { opType: MATMUL_OPS, minElements: MIN_ELEMENTS }, scheme }];
}

/** Fewest dB that one scale must leave a convolution; real networks stay near their original above it (docs/modes.md). */
const MIN_CONV_SQNR = 25;

const INT8_CHANNELS: Scheme = { as: 'qdq', type: 'int8', granularity: 'channel', blockSize: 0 };

function dynamicInt8(weightType: 'auto' | 'int8' | 'uint8'): Rule[] {
  return [
    // ConvInteger takes one scale for the whole weight: too coarse for depthwise convolutions and for weights with outliers.
    { match: { opType: 'Conv', depthwise: true, minElements: MIN_ELEMENTS }, scheme: INT8_CHANNELS },
    {
      match: { opType: 'Conv', int8SqnrBelow: MIN_CONV_SQNR, minElements: MIN_ELEMENTS },
      scheme: INT8_CHANNELS,
    },
    {
      match: { opType: ['MatMul', 'Gemm', 'Conv', 'LSTM', 'Gather'], minElements: MIN_ELEMENTS },
      scheme: { as: 'dynamic-int8', weightType, perChannel: true, reduceRange: 'auto' },
    },
    {
      // No integer operator exists for these: the weight is stored small and computed in float.
      match: { opType: ['ConvTranspose', 'GRU', 'RNN', ...DATA_MOVEMENT_OPS], minElements: MIN_ELEMENTS },
      scheme: { as: 'qdq', type: 'int8', granularity: 'tensor', blockSize: 0 },
    },
  ];
}

const WEIGHT_OPS = ['MatMul', 'Gemm', 'Conv', 'ConvTranspose', 'LSTM', 'GRU', 'RNN', ...DATA_MOVEMENT_OPS];

/** Tables of rotary positions are looked up as embeddings are, but are angles: they stay exact. */
const ROTARY = {
  tensor: ['cos', 'sin', '**cos_cache', '**sin_cache', '**cos_cached', '**sin_cached', '**rotary_emb**'],
  opType: 'Gather',
} as const;

/** int8 rows with a scale each: looked up first, so that the table is never expanded. */
const INT8_TABLE: Rule = {
  match: { opType: 'Gather', minElements: MIN_ELEMENTS },
  scheme: { as: 'qdq', type: 'int8', granularity: 'channel', blockSize: 0 },
};

const fp16 = { keepIoTypes: true } as const;

const PRESETS = {
  fp16: {
    description: 'half precision everywhere; float32 inputs and outputs are kept',
    suffix: '_fp16',
    rules: [],
    fp16,
  },
  q8: {
    description: 'dynamic int8; uint8 weights where the graph has a Conv or fused attention',
    suffix: '_quantized',
    rules: dynamicInt8('auto'),
    exclude: ROTARY,
  },
  int8: {
    description: 'dynamic int8, signed weights',
    suffix: '_int8',
    rules: dynamicInt8('int8'),
    exclude: ROTARY,
  },
  uint8: {
    description: 'dynamic int8, unsigned weights',
    suffix: '_uint8',
    rules: dynamicInt8('uint8'),
    exclude: ROTARY,
  },
  q4: {
    description: '4-bit MatMulNBits, blocks of 32, symmetric',
    suffix: '_q4',
    rules: nbits(4, true, 0),
  },
  q4f16: {
    description: 'q4, then half precision everywhere else',
    suffix: '_q4f16',
    rules: nbits(4, true, 0),
    fp16,
  },
  bnb4: {
    description: '4-bit NormalFloat (MatMulBnb4), blocks of 64',
    suffix: '_bnb4',
    rules: [
      {
        match: { opType: MATMUL_OPS, minElements: MIN_ELEMENTS },
        scheme: { as: 'bnb4', codebook: 'nf4', blockSize: 64 },
      },
    ],
  },
  q2: {
    description: '2-bit MatMulNBits, blocks of 32, asymmetric',
    suffix: '_q2',
    rules: nbits(2, false, 4),
  },
  q2f16: {
    description: 'q2, then half precision everywhere else',
    suffix: '_q2f16',
    rules: nbits(2, false, 4),
    fp16,
  },
  fp8: {
    description: 'weights stored as float8 e4m3 with a scale for each tensor, computed in the original type',
    suffix: '_fp8',
    rules: [
      {
        match: { opType: [...WEIGHT_OPS, 'Gather'], minElements: MIN_ELEMENTS },
        scheme: { as: 'cast', type: 'f8_e4m3fn', scale: 'tensor' },
      },
    ],
    exclude: ROTARY,
  },
  'int4-qdq': {
    description: 'weight-only 4 bits behind DequantizeLinear, in blocks; delicate convolutions int8',
    suffix: '_int4_qdq',
    rules: [
      {
        match: { opType: MATMUL_OPS, minElements: MIN_ELEMENTS },
        scheme: { as: 'qdq', type: 'int4', granularity: 'block', blockSize: 32 },
      },
      // A scale of its own suits each filter of these in 8 bits only.
      { match: { opType: 'Conv', depthwise: true, minElements: MIN_ELEMENTS }, scheme: INT8_CHANNELS },
      {
        match: { opType: 'Conv', int8SqnrBelow: MIN_CONV_SQNR, minElements: MIN_ELEMENTS },
        scheme: INT8_CHANNELS,
      },
      {
        // Short blocks with zero points: filters are lopsided and small, and every error runs through all layers behind.
        match: { opType: ['Conv', 'ConvTranspose'], minElements: MIN_ELEMENTS },
        scheme: { as: 'qdq', type: 'uint4', granularity: 'block', blockSize: 16 },
      },
      {
        match: { opType: [...WEIGHT_OPS], minElements: MIN_ELEMENTS },
        scheme: { as: 'qdq', type: 'int4', granularity: 'channel', blockSize: 0 },
      },
      INT8_TABLE,
    ],
    exclude: ROTARY,
  },
  'int8-qdq': {
    description: 'weight-only int8 behind DequantizeLinear, a scale for each channel',
    suffix: '_int8_qdq',
    rules: [
      {
        match: { opType: [...WEIGHT_OPS], minElements: MIN_ELEMENTS },
        scheme: { as: 'qdq', type: 'int8', granularity: 'channel', blockSize: 0 },
      },
      INT8_TABLE,
    ],
    exclude: ROTARY,
  },
} as const satisfies Record<string, Omit<Recipe, 'name'>>;

/**
 * Modes that need data beside the model. static-int8 (docs/static-int8.md): 7-bit weights, since full ones saturate on x86 without VNNI;
 * int8 stays between convolutions; products of transformers give floats, for norms, gates and residual sums lose most by rounding.
 */
const DATA_PRESETS = {
  'static-int8': {
    description: 'int8 weights and activations with scales made from data; for convolutional networks',
    suffix: '_static_int8',
    rules: [],
    static: {
      activations: 'uint8',
      symmetricActivations: false,
      weights: 'int8',
      perChannel: true,
      reduceRange: true,
      operators: [
        'Add',
        'AveragePool',
        'Clip',
        'Concat',
        'Conv',
        'ConvTranspose',
        'Flatten',
        'Gemm',
        'GlobalAveragePool',
        'LeakyRelu',
        'MatMul',
        'MaxPool',
        'Mul',
        'Pad',
        'Relu',
        'Reshape',
        'Resize',
        'Sigmoid',
        'Slice',
        'Split',
        'Squeeze',
        'Transpose',
        'Unsqueeze',
      ],
      floatOutputs: ['MatMul', 'Gemm'],
      elementwise: 'convolutions',
      constants: 'weights',
      observer: 'minmax',
      fold: true,
    },
  },
} as const satisfies Record<string, Omit<Recipe, 'name'>>;

export type ModeName = keyof typeof PRESETS;
export type DataModeName = keyof typeof DATA_PRESETS;

/** Every mode, in the order in which tables list them. */
export const MODE_NAMES = Object.keys(PRESETS).filter(isPlain);

/** Modes that learn from data: they are asked for by name only. */
export const DATA_MODE_NAMES = Object.keys(DATA_PRESETS).filter(isDataMode);

function isPlain(name: string): name is ModeName {
  return Object.hasOwn(PRESETS, name);
}

function isDataMode(name: string): name is DataModeName {
  return Object.hasOwn(DATA_PRESETS, name);
}

export function isMode(name: string): name is ModeName | DataModeName {
  return isPlain(name) || isDataMode(name);
}

/** The recipe of a mode. E_USAGE, with the nearest name, where there is none. */
export function presetRecipe(name: string): Recipe {
  if (!isMode(name)) {
    const near = nearest(name, [...MODE_NAMES, ...DATA_MODE_NAMES]);
    throw new WhittleError('E_USAGE', `there is no mode ${name}`, {
      expected: [...MODE_NAMES, ...DATA_MODE_NAMES].join(', '),
      hint:
        near === undefined
          ? 'Write a recipe file for anything else (docs/recipes.md).'
          : `Did you mean ${near}?`,
    });
  }
  return isPlain(name) ? { name, ...PRESETS[name] } : { name, ...DATA_PRESETS[name] };
}
