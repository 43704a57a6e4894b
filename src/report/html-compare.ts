/**
 * The HTML report of `compare`: two models, their outputs, where between input and output they part, and how far each weight is
 * from the other model's. One file, readable offline.
 */

import {
  formatBytes,
  formatCosine,
  formatDecibels,
  formatDuration,
  formatMs,
  formatRatio,
  formatShortCount,
  formatValue,
} from './format.ts';
import { cosineGrade } from './grades.ts';
import { facts, htmlTable, noteList, renderPage } from './html.ts';
import { barsSvg, escapeXml, type Point, scatterSvg } from './svg.ts';

/** What the page shows of a `Comparison`. */
export interface ComparisonView {
  readonly a: { readonly file: string; readonly bytes: number };
  readonly b: { readonly file: string; readonly bytes: number };
  readonly weights: readonly WeightView[];
  readonly onlyInA: readonly string[];
  readonly onlyInB: readonly string[];
  readonly verification?:
    | {
        readonly runtime: string;
        readonly runtimeVersion: string;
        readonly outputs: readonly ErrorView[];
        readonly cosine: number;
        readonly msOriginal: number;
        readonly msResult: number;
        readonly inputs: string;
      }
    | undefined;
  readonly activations?:
    | {
        readonly compared: readonly ActivationView[];
        readonly differentSize: readonly string[];
        readonly samples: number;
        readonly data: { readonly description: string; readonly synthetic: boolean };
      }
    | undefined;
  readonly notes: readonly string[];
  readonly seconds: number;
}

interface ErrorView {
  readonly name: string;
  readonly sqnr: number;
  readonly cosine: number;
  readonly maxAbs: number;
}

interface WeightView extends ErrorView {
  readonly count: number;
  readonly formA: string;
  readonly formB: string;
}

interface ActivationView extends ErrorView {
  readonly nameB?: string | undefined;
  readonly opType: string;
  readonly weight?: string | undefined;
  readonly isOutput: boolean;
}

const MAX_BARS = 24;
const MAX_ROWS = 400;
const right = (title: string) => ({ title, className: 'n' });

export function comparePage(report: ComparisonView): string {
  const { a, b, verification, activations, weights } = report;
  const title = `${fileName(b.file)} beside ${fileName(a.file)}`;
  const differing = weights.filter(({ sqnr }) => sqnr !== Infinity);
  const body = [
    `<h1>${escapeXml(title)}</h1>`,
    verification === undefined
      ? ''
      : `<p class="sub">${escapeXml(`Outputs in ${verification.runtime} ${verification.runtimeVersion} on ${verification.inputs}`)}</p>`,
    facts([
      [formatBytes(a.bytes), fileName(a.file)],
      [formatBytes(b.bytes), fileName(b.file)],
      [formatRatio(b.bytes, a.bytes), 'of its size'],
      ...(verification === undefined
        ? []
        : ([
            [formatCosine(verification.cosine), 'cosine of the worst output'],
            [`${formatMs(verification.msOriginal)} → ${formatMs(verification.msResult)} ms`, 'per run'],
          ] as const)),
    ]),
    verification === undefined ? '' : outputSection(verification.outputs),
    activations === undefined ? '' : activationSection(activations),
    weightSection(differing, weights.length),
    onlySection(report),
    noteList(report.notes),
    `<p class="note">${escapeXml(`Measured in ${formatDuration(report.seconds)}.`)}</p>`,
  ];
  return renderPage(title, body.filter((part) => part !== '').join('\n'));
}

function fileName(path: string): string {
  return path.split(/[\\/]/).pop() ?? path;
}

function errorCells({ sqnr, cosine, maxAbs }: ErrorView): string[] {
  const grade = cosineGrade(cosine);
  return [
    escapeXml(formatDecibels(sqnr)),
    grade === 'none'
      ? escapeXml(formatCosine(cosine))
      : `<span class="${grade}">${escapeXml(formatCosine(cosine))}</span>`,
    escapeXml(formatValue(Number(maxAbs.toPrecision(4)))),
  ];
}

const ERROR_COLUMNS = [right('SQNR'), right('cosine'), right('largest difference')];

function outputSection(outputs: readonly ErrorView[]): string {
  const table = htmlTable(
    [{ title: 'output', className: 'name' }, ...ERROR_COLUMNS],
    outputs.map((output) => ({ cells: [escapeXml(output.name), ...errorCells(output)] })),
  );
  return `<h2>Outputs</h2><div class="card">${table}</div>`;
}

/** Values along the graph, then as a table with the worst first. */
function activationSection(activations: NonNullable<ComparisonView['activations']>): string {
  const { compared, data, samples, differentSize } = activations;
  const placed = compared.map((value, index) => ({ ...value, place: index + 1 }));
  const points = placed.map(
    ({ place, sqnr, name, weight, isOutput }): Point => ({
      x: place,
      y: sqnr,
      label: `${place}: ${name}, ${formatDecibels(sqnr)}`,
      series: weight === undefined ? 5 : 0,
      ...(isOutput ? { tag: name } : {}),
    }),
  );
  const worst = placed
    .filter(({ sqnr }) => sqnr !== Infinity)
    .sort((x, y) => (x.sqnr === y.sqnr ? x.place - y.place : x.sqnr - y.sqnr));
  const table = htmlTable(
    [
      { title: 'value, worst first', className: 'name' },
      right('place'),
      { title: 'computed by', className: 'nowrap' },
      { title: 'with', className: 'name' },
      ...ERROR_COLUMNS,
    ],
    worst.slice(0, MAX_ROWS).map((value) => ({
      cells: [
        escapeXml(value.nameB === undefined ? value.name : `${value.name} (${value.nameB})`),
        String(value.place),
        escapeXml(value.opType),
        escapeXml(value.weight ?? ''),
        ...errorCells(value),
      ],
    })),
  );
  const rest = worst.length - Math.min(worst.length, MAX_ROWS);
  const made = data.synthetic ? ' These inputs are made up: on real ones it may look otherwise.' : '';
  const finite = points.filter(({ y }) => Number.isFinite(y));
  return [
    '<h2>Where they part</h2>',
    finite.length < 2
      ? ''
      : `<div class="card"><ul class="key"><li>${dot(0)}product with a weight</li><li>${dot(5)}other value</li></ul>${scatterSvg('SQNR of each value in the order of the graph', finite, { xLabel: 'place in the graph', yLabel: 'SQNR in dB', height: 300 })}</div>`,
    `<p class="note">${escapeXml(`Values inside both models on ${data.description}, ${samples} runs: ${compared.length} compared, ${compared.length - worst.length} equal${differentSize.length === 0 ? '' : `, ${differentSize.length} of different size left out`}. Each carries the errors of all before it.${made}`)}</p>`,
    worst.length === 0
      ? ''
      : `<div class="card"><details${worst.length > 40 ? '' : ' open'}><summary>all ${worst.length} that differ</summary>${table}${rest > 0 ? `<p class="note">${rest} more are left out.</p>` : ''}</details></div>`,
  ]
    .filter((part) => part !== '')
    .join('\n');
}

function dot(series: number): string {
  return `<svg width="10" height="10" viewBox="0 0 10 10"><circle class="s${series}" cx="5" cy="5" r="5"/></svg>`;
}

function weightSection(differing: readonly WeightView[], all: number): string {
  if (all === 0) return '';
  const sorted = [...differing].sort((x, y) => x.sqnr - y.sqnr);
  const counted = `${all} weights compared, ${all - sorted.length} equal`;
  if (sorted.length === 0) return `<h2>Weights</h2><p class="note">${counted}.</p>`;
  const bars = sorted.slice(0, MAX_BARS).map(({ name, sqnr }) => ({
    label: name,
    value: Number.isFinite(sqnr) ? 10 ** (-sqnr / 20) : 1,
    text: formatDecibels(sqnr),
  }));
  const table = htmlTable(
    [
      { title: 'weight, worst first', className: 'name' },
      right('elements'),
      { title: 'in a', className: 'nowrap' },
      { title: 'in b', className: 'nowrap' },
      ...ERROR_COLUMNS,
    ],
    sorted.slice(0, MAX_ROWS).map((weight) => ({
      cells: [
        escapeXml(weight.name),
        escapeXml(formatShortCount(weight.count)),
        escapeXml(weight.formA),
        escapeXml(weight.formB),
        ...errorCells(weight),
      ],
    })),
  );
  return [
    '<h2>Weights</h2>',
    `<div class="card">${barsSvg('error of each weight', bars)}</div>`,
    `<p class="note">Bars: error relative to the weight (root mean square). ${counted}.</p>`,
    `<div class="card"><details${sorted.length > 40 ? '' : ' open'}><summary>all ${sorted.length} that differ</summary>${table}</details></div>`,
  ].join('\n');
}

function onlySection({ onlyInA, onlyInB, a, b }: ComparisonView): string {
  const part = (file: string, names: readonly string[]): string =>
    names.length === 0
      ? ''
      : `<details><summary>${names.length} only in ${escapeXml(fileName(file))}</summary>${noteList(names.slice(0, MAX_ROWS))}</details>`;
  const parts = part(a.file, onlyInA) + part(b.file, onlyInB);
  return parts === '' ? '' : `<h2>Without a counterpart</h2><div class="card">${parts}</div>`;
}
