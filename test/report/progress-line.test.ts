import { describe, expect, test } from 'vitest';
import { createProgressLine } from '../../src/report/progress-line.ts';
import { PLAIN } from '../../src/report/style.ts';

function fakeStream(isTTY: boolean, columns = 80) {
  const written: string[] = [];
  return { isTTY, columns, written, write: (text: string) => written.push(text) };
}

function clock() {
  let now = 0;
  return { now: () => now, advance: (ms: number) => (now += ms) };
}

describe('progress', () => {
  test('on a terminal: one line that rewrites itself, with bytes, rate and time left', () => {
    const stream = fakeStream(true, 120);
    const { now, advance } = clock();
    const line = createProgressLine(stream, PLAIN, { now });
    line.onProgress({ phase: 'quantizing', bytesDone: 0, bytesTotal: 2 ** 30 });
    advance(1000);
    line.onProgress({ phase: 'quantizing', bytesDone: 2 ** 28, bytesTotal: 2 ** 30, tensor: 'w\u001b[2J' });
    const last = stream.written.at(-1) ?? '';
    expect(last.startsWith('\r\u001b[2Kquantizing ')).toBe(true);
    expect(last).toContain('25 %  256 MiB of 1.00 GiB  256 MiB/s  3.0 s left');
    expect(last).toContain('w\\u001b[2J');
    expect(last).not.toContain('\n');
    line.clear();
    expect(stream.written.at(-1)).toBe('\r\u001b[2K');
  });

  test('redraws at most every 80 ms', () => {
    const stream = fakeStream(true);
    const { now, advance } = clock();
    const line = createProgressLine(stream, PLAIN, { now });
    for (let i = 0; i < 100; i++) {
      line.onProgress({ phase: 'quantizing', bytesDone: i, bytesTotal: 1000 });
      advance(1);
    }
    expect(stream.written.length).toBe(2);
  });

  test('in a pipe: silent', () => {
    const stream = fakeStream(false);
    const line = createProgressLine(stream, PLAIN);
    line.onProgress({ phase: 'quantizing', bytesDone: 5, bytesTotal: 10 });
    line.status('verifying');
    line.clear();
    expect(stream.written).toEqual([]);
  });

  test('in a pipe with --verbose: a line for each tenth', () => {
    const stream = fakeStream(false);
    const line = createProgressLine(stream, PLAIN, { verbose: true });
    for (let done = 0; done <= 1000; done++)
      line.onProgress({ phase: 'quantizing', bytesDone: done, bytesTotal: 1000 });
    expect(stream.written).toHaveLength(11);
    expect(stream.written.at(-1)).toBe('quantizing 100 % of 0.98 KiB\n');
  });

  test('a phase without an end in sight shows no bar', () => {
    const stream = fakeStream(true);
    const line = createProgressLine(stream, PLAIN);
    line.onProgress({ phase: 'proving q4', bytesDone: 10, bytesTotal: 10 });
    expect(stream.written).toEqual(['\r\u001b[2Kproving q4 …']);
  });

  test('--quiet silences both', () => {
    const stream = fakeStream(true);
    const line = createProgressLine(stream, PLAIN, { verbose: true, quiet: true });
    line.onProgress({ phase: 'quantizing', bytesDone: 5, bytesTotal: 10 });
    expect(stream.written).toEqual([]);
  });
});
