/**
 * The code book of IQ3_XXS: 256 points of 4 components.
 *
 * Recovered by scripts/recover-codebooks.mjs: ggml's library dequantized blocks that name the points one after the other,
 * with scale 1. `levels` are the distinct values, `points` the points as indices of levels, 3 bits for each component
 * (component i at bit 3·i), little-endian 16-bit numbers in base64. test/kernels/ggml/codebooks.test.ts recovers the book again
 * and compares.
 */

import { readCodebook } from './codebook.ts';

export const IQ3_XXS = readCodebook({
  dimensions: 4,
  bits: 3,
  levels: [4, 12, 20, 28, 36, 44, 52, 62],
  points: [
    'AAACAAQACQALAA8AEAASABkAIgA7AD0AQQBDAEgASgBRAFUAWABaAGEAbAB4AIAAggCEAIkAkACSAJkAmwCfAKkArwC9AMEAxwDI',
    'AMoA1QD4AAsBHwEkAS8BOwE9AUEBRwFaAWoBnQG0AcgBzAHOAeMB8QEBAgMCCAIKAhECEwIYAhoCHAInAigCQAJCAkkCUAJSAoEC',
    'gwKIAooCkQKYAroCwALCAtAC2QLmAvYCAQMFAygDUANUA2YDeQOFA9ID4AMABAIECQQLBBAEEgQWBBkEIgRBBEMERQRIBEoEUQRY',
    'BHMEdwR4BIAEggSJBI8EkASSBJ8EoAStBMEEyATMBPgE/AQdBSsFQwVXBWEFfAXBBcMFzgXlBQEGCAYKBhEGEwYoBjUGOgZABkIG',
    'UAZZBmQGZgaBBoMGiAaVBqoGugbJBtsGGAcnBzoHQAdGB1IHbQeMB54HswfbB/AHBAgPCB0IHwgrCC8IfAiQCJ8IoAiwCLYIxwjl',
    'CAQJKQk0CVUJYwl4CcUJyAnKCdgJCgohCjgKQApGClYKbQqMCpoKugrCCusKCAsTCxcLOgtCC1kLqAvUC+ILFAwkDCYMNAxRDHEM',
    'jwy0DNgM3gwkDUUNag2bDcMN0Q0DDgUOBw4IDhoOKg5WDmAOig6lDqoOwA7NDtsO8A4RDyEPQA9CD1QPmA8=',
  ],
});
