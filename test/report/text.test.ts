import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { firstCharacters, safeName, textWidth, truncateMiddle, wrapText } from '../../src/report/text.ts';

describe('wrapText', () => {
  test('no line is wider than asked unless it is one word, and no word is lost or moved', () => {
    fc.assert(
      fc.property(
        fc.array(fc.stringMatching(/^[a-z模👍]{1,12}$/u)),
        fc.integer({ min: 1, max: 40 }),
        (words, width) => {
          const lines = wrapText(words.join(' '), width);
          expect(lines.join(' ')).toBe(words.join(' '));
          for (const line of lines) expect(textWidth(line) <= width || !line.includes(' ')).toBe(true);
        },
      ),
    );
  });
});

describe('textWidth', () => {
  test.each([
    ['', 0],
    ['model.onnx', 10],
    ['模型', 4],
    ['é', 1],
    ['e\u0301', 1],
    ['👍', 2],
    ['한글', 4],
    ['\u001b[31mred\u001b[39m', 3],
    ['▁▂▃▅▇', 5],
    ['3×4', 3],
  ])('%j takes %i columns', (text, width) => {
    expect(textWidth(text)).toBe(width);
  });
});

describe('firstCharacters', () => {
  test('counts characters, not the halves of a pair, and cuts none in two', () => {
    expect(firstCharacters('👍👍👍', 3)).toBe('👍👍👍');
    expect(firstCharacters('👍👍👍', 2)).toBe('👍👍… (3 characters)');
    expect(firstCharacters('x'.repeat(3_000_000), 4)).toBe('xxxx… (3,000,000 characters)');
    expect(firstCharacters('any', Number.POSITIVE_INFINITY)).toBe('any');
  });
});

describe('truncateMiddle', () => {
  test('looks at both ends of a text of millions of characters', () => {
    expect(truncateMiddle(`first${'x'.repeat(30_000_000)}last`, 11)).toBe('first…xlast');
  });

  test('keeps both ends of a name', () => {
    expect(truncateMiddle('encoder.layer.11.attention.query.weight', 20)).toBe('encoder.l…ery.weight');
  });

  test('never exceeds the width, whatever the text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.nat(40), (text, width) => {
        const plain = safeName(text);
        expect(textWidth(truncateMiddle(plain, width))).toBeLessThanOrEqual(width);
      }),
    );
  });

  test('leaves what fits alone', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const plain = safeName(text);
        expect(truncateMiddle(plain, textWidth(plain))).toBe(plain);
      }),
    );
  });
});

test('escape sequences, line feeds and direction marks in a name are shown, not obeyed', () => {
  const name = 'w\u001b[2J\n\u202egnp\u2066\r\u009b31m';
  const shown = safeName(name);
  expect(shown).toBe('w\\u001b[2J\\u000a\\u202egnp\\u2066\\u000d\\u009b31m');
});
