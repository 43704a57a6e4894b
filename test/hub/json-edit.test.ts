/** The JSON editor must change one value and nothing else; JSON.parse is the judge. */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { editJson, type JsonValue } from '../../src/hub/json-edit.ts';

test('replaces one value and keeps every other byte', () => {
  const text =
    '{\n  "eps": 1e-06,\n  "rope": 10000.0,\n  "a": {"b": [1, 2], "c": "}"},\n  "big": 12345678901234567890\n}\n';
  expect(editJson(text, ['a', 'b'], 3)).toBe(text.replace('[1, 2]', '3'));
});

test('adds a member in the indentation of the file', () => {
  expect(editJson('{\n    "a": 1\n}\n', ['b', 'c'], { d: 1 })).toBe(
    '{\n    "a": 1,\n    "b": {\n        "c": {\n            "d": 1\n        }\n    }\n}\n',
  );
  expect(editJson('{\n\t"a": 1\n}', ['b'], 2)).toBe('{\n\t"a": 1,\n\t"b": 2\n}');
  expect(editJson('{"a":1}', ['b'], { c: 2 })).toBe('{"a":1,"b":{"c":2}}');
  expect(editJson('{}', ['b'], 1)).toBe('{"b":1}');
  expect(editJson('{\r\n  "a": 1\r\n}', ['b'], 2)).toBe('{\r\n  "a": 1,\r\n  "b": 2\r\n}');
});

test('removes a first, middle, last and only member', () => {
  const text = '{\n  "a": 1,\n  "b": 2,\n  "c": 3\n}';
  expect(editJson(text, ['a'], undefined)).toBe('{\n  "b": 2,\n  "c": 3\n}');
  expect(editJson(text, ['b'], undefined)).toBe('{\n  "a": 1,\n  "c": 3\n}');
  expect(editJson(text, ['c'], undefined)).toBe('{\n  "a": 1,\n  "b": 2\n}');
  expect(editJson('{ "a": 1 }', ['a'], undefined)).toBe('{}');
  expect(editJson(text, ['x', 'y'], undefined)).toBe(text);
});

test('the last of two equal keys counts, as in JSON.parse', () => {
  expect(editJson('{"a":1,"a":2}', ['a'], 3)).toBe('{"a":1,"a":3}');
});

test('braces, quotes and backslashes inside strings do not mislead it', () => {
  const text = '{"x\\"}{": "\\\\", "y": ["]", "\\"}"], "z": 1}';
  expect(JSON.parse(editJson(text, ['z'], 2))).toEqual({ ...JSON.parse(text), z: 2 });
});

test.each(['', '[1', '{"a":}', '{"a" 1}', "{'a':1}"])('refuses malformed JSON %j', (text) => {
  expect(() => editJson(text, ['a'], 1)).toThrow(SyntaxError);
});

test('refuses a path through something that is no object', () => {
  expect(() => editJson('{"a": [1]}', ['a', 'b'], 1)).toThrow(SyntaxError);
  expect(() => editJson('[]', ['a'], 1)).toThrow(SyntaxError);
});

const keys = fc.constantFrom('a', 'b', 'é"', '\\', '0', '__proto__x');
const values = fc.jsonValue({ maxDepth: 3 });
const objects = fc.dictionary(keys, values, { maxKeys: 5 });

test('any edit of any object parses to the object with that edit', () => {
  fc.assert(
    fc.property(
      objects,
      keys,
      values,
      fc.constantFrom<string | number>(0, 2, '\t', 4),
      (object, key, value, indent) => {
        const text = JSON.stringify(object, null, indent);
        const set: JsonValue = JSON.parse(editJson(text, [key], JSON.parse(JSON.stringify(value))));
        expect(set).toEqual(JSON.parse(JSON.stringify({ ...object, [key]: value })));
        const { [key]: _, ...without } = object;
        expect(JSON.parse(editJson(text, [key], undefined))).toEqual(JSON.parse(JSON.stringify(without)));
      },
    ),
    { numRuns: 300 },
  );
});
