/**
 * Progress on a terminal: one line that rewrites itself with a bar, bytes done, rate and time left. Where the stream is no
 * terminal nothing is written, unless `verbose`: then a line for each tenth. The rate is averaged over the last
 * seconds, so that the time left follows a disk that slows down.
 */

import type { OnProgress } from '../core/progress.ts';
import { printable } from '../errors.ts';
import { formatBytes, formatDuration, formatRate } from './format.ts';
import type { Style } from './style.ts';
import { textWidth, truncateMiddle } from './text.ts';

export interface ProgressStream {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

export interface ProgressLine {
  readonly onProgress: OnProgress;
  /** A phase whose end is not known: verifying, timing. */
  status(text: string): void;
  /** Wipes the line; progress may go on afterwards. */
  clear(): void;
}

export interface ProgressLineOptions {
  readonly verbose?: boolean | undefined;
  readonly quiet?: boolean | undefined;
  /** Milliseconds, monotonic; for tests. */
  readonly now?: (() => number) | undefined;
}

const REDRAW_MS = 80;
const RATE_WINDOW_MS = 4000;
const BAR_WIDTH = 24;
const PARTS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'] as const;

export function createProgressLine(
  stream: ProgressStream,
  style: Style,
  options: ProgressLineOptions = {},
): ProgressLine {
  const now = options.now ?? (() => performance.now());
  const live = stream.isTTY === true && options.quiet !== true;
  const plain = !live && options.verbose === true && options.quiet !== true;
  let drawn = false;
  let lastDraw = -Infinity;
  let lastTenth = -1;
  let phase = '';
  let samples: { at: number; bytes: number }[] = [];

  const draw = (text: string): void => {
    const width = Math.max(20, (stream.columns ?? 80) - 1);
    const cut = textWidth(text) > width ? truncateMiddle(text, width) : text;
    stream.write(`\r\u001b[2K${cut}`);
    drawn = true;
  };

  const rate = (at: number, bytes: number): number => {
    samples.push({ at, bytes });
    while (samples.length > 2 && at - samples[0]!.at > RATE_WINDOW_MS) samples.shift();
    const first = samples[0]!;
    return at > first.at ? ((bytes - first.bytes) * 1000) / (at - first.at) : Number.NaN;
  };

  const status = (text: string): void => {
    if (live) draw(style.dim(`${text} …`));
    else if (plain) stream.write(`${text}\n`);
  };

  return {
    onProgress(progress) {
      if (!live && !plain) return;
      const at = now();
      const begins = progress.phase !== phase;
      if (begins) {
        phase = progress.phase;
        samples = [];
        lastTenth = -1;
      }
      // A phase that begins complete, or has nothing to count, is one whose end is not known: running a model.
      if (begins && progress.bytesDone >= progress.bytesTotal) {
        status(phase);
        return;
      }
      const share = progress.bytesTotal > 0 ? Math.min(1, progress.bytesDone / progress.bytesTotal) : 1;
      if (plain) {
        const tenth = Math.floor(share * 10);
        if (tenth <= lastTenth) return;
        lastTenth = tenth;
        stream.write(`${phase} ${tenth * 10} % of ${formatBytes(progress.bytesTotal)}\n`);
        return;
      }
      if (at - lastDraw < REDRAW_MS && share < 1) return;
      lastDraw = at;
      const speed = rate(at, progress.bytesDone);
      const left = speed > 0 ? (progress.bytesTotal - progress.bytesDone) / speed : Number.NaN;
      const figures = [
        `${Math.floor(share * 100)} %`.padStart(5),
        `${formatBytes(progress.bytesDone)} of ${formatBytes(progress.bytesTotal)}`,
        ...(Number.isFinite(speed) ? [formatRate(speed)] : []),
        ...(Number.isFinite(left) && share < 1 ? [`${formatDuration(left)} left`] : []),
      ].join('  ');
      const head = `${phase} `;
      const width = Math.max(20, (stream.columns ?? 80) - 1);
      // The name gets what room is left; the bar goes before a figure is cut.
      const room = width - textWidth(`${head}${bar(share)} ${figures}  `);
      const shown =
        progress.tensor === undefined || room < 8 ? '' : truncateMiddle(printable(progress.tensor), room);
      if (room < -2) draw(`${head}${figures}`);
      else draw(`${head}${style.cyan(bar(share))} ${figures}${shown === '' ? '' : `  ${style.dim(shown)}`}`);
    },
    status,
    clear() {
      if (drawn) stream.write('\r\u001b[2K');
      drawn = false;
    },
  };
}

function bar(share: number): string {
  const eighths = Math.round(share * BAR_WIDTH * 8);
  const full = Math.floor(eighths / 8);
  const part = PARTS[eighths % 8] ?? '';
  return `${'█'.repeat(full)}${part}`.padEnd(BAR_WIDTH, '·');
}
