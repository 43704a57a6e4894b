/**
 * Patterns of `--tensor-type`: ECMAScript regular expressions, searched anywhere in a tensor's name, as `std::regex_search` does.
 *
 * A pattern is evaluated over sets of positions instead of by backtracking: each node maps the set of places where it may
 * start to the set of places where it may end. Names are short (64 bytes in a GGUF file), so a set is small, and no
 * pattern however nested takes more than length × nodes steps. Back-references do not fit that scheme and are refused.
 *
 * Source: Thompson, "Regular expression search algorithm" (1968); ECMA-262 3rd edition, 15.10 (the grammar of std::regex), with
 * POSIX classes in brackets.
 */

import { WhittleError } from '../../errors.ts';

const LONGEST_PATTERN = 1024;
const DEEPEST = 64;
const MOST_REPETITIONS = 1000;

type CharTest = (char: string) => boolean;

type Node =
  | { readonly kind: 'char'; readonly test: CharTest }
  | { readonly kind: 'sequence'; readonly items: readonly Node[] }
  | { readonly kind: 'choice'; readonly items: readonly Node[] }
  | { readonly kind: 'repeat'; readonly item: Node; readonly least: number; readonly most: number }
  | { readonly kind: 'look'; readonly item: Node; readonly wanted: boolean }
  | { readonly kind: 'place'; readonly test: (text: string, at: number) => boolean };

export interface NamePattern {
  readonly source: string;
  /** Whether the pattern matches anywhere in `name`. */
  test(name: string): boolean;
}

/** Compiles a pattern. Throws E_USAGE with the place of the mistake. */
export function compilePattern(source: string): NamePattern {
  if (source.length > LONGEST_PATTERN) {
    throw new WhittleError('E_USAGE', 'the pattern is too long', {
      expected: `at most ${LONGEST_PATTERN} characters (names have at most 64 bytes)`,
      found: `${source.length}`,
    });
  }
  const root = parse(source);
  return {
    source,
    test(name) {
      const starts = new Set<number>();
      for (let at = 0; at <= name.length; at++) starts.add(at);
      return ends(root, name, starts).size > 0;
    },
  };
}

/** Where `node` may end when it starts at one of `starts`. */
function ends(node: Node, text: string, starts: ReadonlySet<number>): ReadonlySet<number> {
  switch (node.kind) {
    case 'char': {
      const found = new Set<number>();
      for (const at of starts) if (at < text.length && node.test(text[at]!)) found.add(at + 1);
      return found;
    }
    case 'sequence': {
      let places = starts;
      for (const item of node.items) {
        if (places.size === 0) return places;
        places = ends(item, text, places);
      }
      return places;
    }
    case 'choice': {
      const found = new Set<number>();
      for (const item of node.items) for (const at of ends(item, text, starts)) found.add(at);
      return found;
    }
    case 'repeat':
      return repeated(node.item, node.least, node.most, text, starts);
    case 'look': {
      const found = new Set<number>();
      for (const at of starts) {
        if (ends(node.item, text, new Set([at])).size > 0 === node.wanted) found.add(at);
      }
      return found;
    }
    case 'place': {
      const found = new Set<number>();
      for (const at of starts) if (node.test(text, at)) found.add(at);
      return found;
    }
    default:
      return node satisfies never;
  }
}

function repeated(
  item: Node,
  least: number,
  most: number,
  text: string,
  starts: ReadonlySet<number>,
): ReadonlySet<number> {
  let places = starts;
  for (let round = 0; round < least && places.size > 0; round++) {
    const next = ends(item, text, places);
    if (same(next, places)) break;
    places = next;
  }
  const found = new Set(places);
  for (let round = least; round < most && places.size > 0; round++) {
    const fresh = new Set<number>();
    for (const at of ends(item, text, places)) if (!found.has(at)) fresh.add(at);
    for (const at of fresh) found.add(at);
    places = fresh;
  }
  return found;
}

function same(a: ReadonlySet<number>, b: ReadonlySet<number>): boolean {
  if (a.size !== b.size) return false;
  for (const at of a) if (!b.has(at)) return false;
  return true;
}

const isDigit: CharTest = (char) => char >= '0' && char <= '9';
const isLower: CharTest = (char) => char >= 'a' && char <= 'z';
const isUpper: CharTest = (char) => char >= 'A' && char <= 'Z';
const isLetter: CharTest = (char) => isLower(char) || isUpper(char);
const isWord: CharTest = (char) => isLetter(char) || isDigit(char) || char === '_';
const isSpace: CharTest = (char) => /^\s$/.test(char);
const isGraph: CharTest = (char) => char > ' ' && char < '\x7f';

const ESCAPED_CLASSES: Readonly<Record<string, CharTest>> = { d: isDigit, w: isWord, s: isSpace };
const CONTROLS: Readonly<Record<string, string>> = { t: '\t', n: '\n', r: '\r', f: '\f', v: '\v', 0: '\0' };
const POSIX_CLASSES: Readonly<Record<string, CharTest>> = {
  alpha: isLetter,
  digit: isDigit,
  d: isDigit,
  alnum: (char) => isLetter(char) || isDigit(char),
  lower: isLower,
  upper: isUpper,
  space: isSpace,
  s: isSpace,
  blank: (char) => char === ' ' || char === '\t',
  punct: (char) => isGraph(char) && !isLetter(char) && !isDigit(char),
  xdigit: (char) => /^[0-9a-fA-F]$/.test(char),
  cntrl: (char) => char < ' ' || char === '\x7f',
  print: (char) => char === ' ' || isGraph(char),
  graph: isGraph,
  w: isWord,
};

const isBoundary = (text: string, at: number): boolean => wordAt(text, at - 1) !== wordAt(text, at);
const wordAt = (text: string, at: number): boolean => at >= 0 && at < text.length && isWord(text[at]!);

function parse(source: string): Node {
  let at = 0;
  let depth = 0;
  const fail = (problem: string, place = at): WhittleError =>
    new WhittleError('E_USAGE', `the pattern "${source}" cannot be read: ${problem}`, {
      found: `at character ${place + 1}`,
      hint: 'Patterns are ECMAScript regular expressions, searched anywhere in the name: attn_.*, blk\\.[0-3]\\.ffn_down.',
    });
  const node = choice();
  if (at < source.length) throw fail('a ")" closes nothing');
  return node;

  function choice(): Node {
    const items = [sequence()];
    while (source[at] === '|') {
      at++;
      items.push(sequence());
    }
    return items.length === 1 ? items[0]! : { kind: 'choice', items };
  }

  function sequence(): Node {
    const items: Node[] = [];
    while (at < source.length && source[at] !== '|' && source[at] !== ')') items.push(term());
    return { kind: 'sequence', items };
  }

  function term(): Node {
    const item = atom();
    if (item.kind === 'place' || item.kind === 'look') {
      if (/^(?:[*+?]|\{\d)/.test(source.slice(at, at + 2))) throw fail('there is nothing to repeat');
      return item;
    }
    return quantified(item);
  }

  function quantified(item: Node): Node {
    const char = source[at];
    let least = 0;
    let most = Number.POSITIVE_INFINITY;
    if (char === '+') least = 1;
    else if (char === '?') most = 1;
    else if (char === '{') {
      const braces = /^\{(\d+)(,?)(\d*)\}/.exec(source.slice(at, at + 16));
      if (braces === null)
        throw fail('"{" starts a count like {2}, {2,} or {2,4}; write \\{ for the character');
      least = Number(braces[1]);
      if (braces[2] === '') most = least;
      else if (braces[3] !== '') most = Number(braces[3]);
      if (least > most) throw fail('the least count is above the most');
      if (least > MOST_REPETITIONS || (Number.isFinite(most) && most > MOST_REPETITIONS)) {
        throw fail(`more than ${MOST_REPETITIONS} repetitions`);
      }
      at += braces[0].length - 1;
    } else if (char !== '*') return item;
    at++;
    // Lazy or greedy is the same question here: whether there is a match at all.
    if (source[at] === '?') at++;
    return { kind: 'repeat', item, least, most };
  }

  function atom(): Node {
    const char = source[at]!;
    at++;
    switch (char) {
      case '(':
        return group();
      case '[':
        return { kind: 'char', test: bracket() };
      case '.':
        return { kind: 'char', test: (found) => !/^[\n\r\u2028\u2029]$/.test(found) };
      case '^':
        return { kind: 'place', test: (_, place) => place === 0 };
      case '$':
        return { kind: 'place', test: (text, place) => place === text.length };
      case '\\':
        return escaped();
      case '*':
      case '+':
      case '?':
      case '{':
        throw fail('there is nothing to repeat', at - 1);
      default:
        return literal(char);
    }
  }

  function literal(char: string): Node {
    return { kind: 'char', test: (found) => found === char };
  }

  function group(): Node {
    const start = at - 1;
    depth++;
    if (depth > DEEPEST) throw fail(`groups are nested more than ${DEEPEST} deep`, start);
    let look: boolean | undefined;
    if (source[at] === '?') {
      const mark = source[at + 1];
      if (mark !== ':' && mark !== '=' && mark !== '!') {
        throw fail('only (…), (?:…), (?=…) and (?!…) are known', start);
      }
      if (mark !== ':') look = mark === '=';
      at += 2;
    }
    const item = choice();
    if (source[at] !== ')') throw fail('a "(" is not closed', start);
    at++;
    depth--;
    return look === undefined ? item : { kind: 'look', item, wanted: look };
  }

  function escaped(): Node {
    const char = source[at];
    if (char === undefined) throw fail('it ends with a "\\"', at - 1);
    if (char === 'b' || char === 'B') {
      at++;
      return { kind: 'place', test: (text, place) => isBoundary(text, place) === (char === 'b') };
    }
    if (char >= '1' && char <= '9') throw fail('back-references are not supported', at - 1);
    return { kind: 'char', test: escapedTest() };
  }

  /** After a backslash: a class or one character. */
  function escapedTest(): CharTest {
    const named = classEscape();
    if (named !== undefined) return named;
    const char = escapedChar();
    return (found) => found === char;
  }

  function classEscape(): CharTest | undefined {
    const char = source[at] ?? '';
    const lower = char.toLowerCase();
    if (!Object.hasOwn(ESCAPED_CLASSES, lower)) return undefined;
    at++;
    const test = ESCAPED_CLASSES[lower]!;
    return char === lower ? test : (found) => !test(found);
  }

  function escapedChar(): string {
    const char = source[at];
    if (char === undefined) throw fail('it ends with a "\\"', at - 1);
    at++;
    if (Object.hasOwn(CONTROLS, char)) return CONTROLS[char]!;
    if (char === 'x' || char === 'u') {
      const digits = char === 'x' ? 2 : 4;
      const hex = source.slice(at, at + digits);
      if (!/^[0-9a-fA-F]+$/.test(hex) || hex.length !== digits) {
        throw fail(`\\${char} wants ${digits} hexadecimal digits`, at - 2);
      }
      at += digits;
      return String.fromCharCode(Number.parseInt(hex, 16));
    }
    return char;
  }

  function bracket(): CharTest {
    const start = at - 1;
    const negated = source[at] === '^';
    if (negated) at++;
    const tests: CharTest[] = [];
    while (source[at] !== ']') {
      if (at >= source.length) throw fail('a "[" is not closed', start);
      tests.push(bracketItem());
    }
    at++;
    return (char) => tests.some((test) => test(char)) !== negated;
  }

  function bracketItem(): CharTest {
    const named = /^\[:(\w+):\]/.exec(source.slice(at, at + 16));
    if (named !== null) {
      const name = named[1]!;
      if (!Object.hasOwn(POSIX_CLASSES, name)) throw fail(`there is no character class "${name}"`);
      at += named[0].length;
      return POSIX_CLASSES[name]!;
    }
    const first = bracketChar();
    if (typeof first !== 'string') return first;
    if (source[at] !== '-' || source[at + 1] === ']' || source[at + 1] === undefined)
      return (char) => char === first;
    const dash = at;
    at++;
    const last = bracketChar();
    if (typeof last !== 'string' || last < first) throw fail('the range is out of order', dash - 1);
    return (char) => char >= first && char <= last;
  }

  function bracketChar(): string | CharTest {
    const char = source[at]!;
    at++;
    if (char !== '\\') return char;
    if (source[at] === 'b') {
      at++;
      return '\b';
    }
    return classEscape() ?? escapedChar();
  }
}
