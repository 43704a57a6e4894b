/**
 * Rows in JSON. A file holds one of
 *   columns   {"input_ids": [[…], […]], "labels": [0, 1]}            the first axis counts the samples
 *   rows      [{"input_ids": […], "label": 0}, …]
 *   bare rows [[…], […]]                                              for the only input that has to be given
 * and NDJSON one row in each line. `text` and `text_pair` are turned into tokens (row-texts.ts). A value is a nested array of numbers, or flat with its shape: {"data": […], "shape": [2, 3]}.
 * NDJSON is read line by line when a line is wanted; JSON is held in memory.
 */

import { elementCount } from '../../core/shape.ts';
import { WhittleError } from '../../errors.ts';
import type { RuntimeTensor, RuntimeValueInfo } from '../../runtime/runtime.ts';
import { checkLabels, isLabel, withFile } from './array-rows.ts';
import { describeInput, isDerived } from './complete-inputs.ts';
import type { DatasetOptions, JsonSpec } from './data-spec.ts';
import { jsonTensor } from './json-tensor.ts';
import { decodeText, isRecord, parseJsonText, readText } from './read-text.ts';
import { createRowTexts, type RowTexts } from './row-texts.ts';
import { type Row, type RowSource, unknownInput } from './rows.ts';

/** JavaScript strings end at half a gigabyte. */
const MAX_JSON = 400 << 20;
const MAX_LINE = 64 << 20;
const PIECE = 1 << 20;

const source = (file: string, count: number, read: (index: number) => Promise<Row>): RowSource => ({
  file,
  count,
  unit: 'row',
  notes: [],
  start: 'random',
  read,
});

/** @throws WhittleError E_DATA, E_TRUNCATED where the text ends in the middle, E_SHAPE, E_EMPTY, E_LIMIT */
export async function jsonRows(
  { file, tokenizer }: JsonSpec,
  inputs: readonly RuntimeValueInfo[],
  options: DatasetOptions,
): Promise<RowSource> {
  const texts = createRowTexts(file, inputs, tokenizer, options);
  const value = parseJsonText(await readText(file, MAX_JSON), file);
  if (Array.isArray(value)) {
    return source(file, value.length, (index) => rowOf(value[index], inputs, file, index, texts));
  }
  if (!isRecord(value)) {
    throw new WhittleError('E_DATA', 'the file holds neither rows nor columns', {
      file,
      expected: '[{"input": […]}, …] or {"input": [[…], …]}',
      found: JSON.stringify(value).slice(0, 60),
    });
  }
  return columnRows(file, value, inputs, texts);
}

function columnRows(
  file: string,
  columns: Readonly<Record<string, unknown>>,
  inputs: readonly RuntimeValueInfo[],
  texts: RowTexts,
): RowSource {
  let labels: number[] | undefined;
  let count: number | undefined;
  const read = new Map<string, (index: number) => RuntimeTensor>();
  const words = new Map<string, readonly unknown[]>();
  for (const [name, column] of Object.entries(columns)) {
    const rows = columnOf(column, file, name);
    if (count !== undefined && rows.count !== count) {
      throw new WhittleError('E_SHAPE', 'the columns do not hold the same number of rows', {
        file,
        tensor: name,
        expected: `${count}`,
        found: `${rows.count}`,
      });
    }
    count = rows.count;
    if (isLabel(name, inputs)) labels = checkLabels(Array.isArray(column) ? column : [], file);
    else if (inputs.some((input) => input.name === name)) read.set(name, rows.row);
    else if (texts.isText(name) && Array.isArray(column)) words.set(name, column);
    else throw unknownInput(name, inputs).with({ file });
  }
  return source(file, read.size + words.size === 0 ? 0 : (count ?? 0), async (index) => {
    const row = Object.fromEntries([...words].map(([name, column]) => [name, column[index]]));
    const tokens = words.size === 0 ? [] : await texts.values(row, `row ${index + 1}`);
    const values = [...read].map(([name, get]) => [name, at(file, index, name, () => get(index))] as const);
    return { values: new Map([...tokens, ...values]), label: labels?.[index] };
  });
}

function columnOf(
  column: unknown,
  file: string,
  name: string,
): { count: number; row: (index: number) => RuntimeTensor } {
  if (Array.isArray(column))
    return { count: column.length, row: (index) => jsonTensor(column[index], 'f64') };
  if (isRecord(column)) {
    const { dtype, shape, data } = flatTensor(column);
    const [count = 1, ...rest] = shape;
    const size = (elementCount(rest) ?? 0) * Float64Array.BYTES_PER_ELEMENT;
    return {
      count,
      row: (index) => ({ dtype, shape: rest, data: data.slice(index * size, (index + 1) * size) }),
    };
  }
  throw new WhittleError('E_DATA', 'a column is neither an array nor data with a shape', {
    file,
    tensor: name,
    found: JSON.stringify(column)?.slice(0, 60),
  });
}

/** @throws WhittleError as jsonRows */
export async function ndjsonRows(
  { file, tokenizer }: JsonSpec,
  inputs: readonly RuntimeValueInfo[],
  options: DatasetOptions,
): Promise<RowSource> {
  const texts = createRowTexts(file, inputs, tokenizer, options);
  const lines = await lineRanges(file);
  const read = async (index: number): Promise<Row> => {
    const { start, end } = lines[index] ?? { start: 0, end: 0 };
    const bytes = new Uint8Array(end - start);
    await withFile(file, (opened) => opened.readInto(start, bytes));
    try {
      const row = parseJsonText(decodeText(bytes, file, start), file, `row ${index + 1}`);
      return await rowOf(row, inputs, file, index, texts);
    } catch (error) {
      if (!(error instanceof WhittleError) || error.code !== 'E_TRUNCATED') throw error;
      // Told of the line; meant in the file.
      throw new WhittleError('E_TRUNCATED', error.message, { ...error.details, offset: end });
    }
  };
  // A file that was cut shows it in its last line.
  if (lines.length > 0) await read(lines.length - 1);
  return source(file, lines.length, read);
}

/** Lines that are not blank, without their ends. */
async function lineRanges(file: string): Promise<{ start: number; end: number }[]> {
  return withFile(file, async (opened) => {
    const lines: { start: number; end: number }[] = [];
    const piece = new Uint8Array(Math.min(PIECE, opened.size));
    let start = 0;
    let blank = true;
    const close = (end: number): void => {
      if (end - start > MAX_LINE) {
        throw new WhittleError('E_LIMIT', 'a line is too long', {
          file,
          offset: start,
          expected: `at most ${MAX_LINE} bytes`,
          found: `${end - start} bytes`,
        });
      }
      if (!blank) lines.push({ start, end });
      start = end + 1;
      blank = true;
    };
    for (let base = 0; base < opened.size; base += piece.length) {
      const part = piece.subarray(0, Math.min(piece.length, opened.size - base));
      await opened.readInto(base, part);
      for (let i = 0; i < part.length; i++) {
        const byte = part[i]!;
        if (byte === 0x0a) close(base + i);
        else if (byte > 0x20) blank = false;
      }
    }
    close(opened.size);
    return lines;
  });
}

async function rowOf(
  value: unknown,
  inputs: readonly RuntimeValueInfo[],
  file: string,
  index: number,
  texts: RowTexts,
): Promise<Row> {
  if (typeof value === 'string') {
    return { values: await texts.values({ text: value }, `row ${index + 1}`) };
  }
  if (!isRecord(value)) {
    const needed = inputs.filter((input) => !isDerived(input));
    const [only] = needed;
    if (only === undefined || needed.length !== 1) {
      throw new WhittleError('E_DATA', `row ${index + 1} does not name its inputs`, {
        file,
        expected: `an object with ${needed.map(describeInput).join(', ')}`,
        found: (JSON.stringify(value) ?? '').slice(0, 60),
      });
    }
    return { values: new Map([[only.name, at(file, index, only.name, () => jsonTensor(value, 'f64'))]]) };
  }
  const hasTexts = Object.keys(value).some((name) => texts.isText(name));
  const values = hasTexts ? await texts.values(value, `row ${index + 1}`) : new Map<string, RuntimeTensor>();
  let label: number | undefined;
  for (const [name, item] of Object.entries(value)) {
    if (texts.isText(name)) continue;
    if (isLabel(name, inputs)) [label] = checkLabels([item], file);
    else if (!inputs.some((input) => input.name === name)) {
      throw unknownInput(name, inputs, `row ${index + 1}`).with({ file });
    } else {
      values.set(
        name,
        at(file, index, name, () => (isRecord(item) ? flatTensor(item) : jsonTensor(item, 'f64'))),
      );
    }
  }
  return { values, label };
}

function flatTensor({ data, shape }: Readonly<Record<string, unknown>>): RuntimeTensor {
  const flat = jsonTensor(data, 'f64');
  const dims = Array.isArray(shape)
    ? shape.filter((dim): dim is number => Number.isSafeInteger(dim) && dim >= 0)
    : undefined;
  if (
    dims === undefined ||
    !Array.isArray(shape) ||
    dims.length !== shape.length ||
    flat.shape.length !== 1
  ) {
    throw new WhittleError('E_SHAPE', 'flat data needs its shape', {
      expected: '{"data": [1, 2, 3, 4], "shape": [2, 2]}',
      found: JSON.stringify({ shape }).slice(0, 80),
    });
  }
  if (elementCount(dims) !== flat.shape[0]) {
    throw new WhittleError('E_SHAPE', 'the data does not fill its shape', {
      expected: dims.join('×'),
      found: `${flat.shape[0]} numbers`,
    });
  }
  return { ...flat, shape: dims };
}

function at<T>(file: string, index: number, tensor: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof WhittleError)) throw error;
    throw new WhittleError(error.code, `${error.message} (row ${index + 1})`, {
      ...error.details,
      file,
      tensor,
    });
  }
}
