/** The tables of README.md, made of the figures of a run: `npm run bench -- ggml gguf` keeps them beside its results. */

import type { GgmlFigure } from './ggml.ts';
import type { FileFigures } from './gguf.ts';

/** Encoders beside ggml's own. */
export function encoderTable(figures: readonly GgmlFigure[]): string {
  const types = [...new Set(figures.map(({ type }) => type))];
  const cells = (type: string, imatrix: boolean): string[] => {
    const found = figures.find((figure) => figure.type === type && figure.imatrix === imatrix);
    if (found === undefined) return ['–', '–', '–'];
    return [
      rate(found.ours),
      rate(found.library),
      `${times(found.ratio)}${found.identical ? '' : ' DIFFERS'}`,
    ];
  };
  return table(
    ['M weights/s on one thread', 'whittle', 'ggml', 'ratio', 'with importance: whittle', 'ggml', 'ratio'],
    types.map((type) => [`\`${type}\``, ...cells(type, false), ...cells(type, true)]),
  );
}

/** Whole files beside llama_model_quantize. */
export function fileTable(figures: Readonly<Record<string, FileFigures>>): string {
  return table(
    ['1.1 GB of f16 to', 'threads', 'whittle', 'llama_model_quantize', 'ratio', 'peak memory', 'same bytes'],
    Object.entries(figures).flatMap(([type, f]) => {
      const { library } = f;
      const same = library === undefined ? '–' : library.sameBytes === 1 ? 'yes' : 'NO';
      return [
        [
          type,
          '1',
          seconds(f.oneThreadSeconds),
          seconds(library?.oneThreadSeconds),
          times(library?.fasterOneThread),
          `${f.peakMB.toFixed(0)} MB, ${library?.peakMB.toFixed(0) ?? '–'} MB`,
          same,
        ],
        [
          type,
          '2',
          seconds(f.twoThreadsSeconds),
          seconds(library?.twoThreadsSeconds),
          times(library?.fasterTwoThreads),
          `${f.peakTwoThreadsMB.toFixed(0)} MB, ${library?.peakTwoThreadsMB.toFixed(0) ?? '–'} MB`,
          same,
        ],
      ];
    }),
  );
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function rate(weights: number): string {
  const millions = weights / 1e6;
  return millions >= 100 ? Math.round(millions).toLocaleString('en') : millions.toFixed(1);
}

function times(ratio: number | undefined): string {
  if (ratio === undefined) return '–';
  return `${ratio.toFixed(ratio >= 10 ? 0 : 1)}×`;
}

function seconds(value: number | undefined): string {
  return value === undefined ? '–' : `${value.toFixed(1)} s`;
}
