/** `whittle types`: the GGUF file types that --to takes, and the tensor types of --tensor-type. */

import { BLOCK_TYPES, GGML_TYPES, isBlockType, isGgmlType } from '../../core/ggml-types.ts';
import { COPY, FILE_TYPES, parseFileType } from '../../planning/gguf/file-types.ts';
import { parseGgmlType } from '../../planning/gguf/parse.ts';
import { type Column, renderTable } from '../../report/table.ts';
import type { Context } from '../context.ts';

const FILE_COLUMNS: readonly Column[] = [
  { title: 'type' },
  { title: 'also' },
  { title: 'main type' },
  { title: 'bits', align: 'right' },
  { title: '8B file', align: 'right', drop: 2 },
  { title: 'imatrix', drop: 3 },
  { title: 'what it is', min: 20, drop: 1 },
];

const TENSOR_COLUMNS: readonly Column[] = [
  { title: 'tensor type' },
  { title: 'bits', align: 'right' },
  { title: 'block', align: 'right' },
  { title: 'bytes', align: 'right' },
  { title: 'imatrix', drop: 1 },
];

interface TensorTypeRow {
  readonly type: string;
  readonly bits: number;
  readonly block: number;
  readonly bytes: number;
  readonly imatrix: string;
}

export async function runTypes(context: Context, name: string | undefined): Promise<undefined> {
  if (name !== undefined) {
    context.printJson(described(name));
    return undefined;
  }
  const tensorTypes = ['f32', 'f16', 'bf16', ...Object.keys(BLOCK_TYPES)].flatMap((type) => tensorType(type));
  tensorTypes.sort((a, b) => b.bits - a.bits);
  if (context.json) {
    context.printJson({ fileTypes: FILE_TYPES, tensorTypes });
    return undefined;
  }
  const { style, width } = context;
  const files = FILE_TYPES.map(({ name: type, aliases, main, bits, fileBits, imatrix, description }) => [
    type,
    aliases.join(', '),
    main,
    String(Number(bits.toFixed(4))),
    fileBits.toFixed(2),
    imatrix === 'unused' ? '' : imatrix,
    description,
  ]);
  files.push([COPY, '', '', '', '', '', 'the file again, weights untouched']);
  context.print(renderTable(FILE_COLUMNS, files, { width, style }));
  context.print('');
  context.print(
    renderTable(
      TENSOR_COLUMNS,
      tensorTypes.map(({ type, bits, block, bytes, imatrix }) => [
        type,
        String(Number(bits.toFixed(4))),
        String(block),
        String(bytes),
        imatrix,
      ]),
      { width, style },
    ),
  );
  context.say(
    '\n"8B file": bits for each weight of a whole file with the shapes of Llama 3.1 8B. Sizes and errors for a model of yours: whittle quantize model.gguf --dry-run --all',
  );
  return undefined;
}

/** A file type, or a tensor type where only that has the name. */
function described(name: string): unknown {
  try {
    return parseFileType(name);
  } catch (error) {
    try {
      return tensorType(parseGgmlType(name))[0];
    } catch {
      throw error;
    }
  }
}

function tensorType(type: string): TensorTypeRow[] {
  if (!isGgmlType(type)) return [];
  const { size, bytes } = GGML_TYPES[type];
  const imatrix =
    isBlockType(type) && BLOCK_TYPES[type].importance !== 'ignored' ? BLOCK_TYPES[type].importance : '';
  return [{ type, bits: (bytes * 8) / size, block: size, bytes, imatrix }];
}
