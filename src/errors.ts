// The error of a user's mistake: printed as one line, exit code 2, no stack trace.

/** A mistake that the user can mend; its message says what, where, and what to do. */
export class UserError extends Error {
  override name = "UserError";
}
