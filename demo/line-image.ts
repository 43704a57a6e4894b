/**
 * A line of text as an image, on any machine: an SVG drawn by resvg (WebAssembly) with DejaVu Sans, which an npm package
 * ships, because a bare machine has no font at all. The picture is made larger than the model's input, so that the
 * resampling of `ocr.ts` is really at work, as it is with a photograph.
 */

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { initWasm, Resvg } from '@resvg/resvg-wasm';

export interface RgbaImage {
  readonly width: number;
  readonly height: number;
  /** Row-major, four bytes per pixel. */
  readonly pixels: Uint8Array;
  /** The same picture as a PNG file. */
  readonly png: Uint8Array;
}

const FONT_SIZE = 60;
const MARGIN = 24;

const require = createRequire(import.meta.url);
let ready: Promise<void> | undefined;

/** Draws `text`, dark on white, on one line. */
export async function drawLine(text: string): Promise<RgbaImage> {
  ready ??= readFile(require.resolve('@resvg/resvg-wasm/index_bg.wasm')).then(initWasm);
  await ready;
  const font = await readFile(require.resolve('dejavu-fonts-ttf/ttf/DejaVuSans.ttf'));
  const options = { font: { fontBuffers: [font], defaultFontFamily: 'DejaVu Sans' } };
  const style = `font-family="DejaVu Sans" font-size="${FONT_SIZE}" fill="#1b1b1f"`;
  const body = `<text x="${MARGIN}" y="${MARGIN + FONT_SIZE * 0.8}" ${style}>${escapeXml(text)}</text>`;
  const height = FONT_SIZE + 2 * MARGIN;
  const svg = (width: number) =>
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">` +
    `<rect width="100%" height="100%" fill="#ffffff"/>${body}</svg>`;

  // The width of the text is known only to the font: measure first, on a canvas without its white ground.
  const probe = new Resvg(
    `<svg xmlns="http://www.w3.org/2000/svg" width="9999" height="200">${body}</svg>`,
    options,
  );
  const box = probe.getBBox();
  if (box === undefined) throw new Error(`The font draws nothing for "${text}".`);
  const width = Math.ceil(box.x + box.width + MARGIN);
  box.free();
  probe.free();

  const renderer = new Resvg(svg(width), options);
  const image = renderer.render();
  const result = { width: image.width, height: image.height, pixels: image.pixels, png: image.asPng() };
  image.free();
  renderer.free();
  return result;
}

function escapeXml(text: string): string {
  return text.replace(/[<>&"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
