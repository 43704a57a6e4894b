/** Patterns of --tensor-type: the same answers as regular expressions give, without their worst case. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compilePattern } from '../../../src/planning/gguf/pattern.ts';

/** Anything that repeats, in a part already built: a digit before the brace tells a count from a name. */
const REPEATS = /[*+?]|\{\d/;

/**
 * Patterns from pieces that mean the same in ECMAScript and here. What answers for ECMAScript backtracks, and a repetition
 * inside a repetition takes it time without bound (an hour, once): those are tried on names of three characters only.
 */
const patterns = (nested: boolean) =>
  fc.letrec<{ atom: string; term: string; sequence: string; any: string }>((tie) => ({
    atom: fc.oneof(
      { maxDepth: 2 },
      fc.constantFrom(
        'a',
        'b',
        '_',
        '\\.',
        '.',
        '\\d',
        '\\w',
        '\\D',
        '[ab]',
        '[^a]',
        '[a-c0-3]',
        '[\\d_]',
        '[-a]',
        '[a-]',
      ),
      fc.constantFrom('^', '$', '\\b', '\\B'),
      tie('any').map((inner) => `(${inner})`),
      tie('any').map((inner) => `(?:${inner})`),
      tie('any').map((inner) => `(?=${inner})`),
      tie('any').map((inner) => `(?!${inner})`),
    ),
    term: fc
      .tuple(
        tie('atom'),
        fc.constantFrom('', '', '*', '+', '?', '*?', '+?', '{2}', '{1,}', '{0,2}', '{2,3}?'),
      )
      .map(([atom, quantifier]) => {
        const assertion = /^(?:\(\?[=!]|[\^$]$|\\[bB]$)/.test(atom);
        const repeats = REPEATS.test(atom.replace(/\(\?/g, '('));
        return assertion || (repeats && !nested) ? atom : `${atom}${quantifier}`;
      }),
    sequence: fc.array(tie('term'), { maxLength: 3 }).map((parts) => parts.join('')),
    any: fc.array(tie('sequence'), { minLength: 1, maxLength: 2 }).map((parts) => parts.join('|')),
  })).any;

const name = (maxLength: number) =>
  fc.string({ unit: fc.constantFrom('a', 'b', 'c', '0', '3', '.', '_'), maxLength });

test.each([
  ['a pattern without nested repetitions and a name', patterns(false), name(8)],
  ['any pattern and a short name', patterns(true), name(3)],
])('answers as ECMAScript does on %s', (_, pattern, text) => {
  fc.assert(
    fc.property(pattern, text, (source, candidate) => {
      expect(compilePattern(source).test(candidate)).toBe(new RegExp(source).test(candidate));
    }),
    { numRuns: 1000 },
  );
});

test.each([
  ['attn_v', 'blk.12.attn_v.weight', true],
  ['^attn_v', 'blk.12.attn_v.weight', false],
  ['blk\\.(1[0-9]|2[0-5])\\.ffn_.*_exps', 'blk.24.ffn_down_exps.weight', true],
  ['blk\\.(1[0-9]|2[0-5])\\.ffn_.*_exps', 'blk.26.ffn_down_exps.weight', false],
  ['blk\\.[[:digit:]]\\.', 'blk.7.attn_q.weight', true],
  ['blk\\.[[:digit:]]\\.', 'blk.17.attn_q.weight', false],
  ['^(?!.*attn).*weight$', 'blk.0.ffn_up.weight', true],
  ['^(?!.*attn).*weight$', 'blk.0.attn_q.weight', false],
  ['\\x62lk', 'blk.0', true],
  ['', 'anything', true],
])('%s on %s: %s', (source, text, matches) => {
  expect(compilePattern(source).test(text)).toBe(matches);
});

test.each([
  '(a*)*b',
  '(a|a)*b',
  '(a+)+$',
  '(.*)*(.*)*(.*)*x',
  'a{0,1000}a{0,1000}a{0,1000}b',
  '((((a?)*)*)*)*b',
])('the pattern %s, on which backtracking never ends, is answered at once', (source) => {
  expect(compilePattern(source).test(`${'a'.repeat(63)}c`)).toBe(false);
});

describe('patterns that cannot be read are refused with the place', () => {
  test.each([
    ['attn_(q|k', 'closed'],
    ['attn)', 'closes nothing'],
    ['[a-', 'not closed'],
    ['[z-a]', 'out of order'],
    ['*attn', 'nothing to repeat'],
    ['a{2', 'count'],
    ['a{3,2}', 'above'],
    ['a{5000}', 'repetitions'],
    ['^*', 'nothing to repeat'],
    ['(a)\\1', 'back-references'],
    ['(?<=a)b', 'are known'],
    ['[[:nothing:]]', 'character class'],
    ['\\x6', 'hexadecimal'],
    ['attn\\', 'ends with'],
    ['('.repeat(100), 'nested'],
    ['a'.repeat(2000), 'too long'],
  ])('%s', (source, problem) => {
    expect(() => compilePattern(source)).toThrow(expect.objectContaining({ code: 'E_USAGE' }));
    expect(() => compilePattern(source)).toThrow(problem);
  });
});
