/**
 * Recognises files by their first bytes, to say what they are and what to do about it: a web page or a checkpoint that was
 * given as a model should not be "malformed at byte 0". Formats ask `describeForeign` before they parse.
 */

import { type ErrorCode, WhittleError } from '../errors.ts';
import type { ByteSource } from '../io/source.ts';

/** The format that was expected: advice depends on it. */
export type Wanted = 'onnx' | 'gguf' | 'imatrix';

const HEAD_BYTES = 64;

const WANTED_NAMES: Readonly<Record<Wanted, string>> = {
  onnx: 'an ONNX model',
  gguf: 'a GGUF file',
  imatrix: 'an importance matrix',
};

/** The first bytes of a file. @throws WhittleError E_EMPTY */
export async function readHeadBytes(source: ByteSource, wanted: Wanted): Promise<Uint8Array> {
  if (source.size === 0) {
    throw new WhittleError('E_EMPTY', 'the file is empty', {
      file: source.name,
      expected: WANTED_NAMES[wanted],
      found: '0 bytes',
      hint: 'Download or export the model again.',
    });
  }
  const head = new Uint8Array(Math.min(HEAD_BYTES, source.size));
  await source.readInto(0, head);
  return head;
}

/** The error for a file that is plainly something else than `wanted`; undefined where it is not known to be. */
export function describeForeign(head: Uint8Array, wanted: Wanted, file: string): WhittleError | undefined {
  const kind = KINDS.find(({ matches }) => matches(head));
  if (kind === undefined || kind.is === wanted) return undefined;
  return new WhittleError(kind.code, `this is ${kind.name}, not ${WANTED_NAMES[wanted]}`, {
    file,
    offset: 0,
    expected: WANTED_NAMES[wanted],
    found: kind.name,
    hint: typeof kind.hint === 'string' ? kind.hint : (kind.hint[wanted] ?? 'Check the path.'),
  });
}

interface Kind {
  readonly name: string;
  readonly code: ErrorCode;
  readonly hint: string | Readonly<Partial<Record<Wanted, string>>>;
  readonly is?: Wanted;
  readonly matches: (head: Uint8Array) => boolean;
}

/** In order: the first that matches is reported. */
const KINDS: readonly Kind[] = [
  {
    name: 'a Git LFS pointer',
    code: 'E_LFS_POINTER',
    hint: 'The model itself was not downloaded. Run "git lfs pull".',
    matches: (head) => startsWith(head, 'version https://git-lfs'),
  },
  {
    name: 'a pickle or zip archive (PyTorch saves its checkpoints so)',
    code: 'E_PICKLE',
    hint: {
      onnx: 'Pickle files can run code and are never opened. Export the model to ONNX, or unzip the archive.',
      gguf: 'Pickle files can run code and are never opened. Convert the model to GGUF, or unzip the archive.',
    },
    matches: (head) =>
      startsWith(head, 'PK\u0003\u0004') || startsWith(head, 'PK\u0005\u0006') || isPickle(head),
  },
  {
    name: 'a GGUF file',
    code: 'E_NOT_A_MODEL',
    hint: 'Give the file the ending .gguf: it is then opened as what it is.',
    is: 'gguf',
    matches: (head) => startsWith(head, 'GGUF'),
  },
  {
    name: 'a safetensors file',
    code: 'E_NOT_A_MODEL',
    hint: {
      onnx: 'It holds weights without a graph. Export the model to ONNX.',
      gguf: 'It holds weights without a vocabulary. Convert the model with convert_hf_to_gguf.py of llama.cpp.',
    },
    matches: isSafetensors,
  },
  {
    name: 'a gzip archive',
    code: 'E_NOT_A_MODEL',
    hint: 'Unpack it first.',
    matches: (head) => head[0] === 0x1f && head[1] === 0x8b,
  },
  {
    name: 'a picture (PNG)',
    code: 'E_NOT_A_MODEL',
    hint: 'Check the path.',
    matches: (head) => head[0] === 0x89 && startsWith(head.subarray(1), 'PNG'),
  },
  {
    name: 'an HDF5 file (Keras)',
    code: 'E_NOT_A_MODEL',
    hint: { onnx: 'Convert the model to ONNX (tf2onnx).' },
    matches: (head) => head[0] === 0x89 && startsWith(head.subarray(1), 'HDF'),
  },
  {
    name: 'a TensorFlow Lite model',
    code: 'E_NOT_A_MODEL',
    hint: { onnx: 'Convert the model to ONNX (tf2onnx).' },
    matches: (head) => startsWith(head.subarray(4), 'TFL3'),
  },
  {
    name: 'an ORT-format model',
    code: 'E_NOT_A_MODEL',
    hint: 'Use the .onnx file that it was made from.',
    matches: (head) => startsWith(head.subarray(4), 'ORTM'),
  },
  {
    name: 'a web page',
    code: 'E_NOT_A_MODEL',
    hint: 'The download gave an error page. Open the address in a browser to see what it says.',
    matches: (head) => isText(head) && textOf(head).trimStart().startsWith('<'),
  },
  {
    name: 'a JSON text',
    code: 'E_NOT_A_MODEL',
    hint: 'The download gave an error message, or this is the configuration beside the model.',
    matches: (head) => isText(head) && /^\s*[{[]/.test(textOf(head)),
  },
  {
    name: 'a text file',
    code: 'E_NOT_A_MODEL',
    hint: 'Check the path.',
    matches: (head) => isText(head) && !LLAMA_MAGIC.test(textOf(head)) && !'GGUF'.startsWith(textOf(head)),
  },
];

/** GGUF and its forerunners (ggml, ggmf, ggjt, ggla; in either order of bytes) begin with letters too. */
const LLAMA_MAGIC = /^(GGUF|FUGG|gg(ml|mf|jt|la)|(lm|fm|tj|al)gg|GG(ML|MF|JT|LA))/;

function startsWith(head: Uint8Array, magic: string): boolean {
  for (let i = 0; i < magic.length; i++) if (head[i] !== magic.charCodeAt(i)) return false;
  return true;
}

/** PROTO opcode and protocol 2 to 5. */
function isPickle(head: Uint8Array): boolean {
  return head[0] === 0x80 && head[1] !== undefined && head[1] >= 2 && head[1] <= 5;
}

/** Eight bytes of header length (below 100 MB, so that the upper four are zero), then JSON. */
function isSafetensors(head: Uint8Array): boolean {
  return head[8] === 0x7b && head.subarray(4, 8).every((byte) => byte === 0);
}

function textOf(head: Uint8Array): string {
  return String.fromCharCode(...head);
}

/** Printable throughout. No format read here ever is: binary numbers follow its first bytes. */
function isText(head: Uint8Array): boolean {
  return head.every((byte) => byte === 9 || byte === 10 || byte === 13 || (byte >= 32 && byte !== 127));
}
