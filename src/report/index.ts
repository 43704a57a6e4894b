/** What others use of the reports: tables and pages from plain data. */

export * from './format.ts';
export { cosineGrade, type Grade } from './grades.ts';
export { groupByLayer, type LayerGroup, layerOf, nameInLayer } from './groups.ts';
export { renderPage } from './html.ts';
export { inspectFilePage, inspectPage } from './html-inspect.ts';
export { quantizePage } from './html-quantize.ts';
export type * from './model-report.ts';
export {
  createProgressLine,
  type ProgressLine,
  type ProgressLineOptions,
  type ProgressStream,
} from './progress-line.ts';
export { sparkline } from './sparkline.ts';
export { type ColorChoice, createStyle, PLAIN, type Style, wantsColor } from './style.ts';
export {
  type Bar,
  barsSvg,
  escapeXml,
  type HistogramData,
  histogramSvg,
  type Point,
  type ScatterOptions,
  scatterSvg,
  sparkSvg,
} from './svg.ts';
export { type Column, renderTable, type TableGroup, type TableOptions, type TableRow } from './table.ts';
export { padEnd, padStart, safeName, textWidth, truncateMiddle } from './text.ts';
