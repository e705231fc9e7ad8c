// Watches a growing text for where it must end, and lets out only what will stay.

/** Cuts a stream of text before the first stop text, and trims its two ends. */
export class StopScanner {
  #text = "";
  #shown = 0;

  constructor(readonly stops: readonly string[]) {}

  /** The text that was let out. */
  get text(): string {
    return this.#text.slice(0, this.#shown).trimStart();
  }

  /** Takes a piece; returns what may be shown of it, and whether a stop text came. */
  push(piece: string): { readonly shown: string; readonly stopped: boolean } {
    this.#text += piece;
    const found = this.stops.map((stop) => this.#text.indexOf(stop)).filter((at) => at >= 0);
    if (found.length > 0) {
      this.#text = this.#text.slice(0, Math.min(...found));
      return { shown: this.#show(this.#text.length), stopped: true };
    }
    return { shown: this.#show(this.#text.length - this.#pending()), stopped: false };
  }

  /** Nothing more comes: lets out what was held back, but for white space. */
  finish(): string {
    return this.#show(this.#text.length);
  }

  /** Characters at the end that may turn out to be the beginning of a stop text. */
  #pending(): number {
    const longest = Math.max(0, ...this.stops.map((stop) => stop.length - 1));
    for (let length = Math.min(longest, this.#text.length); length > 0; length--) {
      const tail = this.#text.slice(-length);
      if (this.stops.some((stop) => stop.startsWith(tail))) return length;
    }
    return 0;
  }

  #show(end: number): string {
    const until = Math.max(this.#shown, this.#text.slice(0, end).trimEnd().length);
    const shown = this.#text.slice(this.#shown, until);
    const first = this.#text.slice(0, this.#shown).trim() === "";
    this.#shown = until;
    return first ? shown.trimStart() : shown;
  }
}
