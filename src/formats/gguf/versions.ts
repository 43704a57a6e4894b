/** Versions of GGUF: 2 and 3 are read (their layout is the same), 3 is written; what the others are is said. */

import { WhittleError } from '../../errors.ts';

const EXPECTED = 'version 2 or 3';

/** @throws WhittleError E_VERSION */
export function assertVersion(version: number, file: string): 2 | 3 {
  if (version === 2 || version === 3) return version;
  const [message, hint] = faultOf(version);
  throw new WhittleError('E_VERSION', message, {
    file,
    offset: 4,
    expected: EXPECTED,
    found: `version ${version}`,
    hint,
  });
}

function faultOf(version: number): readonly [message: string, hint: string] {
  if (version === 0) {
    return ['the version of the file is 0', 'The file is damaged: download or copy it again.'];
  }
  if (version === 1) {
    return [
      'this is GGUF version 1, of August 2023',
      'Its counts are stored otherwise. Convert the model again with a recent llama.cpp.',
    ];
  }
  // A small version with its bytes in the other order.
  if ((version & 0xffff) === 0) {
    return [
      'this file is big-endian',
      'Convert the model for little-endian machines (gguf-py: gguf_convert_endian.py).',
    ];
  }
  return [
    'this version of GGUF is newer than whittle, or the file is damaged',
    'Update whittle, or convert the model to version 3.',
  ];
}
