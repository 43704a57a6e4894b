/**
 * Recognises files that are not ONNX by their first bytes, to say what they are and what to do. Protobuf has no magic
 * number: without this a picture or a web page would be "malformed at byte 0".
 */

import { type ErrorCode, WhittleError } from '../../errors.ts';
import type { ByteSource } from '../../io/source.ts';

const HEAD_BYTES = 64;

/** @throws WhittleError E_EMPTY, E_LFS_POINTER, E_PICKLE, E_NOT_A_MODEL */
export async function assertOnnx(source: ByteSource): Promise<void> {
  const file = source.name;
  if (source.size === 0) {
    throw new WhittleError('E_EMPTY', 'the file is empty', {
      file,
      found: '0 bytes',
      hint: 'Download or export the model again.',
    });
  }
  const head = new Uint8Array(Math.min(HEAD_BYTES, source.size));
  await source.readInto(0, head);
  const kind = KINDS.find(({ matches }) => matches(head));
  if (kind === undefined) return;
  throw new WhittleError(kind.code, `this is ${kind.name}, not an ONNX model`, {
    file,
    expected: 'an ONNX model',
    found: kind.name,
    hint: kind.hint,
  });
}

interface Kind {
  readonly name: string;
  readonly code: ErrorCode;
  readonly hint: string;
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
    hint: 'Pickle files can run code and are never opened. Export the model to ONNX, or unzip the archive.',
    matches: (head) =>
      startsWith(head, 'PK\u0003\u0004') || startsWith(head, 'PK\u0005\u0006') || isPickle(head),
  },
  {
    name: 'a GGUF file',
    code: 'E_NOT_A_MODEL',
    hint: 'GGUF models are not supported. Use the ONNX export of this model.',
    matches: (head) => startsWith(head, 'GGUF'),
  },
  {
    name: 'a safetensors file',
    code: 'E_NOT_A_MODEL',
    hint: 'It holds weights without a graph. Export the model to ONNX.',
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
    hint: 'Convert the model to ONNX (tf2onnx).',
    matches: (head) => head[0] === 0x89 && startsWith(head.subarray(1), 'HDF'),
  },
  {
    name: 'a TensorFlow Lite model',
    code: 'E_NOT_A_MODEL',
    hint: 'Convert the model to ONNX (tf2onnx).',
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
    matches: (head) => isText(head) && text(head).trimStart().startsWith('<'),
  },
  {
    name: 'a JSON text',
    code: 'E_NOT_A_MODEL',
    hint: 'The download gave an error message, or this is the configuration beside the model.',
    matches: (head) => isText(head) && /^\s*[{[]/.test(text(head)),
  },
  {
    name: 'a text file',
    code: 'E_NOT_A_MODEL',
    hint: 'Check the path.',
    matches: isText,
  },
];

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

function text(head: Uint8Array): string {
  return String.fromCharCode(...head);
}

/** Printable throughout. A model never is: the tag of its IR version alone is a control character. */
function isText(head: Uint8Array): boolean {
  return head.every((byte) => byte === 9 || byte === 10 || byte === 13 || (byte >= 32 && byte !== 127));
}
