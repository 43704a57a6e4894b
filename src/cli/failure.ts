/**
 * How a command ends when it fails: the text for people or the JSON for programs, and the exit code. A WhittleError prints its
 * facts; anything else is a bug of this program and says so, with the stack only where WHITTLE_DEBUG is set.
 */

import { EXIT, formatError, isWhittleError, printable, WhittleError } from '../errors.ts';
import type { Style } from '../report/style.ts';

export interface Failure {
  readonly exitCode: number;
  /** For stderr. */
  readonly text: string;
  /** For stdout, with --json. */
  readonly json: { readonly error: Readonly<Record<string, unknown>> };
}

export function describeFailure(error: unknown, style: Style, debug: boolean): Failure {
  const known = asWhittleError(error);
  if (known !== undefined) {
    const [first = '', ...rest] = formatError(known).split('\n');
    const stack = debug && known.stack !== undefined ? `\n${style.dim(known.stack)}` : '';
    const { cause: _cause, ...details } = known.details;
    return {
      exitCode: known.exitCode,
      text: [style.red(first), ...rest].join('\n') + stack,
      json: { error: { code: known.code, message: known.message, ...details, exitCode: known.exitCode } },
    };
  }
  const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  const stack = error instanceof Error && error.stack !== undefined ? error.stack : undefined;
  const lines = [
    style.red(`whittle failed unexpectedly: ${printable(message)}`),
    '  This is a bug in whittle, not in what you did.',
    debug && stack !== undefined ? style.dim(stack) : '  Run it again with WHITTLE_DEBUG=1 to see where,',
    ...(debug ? [] : ['  and report the output with `whittle --version` and your command line.']),
  ];
  return {
    exitCode: EXIT.internal,
    text: lines.join('\n'),
    json: { error: { code: 'E_INTERNAL', message, exitCode: EXIT.internal, ...(debug ? { stack } : {}) } },
  };
}

/** Errors of the machine that escaped a layer without a code still are no bugs: a missing file stays a missing file. */
function asWhittleError(error: unknown): WhittleError | undefined {
  if (isWhittleError(error)) return error;
  if (!(error instanceof Error)) return undefined;
  if (error.name === 'AbortError') return new WhittleError('E_ABORTED', 'stopped', { cause: error });
  const code = 'code' in error ? error.code : undefined;
  const file = 'path' in error && typeof error.path === 'string' ? error.path : undefined;
  switch (code) {
    case 'ENOENT':
      return new WhittleError('E_NOT_FOUND', 'no such file', { file, cause: error });
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new WhittleError('E_ACCESS', 'access is denied', { file, cause: error });
    case 'ENOSPC':
    case 'EDQUOT':
      return new WhittleError('E_NO_SPACE', 'the disk is full', { file, cause: error });
    case 'EIO':
    case 'EMFILE':
    case 'ENFILE':
    case 'EISDIR':
    case 'ENOTDIR':
    case 'ENAMETOOLONG':
    case 'ELOOP':
      return new WhittleError('E_IO', error.message, { file, cause: error });
    default:
      return undefined;
  }
}
