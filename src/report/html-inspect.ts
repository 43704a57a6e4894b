/** The HTML report of `inspect`: what the model is, what suits it, and the distribution of every weight. */

import { formatShape } from '../core/shape.ts';
import {
  formatBytes,
  formatCount,
  formatPercent,
  formatRatio,
  formatShortCount,
  formatValue,
} from './format.ts';
import { groupByLayer } from './groups.ts';
import { facts, htmlTable, noteList, renderPage } from './html.ts';
import type { FileReport, ModelReport, TensorReport, TensorStatistics } from './model-report.ts';
import { barsSvg, escapeXml, histogramSvg, scatterSvg, sparkSvg } from './svg.ts';

/** Rows that a browser still shows at once; the largest tensors are kept. */
const MAX_ROWS = 3000;
const MAX_DETAILS = 400;

export function inspectPage(report: ModelReport): string {
  const body = [
    `<h1>${escapeXml(report.file)}</h1>`,
    `<p class="sub">${escapeXml(describe(report))}</p>`,
    facts([
      [
        formatBytes(report.bytes),
        report.externalBytes > 0 ? `of it ${formatBytes(report.externalBytes)} external` : 'file size',
      ],
      [formatShortCount(report.parameters), 'parameters'],
      [formatCount(report.tensors.length), 'weight tensors'],
      [formatCount(computingNodes(report)), 'operators'],
      [report.opsets.map(({ version }) => version).join(' / ') || '–', 'opset'],
    ]),
    modes(report),
    operators(report),
    ...tensorSections(report.tensors),
    report.notes.length > 0 ? `<h2>Notes</h2>${noteList(report.notes)}` : '',
  ];
  return renderPage(`${report.file} – whittle inspect`, body.filter((part) => part !== '').join('\n'));
}

/** The page of a file of tensors and metadata, without a graph (GGUF). */
export function inspectFilePage(report: FileReport): string {
  const body = [
    `<h1>${escapeXml(report.file)}</h1>`,
    `<p class="sub">${escapeXml(report.description)}</p>`,
    facts(report.facts),
    report.types.length === 0
      ? ''
      : `<h2>What the types take</h2><div class="card">${barsSvg(
          'size by type',
          report.types.map(({ type, tensors, bytes }) => ({
            label: type,
            value: bytes,
            text: `${formatBytes(bytes)} in ${formatCount(tensors)}`,
          })),
        )}</div>`,
    ...tensorSections(report.tensors),
    '<h2>Metadata</h2>',
    `<div class="card">${htmlTable(
      [{ title: 'key', className: 'name' }, { title: 'type' }, { title: 'value' }],
      report.metadata.map(({ key, type, value }) => ({
        cells: [escapeXml(key), escapeXml(type), escapeXml(value)],
      })),
    )}</div>`,
    report.notes.length > 0 ? `<h2>Notes</h2>${noteList(report.notes)}` : '',
  ];
  return renderPage(`${report.file} – whittle inspect`, body.filter((part) => part !== '').join('\n'));
}

function tensorSections(tensors: readonly TensorReport[]): string[] {
  const shown = largest(tensors, MAX_ROWS);
  return [
    spread(shown),
    '<h2>Weights</h2>',
    shown.length < tensors.length
      ? `<p class="note">The ${formatCount(shown.length)} largest of ${formatCount(tensors.length)} tensors.</p>`
      : '',
    `<div class="card">${weights(shown)}</div>`,
    details(tensors),
  ];
}

function describe(report: ModelReport): string {
  return [
    report.producer === '' ? undefined : `written by ${report.producer}`,
    report.irVersion === undefined ? undefined : `IR ${report.irVersion}`,
    `inputs ${report.inputs.join(', ') || 'none'}`,
    `outputs ${report.outputs.join(', ') || 'none'}`,
  ]
    .filter((part) => part !== undefined)
    .join(' · ');
}

function largest(tensors: readonly TensorReport[], limit: number): readonly TensorReport[] {
  if (tensors.length <= limit) return tensors;
  const kept = new Set([...tensors].sort((a, b) => b.bytes - a.bytes).slice(0, limit));
  return tensors.filter((tensor) => kept.has(tensor));
}

function modes(report: ModelReport): string {
  if (report.modes.length === 0) return '';
  const suiting = report.modes.filter(({ suits, bytes }) => suits && bytes !== undefined);
  const unfit = report.modes.filter(({ suits }) => !suits);
  const bars = [
    { label: 'as it is', value: report.bytes, text: formatBytes(report.bytes) },
    ...suiting.map(({ mode, bytes = 0 }) => ({
      label: mode,
      value: bytes,
      text: `${formatBytes(bytes)} · ${formatRatio(bytes, report.bytes)}`,
      emphasis: true,
    })),
  ];
  return (
    `<h2>What the modes would make of it</h2><div class="card">${barsSvg('size by mode', bars)}` +
    noteList(reasons(unfit)) +
    '</div>'
  );
}

/** One line for each reason, since modes of one family usually share theirs. */
function reasons(unfit: ModelReport['modes']): string[] {
  const modesOf = new Map<string, string[]>();
  for (const { mode, reason } of unfit) {
    // The reason begins with the mode, which the line names anyway.
    const own = reason?.replace(`${mode} would change`, 'would change') ?? 'does not suit this model';
    modesOf.set(own, [...(modesOf.get(own) ?? []), mode]);
  }
  return [...modesOf].map(([reason, modes]) => `${modes.join(', ')}: ${reason}`);
}

/** Constant nodes hold data and compute nothing. */
function computingNodes({ operators }: ModelReport): number {
  return operators.reduce((sum, { opType, count }) => sum + (opType === 'Constant' ? 0 : count), 0);
}

function operators(report: ModelReport): string {
  // Constant nodes hold data and compute nothing.
  const computing = report.operators.filter(({ opType }) => opType !== 'Constant');
  const top = computing.slice(0, 14);
  if (top.length === 0) return '';
  const rest = computing.slice(14).reduce((sum, { count }) => sum + count, 0);
  const bars = top.map(({ opType, count }) => ({ label: opType, value: count, text: formatCount(count) }));
  if (rest > 0) bars.push({ label: 'others', value: rest, text: formatCount(rest) });
  return `<h2>Operators</h2><div class="card">${barsSvg('operators', bars)}</div>`;
}

/** Outliers decide what four bits cost: the tensors far up need care. */
function spread(tensors: readonly TensorReport[]): string {
  const points = tensors.flatMap(({ name, count, statistics }) =>
    statistics === undefined || statistics.std === 0 || count < 16
      ? []
      : [
          {
            x: count,
            y: statistics.absMax / statistics.std,
            label: `${name}: ${formatValue(statistics.absMax / statistics.std)} σ`,
          },
        ],
  );
  if (points.length < 3) return '';
  return (
    '<h2>How far the largest value stands out</h2>' +
    '<p class="note">The higher a tensor stands, the more of its range goes to a few values, and the more it loses at few bits with one scale.</p>' +
    `<div class="card">${scatterSvg('largest magnitude in standard deviations', points, { xLabel: 'elements', yLabel: 'largest magnitude / σ', logX: true })}</div>`
  );
}

function weights(tensors: readonly TensorReport[]): string {
  const columns = [
    { title: 'tensor', className: 'name' },
    { title: 'shape', className: 'nowrap' },
    { title: 'type' },
    { title: 'size', className: 'n' },
    { title: 'min', className: 'n' },
    { title: 'max', className: 'n' },
    { title: 'mean', className: 'n' },
    { title: 'std', className: 'n' },
    { title: 'outliers', className: 'n' },
    { title: 'distribution' },
  ];
  const rows = groupByLayer(tensors, ({ name }) => name).flatMap(({ layer, members }) => [
    ...(layer === ''
      ? []
      : [`${layer} · ${formatBytes(members.reduce((sum, { bytes }) => sum + bytes, 0))}`]),
    ...members.map((tensor) => ({ cells: weightCells(tensor) })),
  ]);
  return htmlTable(columns, rows);
}

function weightCells(tensor: TensorReport): string[] {
  const { statistics } = tensor;
  const value = (x: number | undefined): string => (x === undefined ? '' : escapeXml(formatValue(x)));
  return [
    escapeXml(tensor.name),
    escapeXml(formatShape(tensor.shape)),
    tensor.dtype,
    escapeXml(formatBytes(tensor.bytes)),
    value(statistics?.min),
    value(statistics?.max),
    value(statistics?.mean),
    value(statistics?.std),
    statistics === undefined ? '' : escapeXml(formatPercent(statistics.outliers)),
    statistics === undefined ? escapeXml(tensor.problem ?? '') : sparkSvg(statistics.histogram),
  ];
}

function details(tensors: readonly TensorReport[]): string {
  const measured = largest(
    tensors.filter(({ statistics }) => statistics !== undefined),
    MAX_DETAILS,
  );
  if (measured.length === 0) return '';
  const parts = measured.map(({ name, shape, dtype, uses, statistics }) =>
    statistics === undefined
      ? ''
      : `<details><summary><code>${escapeXml(name)}</code><span class="sub">${escapeXml(`${formatShape(shape)} ${dtype}`)}</span></summary>` +
        `${histogramSvg(statistics.histogram)}${definitions(statistics, uses ?? [])}</details>`,
  );
  return `<h2>One by one</h2><div class="card">${parts.join('\n')}</div>`;
}

function definitions(statistics: TensorStatistics, uses: readonly string[]): string {
  const items: [string, string][] = [
    ['minimum', formatValue(statistics.min)],
    ['maximum', formatValue(statistics.max)],
    ['mean', formatValue(statistics.mean)],
    ['standard deviation', formatValue(statistics.std)],
    ['zeros', formatCount(statistics.zeros)],
    ['outliers (> 6 σ)', formatPercent(statistics.outliers, 4)],
  ];
  if (statistics.skewness !== undefined) items.push(['skewness', formatValue(statistics.skewness)]);
  if (statistics.kurtosis !== undefined) items.push(['excess kurtosis', formatValue(statistics.kurtosis)]);
  if (statistics.effectiveBits !== undefined)
    items.push(['effective bits', statistics.effectiveBits.toFixed(1)]);
  for (const [percentile, value] of Object.entries(statistics.percentiles ?? {})) {
    items.push([`percentile ${percentile}`, formatValue(value)]);
  }
  if (statistics.nan > 0) items.push(['NaN', formatCount(statistics.nan)]);
  if (statistics.infinite > 0) items.push(['infinite', formatCount(statistics.infinite)]);
  if (uses.length > 0) items.push(['read by', uses.slice(0, 8).join(', ')]);
  return `<dl>${items.map(([term, value]) => `<div><dt>${escapeXml(term)}</dt><dd>${escapeXml(value)}</dd></div>`).join('')}</dl>`;
}
