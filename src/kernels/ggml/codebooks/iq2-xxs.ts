/**
 * The code book of IQ2_XXS: 256 points of 8 components.
 *
 * Recovered by scripts/recover-codebooks.mjs: ggml's library dequantized blocks that name the points one after the other,
 * with scale 1. `levels` are the distinct values, `points` the points as indices of levels, 2 bits for each component
 * (component i at bit 2·i), little-endian 16-bit numbers in base64. test/kernels/ggml/codebooks.test.ts recovers the book again
 * and compares.
 */

import { readCodebook } from './codebook.ts';

export const IQ2_XXS = readCodebook({
  dimensions: 8,
  bits: 2,
  levels: [8, 25, 43],
  points: [
    'AAACAAUACAAKABEAFAAgACIAKAAqAEEARABQAFgAYQBkAIAAggCKAKIAAQEEARABFQFAAYQBmAEAAgICIgKCAgEEBAQQBCEEJARA',
    'BEIESARgBIEEhASQBKQEAAUCBQgFIAVGBWkFgAWRBQkGEAZABoQGpAYACAUICAgUCCgIQQhECFAIUgiICAQJQAkCChQKARAEEBAQ',
    'IRBAEGAQhBCQEJUQABEIESARUBFaEYARJBJFEgAUCBQgFCUUSRSAFBgVYhUAFhYWARgEGBAYQBiBGAAZBRmgGVEaACACIAogRCBh',
    'IIAggiApIUghACICIgEkBCQQJEAkViQAJUElZCWQJggoICiUKEQqAUAEQBBAGEAhQCRAQEBIQFZAYECBQIRAkEAAQSBBYUGAQYVB',
    'AUIQQkhCVkJoQgBECEQgRIBEmUQSRSRFAEYBSARIEEhASEVIAElYSWFJgklFSpBKAFAIUBFQGVAgUIBQiFAEUUJRpFGRUpBUklQK',
    'VQFWVFYAWBFYGVhkWEBZCFoEYBBgQGBoYABhVWEYYmBiAGQFZBBlEmWEZUJoAIACgAqAQYCCgASBGIFAgRGCAYQEhBCEFYRAhGCE',
    'AIVGhZSFCYZAhmCGAogEiRGKBJAQkCSQQJChkBaRgJFFkgCUIpRElFGVgZggmQKgUKCFoAmhAKIYpFCoBKk=',
  ],
});
