/**
 * `transformers.js_config.use_external_data_format` of a config.json: how many data files belong to each model file.
 *
 * transformers.js fetches data files only when this says so. It looks up the full file name (`model_q4.onnx`), then the session
 * (`model`), else 0; `true` or a number in place of the map speaks for every model file of the folder. So one value for all, or a
 * session's, is also a claim about files that are written later, and a claim that is wrong breaks loading in either direction:
 * data that is not fetched, or a file that does not exist. `device_config` may hold a second such value for one device, which
 * replaces the first there; it is kept true as well.
 *
 * Source: huggingface/transformers.js 4.3.1, src/utils/model-loader.js and src/models/session.js (Apache-2.0).
 */

import { WhittleError } from '../errors.ts';
import { editJson, type JsonValue } from './json-edit.ts';
import { isDtypeSuffix, MAX_DATA_FILES, splitFileName } from './names.ts';

/** A model file that was written. */
export interface WrittenModel {
  /** Bare name: `model_q4.onnx`. */
  readonly name: string;
  /** Number of its data files; 0 where everything is embedded. */
  readonly dataFiles: number;
}

const CUSTOM = 'transformers.js_config';
const FORMAT = 'use_external_data_format';
const DEVICES = 'device_config';

type JsonObject = { readonly [key: string]: JsonValue };

/** Number of data files that transformers.js would fetch for `name`, given the setting. */
export function claimedDataFiles(setting: JsonValue | undefined, name: string, session: string): number {
  if (!isObject(setting)) return Number(setting ?? 0);
  if (Object.hasOwn(setting, name)) return Number(setting[name]);
  return Object.hasOwn(setting, session) ? Number(setting[session]) : 0;
}

/**
 * The text of config.json with the setting made true for `written`. Nothing else changes: order, indentation, spelling of numbers
 * and unknown keys stay, and a text that is already right comes back as it is. `sessions`: all sessions of the folder, needed
 * where one value for all must become a map. E_NOT_A_MODEL where the text is not a JSON object.
 */
export function updateConfig(
  text: string,
  update: { readonly written: readonly WrittenModel[]; readonly sessions: readonly string[] },
  file = 'config.json',
): string {
  for (const { name, dataFiles } of update.written) {
    if (dataFiles > MAX_DATA_FILES) {
      throw new WhittleError('E_LIMIT', 'transformers.js fetches no more data files for one model.', {
        file: name,
        expected: `at most ${MAX_DATA_FILES} data files`,
        found: String(dataFiles),
        hint: 'Write larger data files.',
      });
    }
  }
  const bom = text.startsWith('\uFEFF') ? '\uFEFF' : '';
  let edited = text.slice(bom.length);
  const config = parseObject(edited, file);
  const custom = objectAt(config, CUSTOM, file);
  edited = apply(edited, [CUSTOM], custom, update, true);
  const devices = objectAt(custom ?? {}, DEVICES, file);
  for (const device of Object.keys(devices ?? {})) {
    const own = devices?.[device];
    if (isObject(own)) edited = apply(edited, [CUSTOM, DEVICES, device], own, update, false);
  }
  return bom + edited;
}

function apply(
  text: string,
  path: readonly string[],
  holder: JsonObject | undefined,
  update: { readonly written: readonly WrittenModel[]; readonly sessions: readonly string[] },
  mayAdd: boolean,
): string {
  const before = holder?.[FORMAT];
  if (before === undefined && !mayAdd) return text;
  const after = corrected(before, update.written, update.sessions);
  if (after === undefined || after === before) return text;
  const isEmpty = isObject(after) && Object.keys(after).length === 0;
  if (!isEmpty) return editJson(text, [...path, FORMAT], after);
  // An emptied setting goes, unless a device's value stands for "as everywhere else" by being there.
  if (!mayAdd) return editJson(text, [...path, FORMAT], {});
  const alone = holder !== undefined && Object.keys(holder).length === 1;
  return editJson(text, alone ? path : [...path, FORMAT], undefined);
}

/** The setting itself where it already tells the truth, else a map. */
function corrected(
  before: JsonValue | undefined,
  written: readonly WrittenModel[],
  sessions: readonly string[],
): JsonValue | undefined {
  const isTrue = written.every(
    (model) => claimedDataFiles(before, model.name, sessionOf(model.name)) === model.dataFiles,
  );
  if (isTrue) return before;
  const map: Record<string, JsonValue> = isObject(before) ? { ...before } : spread(before, sessions);
  for (const model of written) {
    delete map[model.name];
    if (claimedDataFiles(map, model.name, sessionOf(model.name)) !== model.dataFiles)
      map[model.name] = model.dataFiles;
  }
  return map;
}

/** One value for all, as a map with the same meaning. */
function spread(value: JsonValue | undefined, sessions: readonly string[]): Record<string, JsonValue> {
  if (value === undefined || Number(value) === 0) return {};
  return Object.fromEntries(sessions.map((session) => [session, value]));
}

/** Under which name transformers.js asks for a file; one whose suffix it does not know is asked for by its whole stem. */
function sessionOf(name: string): string {
  const parsed = splitFileName(name);
  if (parsed === undefined) return name;
  return isDtypeSuffix(parsed.suffix) ? parsed.session : parsed.session + parsed.suffix;
}

function parseObject(text: string, file: string): JsonObject {
  let value: JsonValue;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new WhittleError('E_NOT_A_MODEL', 'The configuration is not valid JSON.', {
      file,
      found: cause instanceof Error ? cause.message : String(cause),
      hint: 'Repair config.json; transformers.js cannot read it either.',
      cause,
    });
  }
  if (isObject(value)) return value;
  throw new WhittleError('E_NOT_A_MODEL', 'The configuration is not a JSON object.', { file });
}

function objectAt(holder: JsonObject, key: string, file: string): JsonObject | undefined {
  const value = Object.hasOwn(holder, key) ? holder[key] : undefined;
  if (value === undefined || isObject(value)) return value;
  throw new WhittleError('E_NOT_A_MODEL', `"${key}" in the configuration is not an object.`, { file });
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
