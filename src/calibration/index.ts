/** Public surface of calibration: observers that turn values into ranges. */

export * from './observers/index.ts';
