/**
 * A folder of pictures, decoded by sharp, an optional peer that is imported when the first folder is opened. Pictures in
 * subfolders are labelled: the classes are the subfolders in the order of their names. Each picture is turned upright as its
 * camera says, its alpha channel dropped, then resized and normalized as the preparation says.
 */

import { join } from 'node:path';
import { DTYPES } from '../../core/dtype.ts';
import { WhittleError } from '../../errors.ts';
import { ioError } from '../../io/file-source.ts';
import { loadError } from '../../runtime/onnxruntime-tensors.ts';
import type { RuntimeTensor, RuntimeValueInfo } from '../../runtime/runtime.ts';
import { describeInput } from './complete-inputs.ts';
import type { ImagesSpec } from './data-spec.ts';
import { checkPreparation, type ImagePreparation, readPreparation } from './image-preparation.ts';
import { imageChannelAxis } from './input-shapes.ts';
import { type RowSource, unknownInput } from './rows.ts';
import { makeTensor } from './tensor-values.ts';

export const IMAGE_NAME = /\.(jpe?g|png|webp|gif|avif|tiff?|svg)$/i;

interface Target {
  readonly input: RuntimeValueInfo;
  readonly width: number;
  readonly height: number;
  readonly channels: 'rgb' | 'bgr' | 'gray';
  readonly layout: 'nchw' | 'nhwc';
  readonly preparation: ImagePreparation;
}

/**
 * @throws WhittleError E_USAGE where the model takes no picture or its size is not known, E_EMPTY where the folder holds none,
 * E_MISSING_PEER; while it is walked E_DATA with the name of a picture that cannot be decoded
 */
export async function imageRows(spec: ImagesSpec, inputs: readonly RuntimeValueInfo[]): Promise<RowSource> {
  const { folder } = spec;
  const notes: string[] = [];
  const preparation =
    typeof spec.preparation === 'string'
      ? await readPreparation(spec.preparation)
      : checkPreparation(spec.preparation ?? {});
  const target = resolveTarget(inputs, preparation, folder);
  if (spec.preparation === undefined && target.input.dtype !== 'uint8') {
    notes.push(
      'No preprocessing is described: pixels are stretched to size and scaled to 0…1, without mean and deviation.',
    );
  }
  const { files, classes } = await listImages(folder);
  if (files.length === 0) {
    throw new WhittleError('E_EMPTY', 'the folder holds no pictures', {
      file: folder,
      expected: '.jpg, .png, .webp, .gif, .avif, .tiff or .svg, or subfolders of them',
    });
  }
  if (classes.length > 0) {
    const named = classes.slice(0, 20).map((name, label) => `${label} = ${name}`);
    notes.push(`Labels: ${named.join(', ')}${classes.length > 20 ? ', …' : ''}.`);
  }
  const sharp = await peer();
  return {
    file: folder,
    count: files.length,
    unit: 'image',
    notes,
    start: 'random',
    async read(index) {
      const { file, label } = files[index] ?? { file: folder, label: undefined };
      return { values: new Map([[target.input.name, await decode(sharp, file, target)]]), label };
    },
  };
}

async function peer() {
  try {
    return (await import('sharp')).default;
  } catch (cause) {
    throw loadError('sharp', cause, 'it decodes pictures');
  }
}

function resolveTarget(
  inputs: readonly RuntimeValueInfo[],
  preparation: ImagePreparation,
  folder: string,
): Target {
  const pictures = inputs.filter((input) => imageChannelAxis(input) !== undefined);
  const { input: wanted } = preparation;
  const input = wanted === undefined ? pictures[0] : inputs.find(({ name }) => name === wanted);
  if (wanted !== undefined && input === undefined) throw unknownInput(wanted, inputs);
  if (input === undefined || input.shape.length !== 4) {
    throw new WhittleError('E_USAGE', 'the model takes no pictures, so a folder of them is no data for it', {
      file: folder,
      expected: 'an input of batch × channels × height × width',
      found: inputs.map(describeInput).join(', '),
    });
  }
  const layout = preparation.layout ?? (imageChannelAxis(input) === 3 ? 'nhwc' : 'nchw');
  const [, second, third, fourth] = input.shape;
  const [channelDim, heightDim, widthDim] =
    layout === 'nchw' ? [second, third, fourth] : [fourth, second, third];
  const size = (name: 'width' | 'height', dim: number | string | null | undefined): number => {
    const side = preparation[name];
    if (typeof dim === 'number') {
      if (side === undefined || side === dim) return dim;
      throw new WhittleError(
        'E_SHAPE',
        `the preprocessing makes pictures of another ${name} than the model wants`,
        {
          tensor: input.name,
          expected: describeInput(input),
          found: `${name} ${side}`,
        },
      );
    }
    if (side !== undefined) return side;
    throw new WhittleError('E_USAGE', `the model leaves the ${name} of its pictures open`, {
      tensor: input.name,
      expected: 'a preprocessing description with width and height',
      hint: `As preprocess.json in the folder of the pictures, as the model's preprocessor_config.json, or with --preprocessing '{"width": 224, "height": 224}'.`,
    });
  };
  const channels = preparation.channels ?? (channelDim === 1 ? 'gray' : 'rgb');
  const depth = channels === 'gray' ? 1 : 3;
  if (typeof channelDim === 'number' && channelDim !== depth) {
    throw new WhittleError('E_SHAPE', `pictures in ${channels} have ${depth} channels`, {
      tensor: input.name,
      expected: describeInput(input),
      hint: 'Set layout or channels in the preprocessing description.',
    });
  }
  for (const [name, list] of Object.entries({ mean: preparation.mean, std: preparation.std })) {
    if (typeof list === 'object' && list.length !== depth && list.length !== 1) {
      throw new WhittleError('E_DATA', `${name} does not have one number for each channel`, {
        expected: `${depth}`,
        found: `${list.length}`,
      });
    }
  }
  return {
    input,
    width: size('width', widthDim),
    height: size('height', heightDim),
    channels,
    layout,
    preparation,
  };
}

type Sharp = Awaited<ReturnType<typeof peer>>;

async function decode(sharp: Sharp, file: string, target: Target): Promise<RuntimeTensor> {
  const { width, height, channels, preparation } = target;
  const { fit = 'fill', shortestEdge, filter = 'linear', background: level = 0 } = preparation;
  let pixels: Uint8Array;
  try {
    let image = sharp(file, { failOn: 'error' })
      .autoOrient()
      .removeAlpha()
      .toColourspace(channels === 'gray' ? 'b-w' : 'srgb');
    if (shortestEdge !== undefined && (width !== shortestEdge || height !== shortestEdge)) {
      // Two sizes need two passes: sharp resizes once in each.
      const { data, info } = await image
        .resize({ width: shortestEdge, height: shortestEdge, fit: 'outside', kernel: filter })
        .raw()
        .toBuffer({ resolveWithObject: true });
      const resized = sharp(data, { raw: info });
      const left = Math.floor((info.width - width) / 2);
      const top = Math.floor((info.height - height) / 2);
      image =
        left >= 0 && top >= 0
          ? resized.extract({ left, top, width, height })
          : resized.resize({ width, height, fit: 'cover', kernel: filter });
    } else {
      image = image.resize({
        width,
        height,
        fit,
        kernel: filter,
        background: { r: level, g: level, b: level },
      });
    }
    pixels = await image.raw().toBuffer();
  } catch (cause) {
    throw new WhittleError('E_DATA', 'a picture cannot be decoded', {
      file,
      found: cause instanceof Error ? cause.message : String(cause),
      hint: 'Remove it from the folder, or save it again.',
      cause,
    });
  }
  return normalize(pixels, file, target);
}

/** From interleaved bytes to the model's layout and type. */
function normalize(pixels: Uint8Array, file: string, target: Target): RuntimeTensor {
  const { input, width, height, channels, layout, preparation } = target;
  const depth = channels === 'gray' ? 1 : 3;
  const area = width * height;
  if (pixels.length !== area * depth) {
    throw new WhittleError('E_DATA', 'a picture has another number of channels', {
      file,
      expected: `${depth}`,
      found: `${pixels.length / area}`,
    });
  }
  const integer = DTYPES[input.dtype].kind !== 'float';
  const { scale = integer ? 1 : 1 / 255, mean = 0, std = 1 } = preparation;
  const values = new Float64Array(pixels.length);
  for (let c = 0; c < depth; c++) {
    const from = channels === 'bgr' ? 2 - c : c;
    const shift = channelOf(mean, c);
    const divisor = channelOf(std, c);
    for (let i = 0; i < area; i++) {
      const value = (pixels[i * depth + from]! * scale - shift) / divisor;
      const rounded = integer ? Math.round(value) : value;
      values[layout === 'nchw' ? c * area + i : i * depth + c] = rounded;
    }
  }
  const shape = layout === 'nchw' ? [depth, height, width] : [height, width, depth];
  return makeTensor(integer ? 'f64' : input.dtype, shape, values);
}

function channelOf(value: number | readonly number[], channel: number): number {
  return typeof value === 'number' ? value : (value[channel] ?? value[0] ?? 0);
}

/** Pictures of the folder, or of its subfolders, which are the classes; in the order of their names. */
async function listImages(
  folder: string,
): Promise<{ files: { file: string; label: number | undefined }[]; classes: string[] }> {
  const { readdir } = await import('node:fs/promises');
  const list = async (path: string) => {
    try {
      const entries = await readdir(path, { withFileTypes: true });
      return entries.sort((a, b) => (a.name < b.name ? -1 : 1));
    } catch (cause) {
      throw ioError(path, cause);
    }
  };
  const entries = await list(folder);
  const direct = entries.filter((entry) => !entry.isDirectory() && IMAGE_NAME.test(entry.name));
  if (direct.length > 0) {
    return { files: direct.map(({ name }) => ({ file: join(folder, name), label: undefined })), classes: [] };
  }
  const files: { file: string; label: number | undefined }[] = [];
  const classes: string[] = [];
  for (const entry of entries) {
    if (!entry.isDirectory()) continue;
    const inside = (await list(join(folder, entry.name))).filter(({ name }) => IMAGE_NAME.test(name));
    if (inside.length === 0) continue;
    const label = classes.push(entry.name) - 1;
    files.push(...inside.map(({ name }) => ({ file: join(folder, entry.name, name), label })));
  }
  return { files, classes };
}
