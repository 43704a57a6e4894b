/**
 * Every error that whittle raises on purpose, on one screen.
 *
 * A `WhittleError` says what went wrong (`code`), where (`file`, `tensor`, `offset`), what was expected and
 * found, and what to do about it (`hint`). Anything else that escapes from the library is a bug.
 * Codes are stable: scripts may test them. The exit code of the command line follows from the code.
 */

/** Exit codes of the command line (documented in docs/cli.md). */
export const EXIT = {
  ok: 0,
  /** A bug: an error that is not a WhittleError. */
  internal: 1,
  usage: 2,
  badInput: 3,
  unsupported: 4,
  io: 5,
  verification: 6,
  interrupted: 7,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** The closed list: code → exit code. */
export const ERROR_CODES = {
  // How the tool was called
  E_USAGE: EXIT.usage,
  E_RECIPE: EXIT.usage,
  E_OUTPUT_EXISTS: EXIT.usage,
  E_OUTPUT_IS_INPUT: EXIT.usage,
  E_MISSING_PEER: EXIT.usage,
  E_RESUME: EXIT.usage,
  E_LOCKED: EXIT.usage,
  // The file that was given
  E_EMPTY: EXIT.badInput,
  E_TRUNCATED: EXIT.badInput,
  E_NOT_A_MODEL: EXIT.badInput,
  E_LFS_POINTER: EXIT.badInput,
  E_PICKLE: EXIT.badInput,
  E_PROTOBUF: EXIT.badInput,
  E_MAGIC: EXIT.badInput,
  E_VERSION: EXIT.badInput,
  E_GGUF: EXIT.badInput,
  E_ALIGN: EXIT.badInput,
  E_OFFSET: EXIT.badInput,
  E_SPLIT: EXIT.badInput,
  E_IMATRIX: EXIT.badInput,
  E_DATA: EXIT.badInput,
  E_LIMIT: EXIT.badInput,
  E_SHAPE: EXIT.badInput,
  E_DTYPE: EXIT.badInput,
  E_TENSOR_SIZE: EXIT.badInput,
  E_DUPLICATE: EXIT.badInput,
  E_GRAPH: EXIT.badInput,
  E_EXTERNAL_PATH: EXIT.badInput,
  E_EXTERNAL_MISSING: EXIT.badInput,
  E_EXTERNAL_RANGE: EXIT.badInput,
  E_EXTERNAL_FIELD: EXIT.badInput,
  E_CHECKSUM: EXIT.badInput,
  E_NONFINITE: EXIT.badInput,
  E_INPUT_CHANGED: EXIT.badInput,
  // What whittle or the target cannot do
  E_UNSUPPORTED: EXIT.unsupported,
  E_REQUANT: EXIT.unsupported,
  E_TARGET: EXIT.unsupported,
  E_NOTHING_TO_DO: EXIT.unsupported,
  // The machine
  E_NOT_FOUND: EXIT.io,
  E_ACCESS: EXIT.io,
  E_NO_SPACE: EXIT.io,
  E_IO: EXIT.io,
  // The proof
  E_RUNTIME: EXIT.verification,
  E_VERIFICATION: EXIT.verification,
  // Stopped by the user
  E_ABORTED: EXIT.interrupted,
} as const satisfies Record<string, ExitCode>;

export type ErrorCode = keyof typeof ERROR_CODES;

export interface ErrorDetails {
  /** File as the user named it. */
  readonly file?: string | undefined;
  readonly tensor?: string | undefined;
  readonly node?: string | undefined;
  /** Byte offset in `file`. */
  readonly offset?: number | undefined;
  readonly expected?: string | undefined;
  readonly found?: string | undefined;
  /** What the user can do about it, as an imperative sentence. */
  readonly hint?: string | undefined;
  readonly cause?: unknown;
}

export class WhittleError extends Error {
  override readonly name = 'WhittleError';
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(brief(message), details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.details = briefDetails(details);
  }

  get exitCode(): ExitCode {
    return ERROR_CODES[this.code];
  }

  /** The same error with details added where they were not known at the place that raised it. */
  with(details: ErrorDetails): WhittleError {
    const error = new WhittleError(this.code, this.message, { ...details, ...definedOnly(this.details) });
    if (this.stack !== undefined) error.stack = this.stack;
    return error;
  }
}

/** A hostile file's texts have millions of characters, and messages quote them. Names and paths stay whole. */
const LONGEST_TEXT = 2000;

function brief(text: string): string {
  return text.length <= LONGEST_TEXT ? text : `${text.slice(0, LONGEST_TEXT)}…`;
}

function briefDetails(details: ErrorDetails): ErrorDetails {
  const { expected, found, hint } = details;
  if (Math.max(expected?.length ?? 0, found?.length ?? 0, hint?.length ?? 0) <= LONGEST_TEXT) return details;
  return {
    ...details,
    expected: expected === undefined ? undefined : brief(expected),
    found: found === undefined ? undefined : brief(found),
    hint: hint === undefined ? undefined : brief(hint),
  };
}

function definedOnly(details: ErrorDetails): ErrorDetails {
  return Object.fromEntries(Object.entries(details).filter(([, value]) => value !== undefined));
}

/** One-line-per-fact text for people; control characters are made visible since names come from files. */
export function formatError(error: WhittleError): string {
  const { file, tensor, node, offset, expected, found, hint } = error.details;
  const facts: [string, string | undefined][] = [
    ['file', file],
    ['node', node],
    ['tensor', tensor],
    ['offset', offset === undefined ? undefined : `byte ${offset}`],
    ['expected', expected],
    ['found', found],
  ];
  const lines = [`${error.code}: ${printable(error.message)}`];
  for (const [key, value] of facts) {
    if (value !== undefined) lines.push(`  ${key.padEnd(9)}${printable(value)}`);
  }
  if (hint !== undefined) lines.push(`  ${'hint'.padEnd(9)}${printable(hint)}`);
  return lines.join('\n');
}

/** Escapes control and bidirectional-override characters, which a hostile name could use to forge output. */
export function printable(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Bidi_Control}]/gu,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

export function isWhittleError(value: unknown): value is WhittleError {
  return value instanceof WhittleError;
}
