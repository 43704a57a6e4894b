/**
 * Changes one value in the text of a JSON file and leaves every other byte as it is.
 *
 * Parsing and printing a whole config.json would rewrite what its authors wrote: 1e-06 becomes 0.000001, 10000.0 becomes
 * 10000, integers above 2^53 change their value, keys that look like integers move to the front. So the text is scanned for
 * the place of the value, and only that place is replaced. `JSON.parse` (RFC 8259) checks the text before the scan, so the scan
 * may assume that it is well formed. Where a key stands twice, the last one counts, as in `JSON.parse`.
 */

export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue };

interface Member {
  readonly key: string;
  /** Of the key's opening quote. */
  readonly start: number;
  readonly valueStart: number;
  readonly valueEnd: number;
}

/**
 * `text` with the value at `path` (keys from the outermost object down) replaced or added; objects on the way that are absent
 * are made. `undefined` removes the member. Throws a SyntaxError where `text` is not JSON or a step of the path is no object.
 */
export function editJson(text: string, path: readonly string[], value: JsonValue | undefined): string {
  JSON.parse(text);
  const unit = indentationUnit(text);
  return edit(text, skipSpace(text, 0), path, value, unit, 0);
}

function edit(
  text: string,
  at: number,
  path: readonly string[],
  value: JsonValue | undefined,
  unit: string,
  depth: number,
): string {
  const [key, ...rest] = path;
  if (key === undefined) throw new SyntaxError('The path of a JSON edit is empty.');
  if (text[at] !== '{') throw new SyntaxError(`"${key}" cannot be set: what holds it is not an object.`);
  const { members, end } = membersOf(text, at);
  const found = members.findLastIndex((member) => member.key === key);
  const member = members[found];
  if (member === undefined) {
    if (value === undefined) return text;
    const whole = rest.reduceRight<JsonValue>((inner, name) => ({ [name]: inner }), value);
    return insert(text, at, end, members.at(-1), key, whole, unit, depth);
  }
  if (rest.length > 0) return edit(text, member.valueStart, rest, value, unit, depth + 1);
  if (value === undefined) return remove(text, at, end, members, found);
  return text.slice(0, member.valueStart) + print(value, unit, depth + 1) + text.slice(member.valueEnd);
}

function insert(
  text: string,
  start: number,
  end: number,
  last: Member | undefined,
  key: string,
  value: JsonValue,
  unit: string,
  depth: number,
): string {
  const line = unit === '' ? '' : newline(text) + unit.repeat(depth + 1);
  const member = `${line}${JSON.stringify(key)}:${unit === '' ? '' : ' '}${print(value, unit, depth + 1)}`;
  if (last !== undefined) return `${text.slice(0, last.valueEnd)},${member}${text.slice(last.valueEnd)}`;
  const close = unit === '' ? '' : newline(text) + unit.repeat(depth);
  return `${text.slice(0, start + 1)}${member}${close}${text.slice(end - 1)}`;
}

function remove(text: string, start: number, end: number, members: readonly Member[], found: number): string {
  const member = members[found]!;
  const before = members[found - 1];
  const after = members[found + 1];
  if (before !== undefined) return text.slice(0, before.valueEnd) + text.slice(member.valueEnd);
  if (after !== undefined) return text.slice(0, member.start) + text.slice(after.start);
  return text.slice(0, start + 1) + text.slice(end - 1);
}

/** Members of the object that opens at `at`; `end` is behind its closing brace. */
function membersOf(text: string, at: number): { members: Member[]; end: number } {
  const members: Member[] = [];
  let cursor = skipSpace(text, at + 1);
  while (text[cursor] !== '}') {
    const start = cursor;
    const keyEnd = skipString(text, cursor);
    const key: unknown = JSON.parse(text.slice(start, keyEnd));
    const valueStart = skipSpace(text, skipSpace(text, keyEnd) + 1);
    const valueEnd = skipValue(text, valueStart);
    members.push({ key: String(key), start, valueStart, valueEnd });
    cursor = skipSpace(text, valueEnd);
    if (text[cursor] === ',') cursor = skipSpace(text, cursor + 1);
  }
  return { members, end: cursor + 1 };
}

function skipSpace(text: string, at: number): number {
  while (text[at] === ' ' || text[at] === '\n' || text[at] === '\r' || text[at] === '\t') at++;
  return at;
}

function skipString(text: string, at: number): number {
  at++;
  while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at + 1;
}

function skipValue(text: string, at: number): number {
  const first = text[at];
  if (first === '"') return skipString(text, at);
  if (first !== '{' && first !== '[') {
    while (at < text.length && !',]} \n\r\t'.includes(text[at] ?? '')) at++;
    return at;
  }
  let depth = 0;
  do {
    const character = text[at];
    if (character === '"') {
      at = skipString(text, at);
      continue;
    }
    if (character === '{' || character === '[') depth++;
    if (character === '}' || character === ']') depth--;
    at++;
  } while (depth > 0);
  return at;
}

function print(value: JsonValue, unit: string, depth: number): string {
  const text = unit === '' ? JSON.stringify(value) : JSON.stringify(value, null, unit);
  return text.replaceAll('\n', `\n${unit.repeat(depth)}`);
}

/** What one level is indented by: that of the first line inside; '' for a text on one line. */
function indentationUnit(text: string): string {
  const match = /^\s*\{[ \t]*\r?\n([ \t]*)/.exec(text);
  if (match === null) return text.includes('\n') ? '  ' : '';
  return match[1] === '' || match[1] === undefined ? '  ' : match[1];
}

function newline(text: string): string {
  return text.includes('\r\n') ? '\r\n' : '\n';
}
