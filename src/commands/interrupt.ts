// Ctrl-C: counts what a person pressed, not how many signals arrived.

/**
 * Signals that come within so many milliseconds are one key press. In a terminal, Ctrl-C reaches the program
 * twice within one: from the terminal and passed on by `deno task`; with --safe once more.
 */
const ONE_PRESS = 300;

/** What Deno offers to listen with; tests have their own. */
export interface SignalSource {
  addSignalListener(signal: "SIGINT", listener: () => void): void;
  removeSignalListener(signal: "SIGINT", listener: () => void): void;
}

/** Calls `handler` at each Ctrl-C, until the returned function is called. */
export function onInterrupt(
  handler: () => void,
  source: SignalSource = Deno,
  now: () => number = () => performance.now(),
): () => void {
  let last = -Infinity;
  const listener = () => {
    const time = now();
    const isRepeated = time - last < ONE_PRESS;
    last = time;
    if (!isRepeated) handler();
  };
  source.addSignalListener("SIGINT", listener);
  return () => source.removeSignalListener("SIGINT", listener);
}
