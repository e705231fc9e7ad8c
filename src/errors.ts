// The error of a user's mistake: printed as one line, exit code 2, no stack trace.

/** A mistake that the user can mend; its message says what, where, and what to do. */
export class UserError extends Error {
  override name = "UserError";

  /** What a damaged file holds may stand in the message: control characters in it are shown as \u000a. */
  constructor(message: string, options?: ErrorOptions) {
    super(message.replaceAll(/\p{Cc}/gu, escaped), options);
  }
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** Whether the operating system refused something, or Deno in its place, as opposed to a bug of ours. */
export function isSystemError(error: unknown): error is Error {
  if (!(error instanceof Error)) return false;
  return "code" in error || Object.values(Deno.errors).some((type) => error instanceof type);
}
