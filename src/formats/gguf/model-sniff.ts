/**
 * Refuses files that are not GGUF by their first bytes, and says what they are: the forerunners of GGUF, an importance matrix,
 * an ONNX model, a download that broke off.
 */

import { WhittleError } from '../../errors.ts';
import type { ByteSource } from '../../io/source.ts';
import { describeForeign, readHeadBytes } from '../sniff.ts';

const MAGIC = 'GGUF';
/** Magic, version, two counts. */
const HEADER_BYTES = 24;

/** Whether the file begins as GGUF does. @throws WhittleError E_EMPTY */
export async function isGguf(source: ByteSource): Promise<boolean> {
  return magicOf(await readHeadBytes(source, 'gguf')) === MAGIC;
}

/** @throws WhittleError E_EMPTY, E_TRUNCATED, E_MAGIC, E_LFS_POINTER, E_PICKLE, E_NOT_A_MODEL */
export async function assertGguf(source: ByteSource): Promise<void> {
  const file = source.name;
  const head = await readHeadBytes(source, 'gguf');
  const foreign = describeForeign(head, 'gguf', file);
  if (foreign !== undefined) throw foreign;
  const magic = magicOf(head);
  if (MAGIC.startsWith(magic)) {
    if (source.size >= HEADER_BYTES) return;
    throw new WhittleError('E_TRUNCATED', 'the file ends within its header', {
      file,
      offset: 0,
      expected: `at least ${HEADER_BYTES} bytes`,
      found: `${source.size} bytes`,
      hint: 'Download or copy the file again: it is incomplete.',
    });
  }
  throw wrongMagic(head, magic, file);
}

function magicOf(head: Uint8Array): string {
  return String.fromCharCode(...head.subarray(0, 4));
}

function wrongMagic(head: Uint8Array, magic: string, file: string): WhittleError {
  const where = { file, offset: 0 };
  const old = OLD_FORMS.find(({ magics }) => magics.includes(magic));
  if (old !== undefined) {
    return new WhittleError('E_MAGIC', `this is ${old.name}`, {
      ...where,
      expected: `"${MAGIC}"`,
      found: `"${magic}"`,
      hint: old.hint,
    });
  }
  if (isLegacyImatrix(head)) {
    return new WhittleError('E_NOT_A_MODEL', 'this is an importance matrix (.dat), not a GGUF file', {
      ...where,
      expected: 'a GGUF model',
      hint: 'Give it with --imatrix, beside the model.',
    });
  }
  if (head[0] === 0x08 && head[1] !== undefined && head[1] > 0 && head[1] < 32) {
    return new WhittleError('E_NOT_A_MODEL', 'this looks like an ONNX model, not a GGUF file', {
      ...where,
      expected: `"${MAGIC}"`,
      hint: 'Give the file the ending .onnx: it is then opened as what it is.',
    });
  }
  if (head.every((byte) => byte === 0)) {
    return new WhittleError('E_MAGIC', 'the file begins with zeros', {
      ...where,
      expected: `"${MAGIC}"`,
      hint: 'A download that broke off leaves such files: download it again.',
    });
  }
  return new WhittleError('E_MAGIC', 'this is not a GGUF file', {
    ...where,
    expected: `"${MAGIC}"`,
    found: JSON.stringify(magic),
    hint: 'Check the path. Models of other formats are converted with convert_hf_to_gguf.py of llama.cpp.',
  });
}

const CONVERT_AGAIN = 'llama.cpp no longer reads it. Convert the original model to GGUF.';

/** The magics were numbers: files hold their letters from the last to the first; some tools wrote them as text. */
const OLD_FORMS = [
  {
    name: 'a GGUF file with its magic reversed',
    magics: ['FUGG'],
    hint: 'It was written on a big-endian machine, or is damaged. Convert the model again.',
  },
  { name: 'a GGML file, of before August 2023', magics: ['lmgg', 'ggml', 'GGML'], hint: CONVERT_AGAIN },
  { name: 'a GGMF file, of before August 2023', magics: ['fmgg', 'ggmf', 'GGMF'], hint: CONVERT_AGAIN },
  { name: 'a GGJT file, of before August 2023', magics: ['tjgg', 'ggjt', 'GGJT'], hint: CONVERT_AGAIN },
  { name: 'a GGLA adapter, of before August 2023', magics: ['algg', 'ggla', 'GGLA'], hint: CONVERT_AGAIN },
];

/** Number of entries, then the length of the first name and the name. */
export function isLegacyImatrix(head: Uint8Array): boolean {
  if (head.length < 12) return false;
  const view = new DataView(head.buffer, head.byteOffset, head.length);
  const entries = view.getInt32(0, true);
  const length = view.getInt32(4, true);
  if (entries < 1 || entries > 1e6 || length < 1 || length > 256) return false;
  return head.subarray(8, 8 + length).every((byte) => byte > 32 && byte < 127);
}
