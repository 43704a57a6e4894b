/** The definition of the linear family: 32 values on one scale, with evenly spaced codes or a fixed book of 16 values. */

import type { Codecs } from '../codec.ts';
import { iq4_nl, iq4_xs } from './iq4.ts';
import { q8_0 } from './q8.ts';
import { UNIFORM, uniformCodec } from './uniform.ts';

export const codecs: Codecs = {
  q4_0: uniformCodec(UNIFORM.q4_0),
  q4_1: uniformCodec(UNIFORM.q4_1),
  q5_0: uniformCodec(UNIFORM.q5_0),
  q5_1: uniformCodec(UNIFORM.q5_1),
  q8_0,
  iq4_nl,
  iq4_xs,
};
