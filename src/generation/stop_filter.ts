// Lets text through until a stop text comes, and holds back what may turn out to be one.

export class StopFilter {
  #held = "";
  #started = false;
  #stopped = false;

  /**
   * @param stopTexts none of them is ever let through
   * @param trim leave out white space at the start and the end
   */
  constructor(readonly stopTexts: readonly string[], readonly trim: boolean) {}

  /** Whether a stop text has come. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** Takes more text; returns what is certain to belong to the answer. */
  push(text: string): string {
    if (this.#stopped) return "";
    this.#held += text;
    const found = this.stopTexts.map((stop) => this.#held.indexOf(stop)).filter((at) => at >= 0);
    if (found.length > 0) {
      this.#stopped = true;
      this.#held = this.#held.slice(0, Math.min(...found));
      return this.flush();
    }
    return this.#release(this.#held.length - this.#undecided());
  }

  /** The end of the text: what was held back is no stop text. */
  flush(): string {
    if (this.trim) this.#held = this.#held.trimEnd();
    return this.#release(this.#held.length);
  }

  /** Characters at the end that may still become a stop text, or the white space before the end. */
  #undecided(): number {
    const held = this.#held;
    const starts = this.stopTexts.map((stop) => {
      let length = Math.min(stop.length - 1, held.length);
      while (length > 0 && !held.endsWith(stop.slice(0, length))) length--;
      return length;
    });
    const certain = held.length - Math.max(0, ...starts);
    return this.trim
      ? held.length - held.slice(0, certain).trimEnd().length
      : held.length - certain;
  }

  #release(length: number): string {
    let text = this.#held.slice(0, length);
    this.#held = this.#held.slice(length);
    if (this.trim && !this.#started) text = text.trimStart();
    this.#started ||= text !== "";
    return text;
  }
}
