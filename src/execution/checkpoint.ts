/** What the thread that answers signals does between tiles: it stops when asked to, and lets others have a turn. */

import { turn } from '../core/turn.ts';
import { aborted } from './messages.ts';

/** Others (signals, progress, messages) have a turn at least so often, milliseconds. */
const TURN_MS = 12;

/** @returns a function that throws E_ABORTED once `signal` or `isStopped` says so. */
export function createCheckpoint(
  signal: AbortSignal | undefined,
  isStopped: () => boolean = () => false,
): () => Promise<void> | void {
  let last = performance.now();
  const assertRunning = (): void => {
    if (signal?.aborted || isStopped()) throw aborted();
  };
  return () => {
    assertRunning();
    if (performance.now() - last < TURN_MS) return;
    return turn().then(() => {
      last = performance.now();
      assertRunning();
    });
  };
}
