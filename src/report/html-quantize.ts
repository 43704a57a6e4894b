/** The HTML report of `quantize`: sizes, similarity and speed of every result, and the error of every layer. */

import {
  formatBytes,
  formatCosine,
  formatDecibels,
  formatDuration,
  formatMs,
  formatRatio,
  formatValue,
} from './format.ts';
import { cosineGrade } from './grades.ts';
import { facts, htmlTable, noteList, renderPage } from './html.ts';
import type { CompressionView, LayerError, LossRow, ResultRow } from './model-report.ts';
import { barsSvg, escapeXml, SERIES_COLORS, scatterSvg } from './svg.ts';

const MAX_LAYERS = 300;
const MAX_POINTS = 4000;
const MIN_ELEMENTS = 16;

export function quantizePage(view: CompressionView): string {
  const best = view.results.reduce<ResultRow | undefined>(
    (a, b) => (a === undefined || b.bytes < a.bytes ? b : a),
    undefined,
  );
  const body = [
    `<h1>${escapeXml(view.title)}</h1>`,
    `<p class="sub">${escapeXml(view.input)}</p>`,
    facts([
      [formatBytes(view.inputBytes), 'original'],
      ...(best === undefined
        ? []
        : [
            [
              `${formatBytes(best.bytes)}`,
              `smallest (${best.mode}), ${formatRatio(best.bytes, view.inputBytes)}`,
            ] as const,
          ]),
      [String(view.results.length), view.results.length === 1 ? 'result' : 'results'],
      ...(view.seconds === undefined ? [] : [[formatDuration(view.seconds), 'time taken'] as const]),
    ]),
    `<h2>Results</h2><div class="card">${resultTable(view)}</div>`,
    view.runtime === undefined
      ? ''
      : `<p class="note">${escapeXml(`Run in ${view.runtime}${view.inputs === undefined ? '' : ` on ${view.inputs}`}. Cosine and SQNR compare the worst output with the original's.`)}</p>`,
    `<h2>Size</h2><div class="card">${sizes(view)}</div>`,
    tradeOff(view),
    layerScatter(view),
    ...view.results.map(resultDetails),
    view.skipped.length === 0
      ? ''
      : `<h2>Left out</h2>${noteList(view.skipped.map(({ mode, reason }) => `${mode}: ${reason}`))}`,
  ];
  return renderPage(view.title, body.filter((part) => part !== '').join('\n'));
}

function resultTable(view: CompressionView): string {
  const extras = [...new Set(view.results.flatMap(({ extra }) => Object.keys(extra ?? {})))];
  const measured = view.results.some(({ weightSqnr }) => weightSqnr !== undefined);
  const run = view.results.some(({ cosine }) => cosine !== undefined);
  const columns = [
    { title: 'file', className: 'name' },
    { title: 'mode', className: 'nowrap' },
    { title: 'size', className: 'n' },
    { title: 'of original', className: 'n' },
    ...(measured ? [{ title: 'weight SQNR', className: 'n' }] : []),
    ...(run
      ? [
          { title: 'output cosine', className: 'n' },
          { title: 'output SQNR', className: 'n' },
          { title: 'ms per run', className: 'n' },
        ]
      : []),
    ...extras.map((title) => ({ title })),
  ];
  const original = {
    className: 'original',
    cells: [
      escapeXml(fileName(view.input)),
      'original',
      escapeXml(formatBytes(view.inputBytes)),
      '100 %',
      ...(measured ? [''] : []),
      ...(run ? ['', '', view.msOriginal === undefined ? '' : escapeXml(formatMs(view.msOriginal))] : []),
      ...extras.map((title) => escapeXml(view.extra?.[title] ?? '')),
    ],
  };
  const rows = view.results.map((result) => ({
    cells: [
      escapeXml(fileName(result.file)),
      escapeXml(result.mode),
      escapeXml(formatBytes(result.bytes)),
      escapeXml(formatRatio(result.bytes, view.inputBytes)),
      ...(measured ? [escapeXml(formatDecibels(result.weightSqnr))] : []),
      ...(run
        ? [
            `<span class="${cosineGrade(result.cosine)}">${escapeXml(formatCosine(result.cosine))}</span>`,
            escapeXml(formatDecibels(result.outputSqnr)),
            result.ms === undefined ? '–' : escapeXml(formatMs(result.ms)),
          ]
        : []),
      ...extras.map((title) => escapeXml(result.extra?.[title] ?? '')),
    ],
  }));
  return htmlTable(columns, [original, ...rows]);
}

function fileName(path: string): string {
  return path.split(/[\\/]/).pop() ?? path;
}

function sizes(view: CompressionView): string {
  return barsSvg('size of each file', [
    { label: 'original', value: view.inputBytes, text: formatBytes(view.inputBytes) },
    ...view.results.map(({ mode, bytes }) => ({
      label: mode,
      value: bytes,
      text: `${formatBytes(bytes)} · ${formatRatio(bytes, view.inputBytes)}`,
      emphasis: true,
    })),
  ]);
}

/** Size against similarity, where there are enough results to choose from. */
function tradeOff(view: CompressionView): string {
  const points = view.results.flatMap(({ mode, bytes, outputSqnr, cosine }, series) =>
    outputSqnr === undefined || !Number.isFinite(outputSqnr)
      ? []
      : [
          {
            x: bytes / 2 ** 20,
            y: outputSqnr,
            label: `${mode}: ${formatBytes(bytes)}, ${formatDecibels(outputSqnr)}, cosine ${formatCosine(cosine)}`,
            series,
            tag: mode,
          },
        ],
  );
  if (points.length < 2) return '';
  return `<h2>What each saving costs</h2><div class="card">${scatterSvg('size against similarity of the outputs', points, { xLabel: 'size in MiB', yLabel: 'output SQNR in dB', height: 260 })}</div>`;
}

function layerScatter(view: CompressionView): string {
  const points = view.results.flatMap(({ mode, layers }, series) =>
    worst(
      // Constants of a few numbers would stretch the axis for nothing.
      layers.filter(({ count }) => count >= MIN_ELEMENTS),
      Math.ceil(MAX_POINTS / view.results.length),
    ).flatMap(({ tensor, count, sqnr }) =>
      Number.isFinite(sqnr)
        ? [{ x: count, y: sqnr, label: `${mode} ${tensor}: ${formatDecibels(sqnr)}`, series }]
        : [],
    ),
  );
  if (points.length < 3) return '';
  return `<h2>Error of each layer</h2><div class="card">${key(view.results)}${scatterSvg('signal-to-noise ratio of each weight', points, { xLabel: 'elements', yLabel: 'weight SQNR in dB', logX: true })}</div>`;
}

function key(results: readonly ResultRow[]): string {
  return `<ul class="key">${results
    .map(
      ({ mode }, index) =>
        `<li><svg width="10" height="10" viewBox="0 0 10 10" aria-hidden="true"><circle class="s${index % SERIES_COLORS}" cx="5" cy="5" r="5"/></svg>${escapeXml(mode)}</li>`,
    )
    .join('')}</ul>`;
}

function worst(layers: readonly LayerError[], limit: number): LayerError[] {
  return [...layers].sort((a, b) => a.sqnr - b.sqnr).slice(0, limit);
}

/** What was kept so that no more is lost, and what was tried. */
function lossDetails({ text, unit, kept, tries }: LossRow): string {
  const layers = htmlTable(
    [
      { title: 'kept as it was, worst first', className: 'name' },
      { title: 'bytes more', className: 'n' },
    ],
    kept.map(({ layer, bytes }) => ({ cells: [escapeXml(layer), String(bytes)] })),
  );
  const tried = htmlTable(
    [
      { title: 'layers kept', className: 'n' },
      { title: `loss in ${unit}`, className: 'n' },
    ],
    tries.map((each) => ({ cells: [String(each.kept), escapeXml(formatValue(each.loss))] })),
  );
  return `<p>${escapeXml(text)}</p>${kept.length > 0 ? layers : ''}<details><summary>${tries.length} tried</summary>${tried}</details>`;
}

function resultDetails(result: ResultRow): string {
  const layers = worst(result.layers, MAX_LAYERS);
  const outputs = htmlTable(
    [
      { title: 'output', className: 'name' },
      { title: 'cosine', className: 'n' },
      { title: 'SQNR', className: 'n' },
      { title: 'largest difference', className: 'n' },
    ],
    result.outputs.map(({ name, cosine, sqnr, maxAbs }) => ({
      cells: [
        escapeXml(name),
        `<span class="${cosineGrade(cosine)}">${escapeXml(formatCosine(cosine))}</span>`,
        escapeXml(formatDecibels(sqnr)),
        escapeXml(formatValue(maxAbs)),
      ],
    })),
  );
  const table = htmlTable(
    [
      { title: 'weight, worst first', className: 'name' },
      { title: 'elements', className: 'n' },
      { title: 'SQNR', className: 'n' },
      { title: 'largest error', className: 'n' },
    ],
    layers.map(({ tensor, count, sqnr, maxAbs }) => ({
      cells: [
        escapeXml(tensor),
        String(count),
        escapeXml(formatDecibels(sqnr)),
        maxAbs === undefined ? '–' : escapeXml(formatValue(maxAbs)),
      ],
    })),
  );
  const parts = [
    result.outputs.length > 0 ? outputs : '',
    layers.length > 0
      ? `<details><summary>${result.layers.length} weights${layers.length < result.layers.length ? `, the ${layers.length} worst` : ''}</summary>${table}</details>`
      : '',
    result.loss === undefined ? '' : lossDetails(result.loss),
    noteList(result.notes),
  ].filter((part) => part !== '');
  if (parts.length === 0) return '';
  return `<h2>${escapeXml(result.mode)}</h2><div class="card">${parts.join('\n')}</div>`;
}
