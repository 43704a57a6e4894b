/**
 * Colours of the terminal, chosen once: where the stream is a terminal and nobody objects (NO_COLOR, TERM=dumb, --color never).
 * Sources: no-color.org, ECMA-48 SGR.
 */

export interface Style {
  readonly color: boolean;
  bold(text: string): string;
  dim(text: string): string;
  red(text: string): string;
  green(text: string): string;
  yellow(text: string): string;
  cyan(text: string): string;
}

export function createStyle(color: boolean): Style {
  const wrap =
    (open: number, close: number) =>
    (text: string): string =>
      color && text !== '' ? `\u001b[${open}m${text}\u001b[${close}m` : text;
  return {
    color,
    bold: wrap(1, 22),
    dim: wrap(2, 22),
    red: wrap(31, 39),
    green: wrap(32, 39),
    yellow: wrap(33, 39),
    cyan: wrap(36, 39),
  };
}

export const PLAIN: Style = createStyle(false);

export type ColorChoice = 'auto' | 'always' | 'never';

/** Whether a stream gets colours. FORCE_COLOR and `always` win over everything, NO_COLOR over the terminal. */
export function wantsColor(
  choice: ColorChoice,
  isTerminal: boolean,
  environment: Readonly<Record<string, string | undefined>>,
): boolean {
  if (choice !== 'auto') return choice === 'always';
  if (environment.NO_COLOR) return false;
  const force = environment.FORCE_COLOR;
  if (force !== undefined && force !== '' && force !== '0') return true;
  return isTerminal && environment.TERM !== 'dumb';
}
