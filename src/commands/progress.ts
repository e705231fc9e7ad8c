// Shows how far long work is: one line redrawn on a terminal, a plain line now and then elsewhere.

/** Where progress is written. */
export interface ProgressOutput {
  readonly isTerminal: boolean;
  /** Characters in a terminal's line. */
  readonly columns: number;
  write(text: string): void;
}

/** Standard output, or standard error where standard output carries results. */
export function streamOutput(stream: typeof Deno.stdout | typeof Deno.stderr): ProgressOutput {
  const encoder = new TextEncoder();
  const isTerminal = stream.isTerminal();
  return {
    isTerminal,
    get columns() {
      return isTerminal ? Deno.consoleSize().columns : 80;
    },
    write: (text) => {
      const bytes = encoder.encode(text);
      try {
        for (let done = 0; done < bytes.length;) done += stream.writeSync(bytes.subarray(done));
      } catch (error) {
        // Whoever read has gone, as in `train | head`: the work itself goes on.
        if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
      }
    },
  };
}

/** Least milliseconds between two drawings of the bar, and between two plain lines. */
const REDRAW = 100, PLAIN_LINE = 5000;
const BAR_WIDTH = 24;
const CLEAR_LINE = "\r\x1b[K";

/** "1:05", "12:00:00" */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const two = (n: number) => String(n).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}:${two(whole % 60)}`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
}

/** A bar over `total` units of work. */
export class Progress {
  readonly #started: number;
  #drawn = -Infinity;
  #visible = false;

  constructor(
    readonly total: number,
    readonly output: ProgressOutput,
    /** Units that were done before: a resumed run's. */
    readonly done = 0,
    readonly now: () => number = () => performance.now(),
  ) {
    this.#started = now();
  }

  /** `done` units are done; `fields` say more, the most important first. */
  update(done: number, fields: readonly string[]): void {
    const now = this.now();
    const last = done >= this.total;
    const { isTerminal } = this.output;
    if (!last && now - this.#drawn < (isTerminal ? REDRAW : PLAIN_LINE)) return;
    this.#drawn = now;
    const text = [`${done}/${this.total}`, ...fields, this.#left(done, now)].join("  ");
    if (!isTerminal) return this.output.write(text + "\n");
    const filled = Math.round(BAR_WIDTH * done / this.total);
    const bar = "#".repeat(filled) + ".".repeat(BAR_WIDTH - filled);
    this.output.write(CLEAR_LINE + `[${bar}] ${text}`.slice(0, this.output.columns - 1));
    this.#visible = true;
  }

  /** Prints a line that stays, above the bar. */
  line(text: string): void {
    this.clear();
    this.output.write(text + "\n");
    this.#drawn = -Infinity;
  }

  /** Takes the bar away. */
  clear(): void {
    if (this.#visible) this.output.write(CLEAR_LINE);
    this.#visible = false;
  }

  #left(done: number, now: number): string {
    const rate = (done - this.done) / (now - this.#started);
    return rate > 0 ? `${duration((this.total - done) / rate / 1000)} left` : "";
  }
}
