/**
 * Width and truncation of text on a terminal. A character takes no column (combining marks, joiners, variation selectors), two
 * (East Asian wide and fullwidth forms, emoji) or one; the ranges are those of Unicode 16's East_Asian_Width that matter for
 * names of tensors and files. Colour codes that this program adds take none.
 */

import { printable } from '../errors.ts';
import { formatCount } from './format.ts';

/** The escape sequences that style.ts writes. */
const ANSI = new RegExp(`${String.fromCharCode(27)}\\[\\d*m`, 'g');

const ZERO_WIDTH = /^[\p{Mn}\p{Me}\p{Cf}]$/u;
const WIDE =
  /^[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1f64f}\u{1f680}-\u{1f6ff}\u{1f900}-\u{1f9ff}\u{1fa70}-\u{1faff}\u{20000}-\u{3fffd}]$/u;

/** Columns that `text` takes. */
export function textWidth(text: string): number {
  let width = 0;
  for (const character of text.replace(ANSI, '')) width += characterWidth(character);
  return width;
}

function characterWidth(character: string): 0 | 1 | 2 {
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x300) return 1;
  if (ZERO_WIDTH.test(character)) return 0;
  return WIDE.test(character) ? 2 : 1;
}

/** Code units that one column may take: a character of two with marks above it. */
const LONGEST_SHARE = 16;

/** At most `width` columns: the middle goes, since names of tensors differ at both ends. */
export function truncateMiddle(text: string, width: number): string {
  const most = LONGEST_SHARE * Math.max(1, width);
  // Texts of a hostile file have millions of characters: what lies far from both ends never shows.
  if (text.length > 2 * most) return truncateMiddle(text.slice(0, most) + text.slice(-most), width);
  if (textWidth(text) <= width) return text;
  if (width <= 1) return width === 1 ? '…' : '';
  const characters = [...text];
  const tailWidth = Math.ceil((width - 1) / 2);
  let head = '';
  let headWidth = 0;
  for (const character of characters) {
    const next = headWidth + characterWidth(character);
    if (next > width - 1 - tailWidth) break;
    head += character;
    headWidth = next;
  }
  let tail = '';
  let used = 0;
  for (const character of characters.reverse()) {
    const next = used + characterWidth(character);
    if (next > tailWidth) break;
    tail = character + tail;
    used = next;
  }
  return `${head}…${tail}`;
}

/** The first `most` characters of a text, with how many there are where some are left out. */
export function firstCharacters(text: string, most: number): string {
  let total = text.length;
  for (let i = 0; i < text.length; i++) if ((text.charCodeAt(i) & 0xfc00) === 0xdc00) total--;
  if (total <= most) return text;
  const shown = [...text.slice(0, 2 * most)].slice(0, most).join('');
  return `${shown}… (${formatCount(total)} characters)`;
}

/** Lines of at most `width` columns, broken at blanks; a word that is longer has a line of its own. */
export function wrapText(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && textWidth(line) + 1 + textWidth(word) > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}

export function padEnd(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - textWidth(text)));
}

export function padStart(text: string, width: number): string {
  return ' '.repeat(Math.max(0, width - textWidth(text))) + text;
}

/** A name from a file, safe to print: control and direction characters are made visible. */
export { printable as safeName };
