// A local stand-in for the part of jsr:@std/assert that the tests use, over node:assert. The same names and
// signatures: without `links` in deno.json the real package takes its place.

import nodeAssert from "node:assert/strict";

/** The error of a failed assertion. */
export class AssertionError extends Error {
  override name = "AssertionError";
}

function fail(message: string, own?: string): never {
  throw new AssertionError(own === undefined ? message : `${message}: ${own}`);
}

/** Makes an assertion, error will be thrown if `expr` is not truthy. */
export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) throw new AssertionError(msg);
}

/** Asserts deep, strict equality. */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  try {
    nodeAssert.deepStrictEqual(actual, expected);
  } catch (error) {
    fail("Values are not equal", [msg, (error as Error).message].filter(Boolean).join("\n"));
  }
}

/** Asserts that two values differ. */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  try {
    nodeAssert.notDeepStrictEqual(actual, expected);
  } catch {
    fail(`Expected values to differ, both are ${Deno.inspect(actual)}`, msg);
  }
}

/** Asserts identity by Object.is. */
export function assertStrictEquals<T>(
  actual: unknown,
  expected: T,
  msg?: string,
): asserts actual is T {
  if (Object.is(actual, expected)) return;
  fail(`Expected ${Deno.inspect(expected)}, got ${Deno.inspect(actual)}`, msg);
}

/** Asserts |actual - expected| <= tolerance; NaN fails. */
export function assertAlmostEquals(
  actual: number,
  expected: number,
  tolerance?: number,
  msg?: string,
): void {
  if (Object.is(actual, expected)) return;
  const bound = tolerance ?? (Number.isFinite(expected) ? Math.abs(expected * 1e-7) : 1e-7);
  if (Math.abs(actual - expected) <= bound) return;
  fail(`Expected ${actual} to be within ${bound} of ${expected}`, msg);
}

/** Asserts actual < expected; NaN fails. */
export function assertLess<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual < expected)) fail(`Expected ${actual} < ${expected}`, msg);
}

/** Asserts actual > expected; NaN fails. */
export function assertGreater<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual > expected)) fail(`Expected ${actual} > ${expected}`, msg);
}

/** Asserts that a string matches a regular expression. */
export function assertMatch(actual: string, expected: RegExp, msg?: string): void {
  if (!expected.test(actual)) fail(`Expected ${JSON.stringify(actual)} to match ${expected}`, msg);
}

/** Asserts that a string contains another. */
export function assertStringIncludes(actual: string, expected: string, msg?: string): void {
  if (actual.includes(expected)) return;
  fail(`Expected ${JSON.stringify(actual)} to contain ${JSON.stringify(expected)}`, msg);
}

// deno-lint-ignore no-explicit-any
type ErrorClass<E extends Error> = abstract new (...args: any[]) => E;

function checkError<E extends Error>(
  error: unknown,
  ErrorClass?: ErrorClass<E>,
  msgIncludes?: string,
): E {
  if (!(error instanceof (ErrorClass ?? Error))) {
    fail(`Expected ${ErrorClass?.name ?? "an Error"}, got ${Deno.inspect(error)}`);
  }
  if (msgIncludes !== undefined) assertStringIncludes(error.message, msgIncludes);
  return error as E;
}

/** Asserts that `fn` throws, and returns the error. */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  ErrorClass?: ErrorClass<E>,
  msgIncludes?: string,
): E {
  try {
    fn();
  } catch (error) {
    return checkError(error, ErrorClass, msgIncludes);
  }
  fail("Expected function to throw");
}

/** Asserts that `fn` rejects, and returns the error. */
export async function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  ErrorClass?: ErrorClass<E>,
  msgIncludes?: string,
): Promise<E> {
  try {
    await fn();
  } catch (error) {
    return checkError(error, ErrorClass, msgIncludes);
  }
  fail("Expected function to reject");
}
