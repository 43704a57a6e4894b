/**
 * A table that fits the terminal. Every column is as wide as its widest cell; where that is too much, columns that may shrink
 * lose the middle of their text, the widest first, and if that is not enough, columns that may go are left out from
 * the right. In a pipe nothing is cut: other programs read it.
 */

import { PLAIN, type Style } from './style.ts';
import { padEnd, padStart, textWidth, truncateMiddle } from './text.ts';

export interface Column {
  readonly title: string;
  /** Figures stand right. Default: left. */
  readonly align?: 'left' | 'right' | undefined;
  /** May be shortened down to `min` columns; absent: never. */
  readonly min?: number | undefined;
  /** May be left out where the terminal is narrow: the highest goes first. */
  readonly drop?: number | undefined;
}

/** A heading across the table. */
export interface TableGroup {
  readonly heading: string;
}

export type TableRow = readonly string[] | TableGroup;

export interface TableOptions {
  /** Columns of the terminal; absent: no limit. */
  readonly width?: number | undefined;
  readonly style?: Style | undefined;
  /** Styles one cell after it was cut and padded. */
  readonly paint?: ((text: string, row: number, column: number) => string) | undefined;
}

const GAP = '  ';

/** Lines joined by line feeds; the cells must be printable already. */
export function renderTable(
  columns: readonly Column[],
  rows: readonly TableRow[],
  options: TableOptions = {},
): string {
  const style = options.style ?? PLAIN;
  const natural = columns.map((column, index) =>
    rows.reduce(
      (width, row) => Math.max(width, isGroup(row) ? 0 : textWidth(row[index] ?? '')),
      textWidth(column.title),
    ),
  );
  const shown = fitColumns(columns, natural, options.width);
  const line = (cells: readonly string[], paint?: (text: string, column: number) => string): string =>
    shown
      .map(({ index, width }) => {
        const cut = truncateMiddle(cells[index] ?? '', width);
        const padded = columns[index]?.align === 'right' ? padStart(cut, width) : padEnd(cut, width);
        return paint === undefined ? padded : paint(padded, index);
      })
      .join(GAP)
      .trimEnd();
  const lines: string[] = [];
  if (columns.some(({ title }) => title !== '')) {
    lines.push(
      line(
        columns.map(({ title }) => title),
        (text) => style.dim(text),
      ),
    );
  }
  rows.forEach((row, number) => {
    if (isGroup(row)) {
      const text = options.width === undefined ? row.heading : truncateMiddle(row.heading, options.width);
      lines.push(style.bold(text));
      return;
    }
    const paint = options.paint;
    lines.push(line(row, paint && ((text, column) => paint(text, number, column))));
  });
  return lines.join('\n');
}

function isGroup(row: TableRow): row is TableGroup {
  return !Array.isArray(row);
}

interface FittedColumn {
  readonly index: number;
  readonly width: number;
}

function fitColumns(
  columns: readonly Column[],
  natural: readonly number[],
  limit: number | undefined,
): FittedColumn[] {
  let fitted = columns.map((_, index) => ({ index, width: natural[index] ?? 0 }));
  if (limit === undefined) return fitted;
  const total = (): number =>
    fitted.reduce((sum, { width }) => sum + width, 0) + GAP.length * (fitted.length - 1);
  const minimum = (index: number): number => columns[index]?.min ?? natural[index] ?? 0;
  const shrunkTotal = (): number =>
    fitted.reduce((sum, { index, width }) => sum + Math.min(width, minimum(index)), 0) +
    GAP.length * (fitted.length - 1);
  while (shrunkTotal() > limit) {
    const last = fitted
      .filter(({ index }) => columns[index]?.drop !== undefined)
      .sort((a, b) => (columns[b.index]?.drop ?? 0) - (columns[a.index]?.drop ?? 0))[0];
    if (last === undefined) break;
    fitted = fitted.filter((column) => column !== last);
  }
  while (total() > limit) {
    const widest = fitted
      .filter(({ index, width }) => width > minimum(index))
      .sort((a, b) => b.width - minimum(b.index) - (a.width - minimum(a.index)))[0];
    if (widest === undefined) break;
    widest.width -= 1;
  }
  return fitted;
}
