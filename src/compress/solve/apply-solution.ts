/**
 * Weights that were solved before: a solution file (solution-file.ts) and the forms of a plan → solved layers. Codes go into every form
 * that has their grid: the same width, groups and kind of zero points, whatever the operator. They belong to the values they
 * were chosen for, which is held by a SHA-256.
 */

import { createHash } from 'node:crypto';
import type { WeightMatrix } from '../../algorithms/matrix.ts';
import { withStoredZeros } from '../../algorithms/stored-zeros.ts';
import { amount } from '../../core/amount.ts';
import { f16BitsToF32, f32ToF16Bits } from '../../core/floats.ts';
import { WhittleError } from '../../errors.ts';
import { fromMatrix, type Layer, toMatrix } from './layers.ts';
import type { StoredLayer } from './solution-file.ts';
import type { Solution } from './solution-reader.ts';
import { type CodedWeight, dequantizeCoded, type LayerGrid, type SolvedLayer } from './solve.ts';
import type { Target } from './targets.ts';

export interface TakenOver {
  readonly solved: ReadonlyMap<string, SolvedLayer>;
  readonly notes: readonly string[];
}

/** SHA-256 of values as little-endian f32, hexadecimal. */
export function digestOf({ buffer, byteOffset, byteLength }: Float32Array): string {
  return createHash('sha256')
    .update(new Uint8Array(buffer, byteOffset, byteLength))
    .digest('hex');
}

/**
 * The layers of `targets` that the file has.
 * @param read - the float values of a layer, in stored order
 * @throws WhittleError E_SHAPE where a form has another grid, E_INPUT_CHANGED where the weights are others, E_DATA where the file has none of them
 */
export async function takeOver(
  targets: readonly Target[],
  solution: Solution,
  read: (layer: Layer) => Promise<Float32Array>,
): Promise<TakenOver> {
  const { file, layers } = solution;
  const solved = new Map<string, SolvedLayer>();
  let rounded = 0;
  for (const target of targets) {
    const { layer, grid } = target;
    const stored = layers.get(layer.key);
    if (stored === undefined) continue;
    assertSameGrid(file, stored, target);
    const values = await read(layer);
    if (digestOf(values) !== stored.source) {
      throw new WhittleError('E_INPUT_CHANGED', 'the solution was made for other values of this weight', {
        file,
        tensor: layer.name,
        hint: 'Give the model, and the preparations, that it was made with.',
      });
    }
    const coded = await solution.read(stored);
    assertStorable(file, stored, coded, grid);
    const weight = { values: toMatrix(values, layer), outputs: layer.outputs, inputs: layer.inputs };
    const quantized = inScaleType(file, stored, coded, grid, weight);
    if (quantized !== coded) rounded++;
    solved.set(layer.key, {
      quantized,
      values: fromMatrix(dequantizeCoded(quantized), layer),
      report: reportOf(stored, layer),
    });
  }
  if (solved.size === 0) {
    throw new WhittleError('E_DATA', 'the solution has none of the weights that are to be quantized', {
      file,
      expected: targets
        .slice(0, 3)
        .map(({ layer }) => layer.key)
        .join(', '),
      found: [...layers.keys()].slice(0, 3).join(', '),
    });
  }
  const known = new Set(targets.map(({ layer }) => layer.key));
  const unused = [...layers.keys()].filter((key) => !known.has(key));
  return { solved, notes: notesOf(file, solved.size, unused, rounded) };
}

function notesOf(file: string, taken: number, unused: readonly string[], rounded: number): string[] {
  const notes = [`${amount(taken, 'weight was', 'weights were')} taken over from ${file}.`];
  if (unused.length > 0)
    notes.push(
      `${amount(unused.length, 'weight')} of ${file} ${unused.length === 1 ? 'is' : 'are'} not quantized here (${unused[0]}${unused.length > 1 ? ', …' : ''}).`,
    );
  if (rounded > 0) notes.push(`Scales of ${rounded} of them were rounded to f16, which this form stores.`);
  return notes;
}

function assertSameGrid(file: string, stored: StoredLayer, { layer, grid }: Target): void {
  const expected = gridText(grid, layer);
  const found = storedText(stored);
  if (expected === found) return;
  throw new WhittleError('E_SHAPE', 'the solution has another grid than the form that is to be written', {
    file,
    tensor: layer.name,
    expected,
    found,
    hint: 'Ask for the width and block size that it was made with, or solve again.',
  });
}

function gridText(grid: LayerGrid, { outputs, inputs, filters }: Layer): string {
  const form =
    'levels' in grid
      ? `${grid.levels[0] === -1 ? 'nf4' : 'fp4'} blocks of ${grid.blockSize}`
      : `${grid.bits} bits, groups of ${Math.min(grid.groupSize, inputs)}`;
  return `[${outputs}, ${inputs}], ${form}${filters === undefined ? '' : `, ${filters.places} places`}`;
}

function storedText({ outputs, inputs, codebook, bits, groupSize, filters }: StoredLayer): string {
  const form =
    codebook === undefined
      ? `${bits} bits, groups of ${Math.min(groupSize, inputs)}`
      : `${codebook} blocks of ${groupSize}`;
  return `[${outputs}, ${inputs}], ${form}${filters === undefined ? '' : `, ${filters.places} places`}`;
}

/** Zero points that the form has: in the middle, among the codes, or any. */
function assertStorable(
  file: string,
  { name, weight }: StoredLayer,
  coded: CodedWeight,
  grid: LayerGrid,
): void {
  if ('levels' in grid || 'levels' in coded) return;
  const middle = 2 ** (grid.bits - 1);
  const fits = grid.symmetric
    ? coded.zeroPoints.every((zero) => zero === middle)
    : grid.zeroPoints === 'real' || coded.zeroPoints.every((zero) => Number.isInteger(zero));
  if (fits) return;
  throw new WhittleError('E_SHAPE', 'the solution has zero points that this form cannot store', {
    file,
    tensor: weight,
    expected: grid.symmetric ? 'a symmetric grid' : 'zero points among the codes',
    found: `${name}: ${grid.symmetric ? 'zero points' : 'real zero points'}`,
    hint: grid.symmetric ? 'Add --asymmetric.' : 'Add --zero-points real.',
  });
}

/**
 * The same codes, with scales and real zero points as the form stores them. Where f16 is too coarse for a zero point the group takes the
 * grid that solving for f16 would have given it.
 * @throws WhittleError E_SHAPE where a scale is beyond f16
 */
function inScaleType(
  file: string,
  { weight: tensor }: StoredLayer,
  coded: CodedWeight,
  grid: LayerGrid,
  weight: WeightMatrix,
): CodedWeight {
  if (grid.scaleType !== 'f16') return coded;
  const scales = coded.scales.map((value) => f16BitsToF32(f32ToF16Bits(value)));
  const beyond = scales.findIndex((scale) => !Number.isFinite(scale));
  if (beyond >= 0) {
    throw new WhittleError('E_SHAPE', 'the solution has scales that this form cannot store', {
      file,
      tensor,
      expected: 'scales within f16',
      found: String(coded.scales[beyond]),
      hint: 'Write a form with f32 scales, or solve again.',
    });
  }
  const same = scales.every((scale, i) => scale === coded.scales[i]);
  if ('levels' in coded) return same ? coded : { ...coded, scales };
  if ('levels' in grid) return coded;
  return withStoredZeros(weight, same ? coded : { ...coded, scales }, grid);
}

function reportOf(
  { bits = 4, groupSize, ...told }: StoredLayer,
  { name: layer }: Layer,
): SolvedLayer['report'] {
  const { algorithm, errorBefore, errorAfter, damping, deadInputs, rows } = told;
  return { layer, algorithm, bits, groupSize, errorBefore, errorAfter, damping, deadInputs, rows };
}
