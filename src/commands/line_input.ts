// Lines that a person types, with editing and history on a terminal, or that a pipe brings.

import process from "node:process";
import { createInterface } from "node:readline";
import { Writable } from "node:stream";

export interface LineInput {
  readonly isTerminal: boolean;
  /** The next line without its end, or null when there are no more. */
  next(prompt: string): Promise<string | null>;
  /** What Ctrl-C does until the returned function is called; otherwise it ends the input. */
  onInterrupt(handler: () => void): () => void;
  close(): void;
}

/** Standard input. */
export function standardInput(): LineInput {
  return Deno.stdin.isTerminal() ? new TerminalInput() : new PipedInput();
}

class TerminalInput implements LineInput {
  readonly isTerminal = true;
  /** Whether a line is being asked for; what is typed meanwhile is not echoed into an answer. */
  #asking = false;
  readonly #interface = createInterface({
    input: process.stdin,
    output: echo(() => this.#asking),
    terminal: true,
    historySize: 500,
  });
  /** Lines that came while nobody waited. */
  readonly #lines: string[] = [];
  #waiting: ((line: string | null) => void) | null = null;
  #interrupt: (() => void) | null = null;
  #closed = false;

  constructor() {
    this.#interface.on("line", (line: string) => {
      if (this.#waiting === null) this.#lines.push(line);
      else this.#answer(line);
    });
    this.#interface.on("close", () => {
      this.#closed = true;
      this.#answer(null);
    });
    this.#interface.on("SIGINT", () => {
      if (this.#interrupt !== null) return this.#interrupt();
      // As in a shell: a line that was begun is given up, an empty one ends the program.
      if (this.#interface.line === "") this.close();
      else this.#interface.write(null, { ctrl: true, name: "u" });
    });
  }

  next(prompt: string): Promise<string | null> {
    const line = this.#lines.shift();
    if (line !== undefined) {
      process.stdout.write(`${prompt}${line}\n`);
      return Promise.resolve(line);
    }
    if (this.#closed) return Promise.resolve(null);
    this.#asking = true;
    this.#interface.setPrompt(prompt);
    this.#interface.prompt();
    return new Promise((resolve) => this.#waiting = resolve);
  }

  onInterrupt(handler: () => void): () => void {
    this.#interrupt = handler;
    return () => this.#interrupt = null;
  }

  close(): void {
    this.#interface.close();
  }

  #answer(line: string | null): void {
    const waiting = this.#waiting;
    this.#waiting = null;
    this.#asking = false;
    waiting?.(line);
  }
}

/** Standard output as readline sees it, silent while `isOpen` says no. */
function echo(isOpen: () => boolean): NodeJS.WritableStream {
  const output = new Writable({
    write(chunk, _encoding, done) {
      if (isOpen()) process.stdout.write(chunk);
      done();
    },
  });
  return Object.defineProperties(output, {
    columns: { get: () => process.stdout.columns },
    rows: { get: () => process.stdout.rows },
  });
}

class PipedInput implements LineInput {
  readonly isTerminal = false;
  readonly #lines = linesOf(Deno.stdin.readable);

  async next(): Promise<string | null> {
    const { value, done } = await this.#lines.next();
    return done ? null : value;
  }

  onInterrupt(handler: () => void): () => void {
    Deno.addSignalListener("SIGINT", handler);
    return () => Deno.removeSignalListener("SIGINT", handler);
  }

  close(): void {}
}

/** Lines of a stream, without their ends. */
async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, undefined> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    rest += decoder.decode(chunk, { stream: true });
    const parts = rest.split("\n");
    rest = parts.pop()!;
    for (const part of parts) yield part.replace(/\r$/, "");
  }
  if (rest !== "") yield rest;
}
