/**
 * What every command gets beside its own flags: where to write, how wide the terminal is, whether to colour, and the signal
 * that stops the work. Results go to stdout, everything said to people on the way goes to stderr.
 */

import { createProgressLine, type ProgressLine, type ProgressStream } from '../report/progress-line.ts';
import { type ColorChoice, createStyle, type Style, wantsColor } from '../report/style.ts';

/** Flags that every command takes. */
export interface GlobalFlags {
  readonly json?: boolean | undefined;
  readonly quiet?: boolean | undefined;
  readonly verbose?: boolean | undefined;
  readonly color?: ColorChoice | undefined;
}

/** Where a run writes: the process's own streams, or a test's. */
export interface Streams {
  readonly stdout: ProgressStream;
  readonly stderr: ProgressStream;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export interface Context {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly signal: AbortSignal;
  /** Style of stdout. */
  readonly style: Style;
  /** Style of stderr. */
  readonly errStyle: Style;
  /** Columns of stdout where it is a terminal. */
  readonly width: number | undefined;
  readonly progress: ProgressLine;
  /** A result: one or more lines on stdout. */
  print(text: string): void;
  /** One JSON document on stdout; numbers that JSON lacks become strings. */
  printJson(value: unknown): void;
  /** Something for people on stderr; silent with --quiet and with --json. */
  say(text: string): void;
}

export function createContext(flags: GlobalFlags, streams: Streams, signal: AbortSignal): Context {
  const { stdout, stderr, environment } = streams;
  const color = flags.color ?? 'auto';
  const json = flags.json === true;
  const quiet = flags.quiet === true;
  const errStyle = createStyle(wantsColor(color, stderr.isTTY === true, environment));
  const progress = createProgressLine(stderr, errStyle, { verbose: flags.verbose, quiet: quiet || json });
  return {
    json,
    quiet,
    signal,
    style: createStyle(wantsColor(color, stdout.isTTY === true, environment)),
    errStyle,
    width: stdout.isTTY === true ? stdout.columns : undefined,
    progress,
    print(text) {
      progress.clear();
      stdout.write(`${text}\n`);
    },
    printJson(value) {
      progress.clear();
      stdout.write(`${toJson(value)}\n`);
    },
    say(text) {
      if (quiet || json) return;
      progress.clear();
      stderr.write(`${text}\n`);
    },
  };
}

/** JSON with the numbers it lacks written as "Infinity", "-Infinity" and "NaN"; typed arrays as arrays. */
export function toJson(value: unknown): string {
  return JSON.stringify(
    value,
    (_key, item: unknown) => {
      if (typeof item === 'number' && !Number.isFinite(item)) return String(item);
      if (typeof item === 'bigint') return item.toString();
      if (item instanceof Map) return Object.fromEntries(item);
      if (ArrayBuffer.isView(item) && !(item instanceof DataView)) return Array.from(toNumbers(item));
      return item;
    },
    2,
  );
}

function toNumbers(view: ArrayBufferView): Iterable<unknown> {
  return Symbol.iterator in view ? Object.values(view) : [];
}
