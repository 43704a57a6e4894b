/**
 * One turn of the event loop, in Node and in a page, so that signals, progress and messages are heard during long work. Timers
 * would cost a page 4 ms each time; a message to oneself costs microseconds.
 */

/** Resolves once the event loop has had a turn. */
export function turn(): Promise<void> {
  if (typeof setImmediate === 'function') return new Promise((resolve) => setImmediate(resolve));
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(undefined);
  });
}
