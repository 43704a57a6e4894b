/** What users type: file types, tensor types, overrides, layers. */

import { describe, expect, test } from 'vitest';
import { FILE_TYPES, fileTypeName, parseFileType } from '../../../src/planning/gguf/file-types.ts';
import {
  parseGgmlType,
  parseOverrideKv,
  parsePruneLayers,
  parseTensorType,
  parseTensorTypeFile,
} from '../../../src/planning/gguf/parse.ts';

const usage = expect.objectContaining({ code: 'E_USAGE' });

describe('file types', () => {
  test.each([
    ['Q4_K_M', 'Q4_K_M'],
    ['q4_k_m', 'Q4_K_M'],
    ['q4_K', 'Q4_K_M'],
    ['Q5_K', 'Q5_K_M'],
    ['Q3_K', 'Q3_K_M'],
    [' iq2_xxs ', 'IQ2_XXS'],
    ['15', 'Q4_K_M'],
    ['0', 'F32'],
    ['32', 'BF16'],
    ['38', 'MXFP4_MOE'],
    ['mxfp4', 'MXFP4'],
    ['nvfp4', 'NVFP4'],
  ])('%s is %s', (text, name) => {
    expect(parseFileType(text)).toMatchObject({ name });
  });

  test('COPY is no file type of its own, in any case', () => {
    expect(parseFileType('copy')).toBe('COPY');
  });

  test.each([
    ['Q4_KM', 'Q4_K_M'],
    ['NVPF4', 'NVFP4'],
  ])('%s is refused, and %s suggested', (text, suggestion) => {
    expect(() => parseFileType(text)).toThrow(
      expect.objectContaining({ details: expect.objectContaining({ hint: `Did you mean ${suggestion}?` }) }),
    );
  });

  test.each(['', '4', '33', '999', '1e1', 'constructor', '__proto__'])('"%s" is refused', (text) => {
    expect(() => parseFileType(text)).toThrow(usage);
  });

  test("numbers are llama.cpp's, each once but for our own", () => {
    const numbers = FILE_TYPES.filter(({ own }) => !own).map(({ id }) => id);
    expect(new Set(numbers).size).toBe(numbers.length);
    expect(numbers.length).toBe(35);
    expect(fileTypeName(15)).toBe('Q4_K_M');
    expect(fileTypeName(1024 + 7)).toBe('Q8_0');
    expect(fileTypeName(33)).toBeUndefined();
  });
});

describe('tensor types', () => {
  test('are named in any case', () => {
    expect(parseGgmlType('Q4_k')).toBe('q4_K');
    expect(parseGgmlType('BF16')).toBe('bf16');
  });

  test.each(['q8_1', 'q8_K', 'i32', 'f64', 'Q4_K_M', 'toString'])('%s cannot store weights', (text) => {
    expect(() => parseGgmlType(text)).toThrow(usage);
  });

  test('a rule is a pattern in lower case and a type', () => {
    expect(parseTensorType('Attn_V=Q6_K')).toEqual({ pattern: 'attn_v', type: 'q6_K' });
    expect(parseTensorType('blk\\.[0-3]\\.ffn_down=f16')).toEqual({
      pattern: 'blk\\.[0-3]\\.ffn_down',
      type: 'f16',
    });
  });

  test.each(['attn_v', '=q6_K', 'attn_v=', 'attn_v=q6', 'attn_(=q6_K', ''])('%s is no rule', (text) => {
    expect(() => parseTensorType(text)).toThrow(usage);
  });

  test('a file holds rules between any white space, and a wrong one is told by its number', () => {
    expect(parseTensorTypeFile(' attn_v=q6_K\n\tffn_down=q5_K \r\n')).toEqual([
      { pattern: 'attn_v', type: 'q6_K' },
      { pattern: 'ffn_down', type: 'q5_K' },
    ]);
    expect(parseTensorTypeFile('')).toEqual([]);
    expect(() => parseTensorTypeFile('a=q4_0 b=nothing', 'types.txt')).toThrow(/^rule 2:/);
  });
});

describe('layers to prune', () => {
  test('are sorted, each once', () => {
    expect(parsePruneLayers('15,3, 4,3')).toEqual([3, 4, 15]);
  });

  test.each(['', '3,', '-1', '3-5', 'a', '1.5'])('"%s" is refused', (text) => {
    expect(() => parsePruneLayers(text)).toThrow(usage);
  });
});

describe('overrides', () => {
  test.each([
    ['a.b=int:7', { key: 'a.b', type: 'u32', value: 7 }],
    ['a=int:-7', { key: 'a', type: 'u32', value: 7 }],
    ['a=float:0.1', { key: 'a', type: 'f32', value: Math.fround(0.1) }],
    ['a=float:-1e3', { key: 'a', type: 'f32', value: -1000 }],
    ['a=bool:true', { key: 'a', type: 'bool', value: true }],
    ['a=bool:false', { key: 'a', type: 'bool', value: false }],
    ['a=str:x=y:z', { key: 'a', type: 'string', value: 'x=y:z' }],
    ['a=str:', { key: 'a', type: 'string', value: '' }],
  ])('%s', (text, expected) => {
    expect(parseOverrideKv(text)).toEqual(expected);
  });

  test.each([
    'a',
    '=int:7',
    'a=7',
    'a=int:',
    'a=int:7b',
    'a=int:0x10',
    'a=int:4294967296',
    'a=float:x',
    'a=float:1e99',
    'a=bool:1',
    'a=number:1',
    `a=str:${'x'.repeat(128)}`,
    `${'k'.repeat(128)}=int:1`,
  ])('%s is refused', (text) => {
    expect(() => parseOverrideKv(text)).toThrow(usage);
  });
});
