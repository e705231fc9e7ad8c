// The stand-in for @std/assert fails where the real package fails.

import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertGreater,
  AssertionError,
  assertLess,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";

/** Fails without any assertion of the package under test. */
function mustFail(assertion: () => unknown): void {
  try {
    assertion();
  } catch (error) {
    if (error instanceof AssertionError) return;
    throw error;
  }
  throw new Error(`should have failed: ${assertion}`);
}

Deno.test("assert: truth", () => {
  assert(1);
  mustFail(() => assert(0));
  mustFail(() => assert(NaN));
});

Deno.test("assertEquals: deep, and strict about types and constructors", () => {
  assertEquals({ a: [1, new Map([["b", NaN]])] }, { a: [1, new Map([["b", NaN]])] });
  assertEquals(Float32Array.of(1, 2), Float32Array.of(1, 2));
  mustFail(() => assertEquals({ a: [1, 2] }, { a: [1, 3] }));
  mustFail(() => assertEquals<unknown>(1, "1"));
  mustFail(() => assertEquals<unknown>({}, { a: undefined }));
  mustFail(() => assertEquals<unknown>(Float32Array.of(1), Float64Array.of(1)));
  mustFail(() => assertEquals(Float32Array.of(1, 2), Float32Array.of(1, 3)));
  assertNotEquals([1], [2]);
  mustFail(() => assertNotEquals([1], [1]));
});

Deno.test("assertStrictEquals: identity", () => {
  assertStrictEquals(NaN, NaN);
  mustFail(() => assertStrictEquals([1], [1]));
});

Deno.test("assertAlmostEquals: within the tolerance, never NaN", () => {
  assertAlmostEquals(1.05, 1, 0.1);
  assertAlmostEquals(1 + 1e-8, 1);
  assertAlmostEquals(Infinity, Infinity);
  mustFail(() => assertAlmostEquals(1.2, 1, 0.1));
  mustFail(() => assertAlmostEquals(1 + 1e-6, 1));
  mustFail(() => assertAlmostEquals(NaN, 1, 0.1));
  mustFail(() => assertAlmostEquals(1, NaN, 0.1));
  mustFail(() => assertAlmostEquals(Infinity, 1, 0.1));
});

Deno.test("assertLess, assertGreater: strict, never NaN", () => {
  assertLess(1, 2);
  assertGreater(2, 1);
  mustFail(() => assertLess(2, 2));
  mustFail(() => assertLess(NaN, 2));
  mustFail(() => assertGreater(2, 2));
  mustFail(() => assertGreater(NaN, 2));
});

Deno.test("assertMatch, assertStringIncludes", () => {
  assertMatch("loss 1.5", /^loss \d/);
  mustFail(() => assertMatch("loss", /\d/));
  assertStringIncludes("a loss", "loss");
  mustFail(() => assertStringIncludes("a loss", "gain"));
});

Deno.test("assertThrows: an error of that class with that text, which it returns", () => {
  const fail = () => {
    throw new TypeError("no such thing");
  };
  assertEquals(assertThrows(fail).message, "no such thing");
  assertThrows(fail, TypeError, "such");
  mustFail(() => assertThrows(() => 1));
  mustFail(() => assertThrows(fail, RangeError));
  mustFail(() => assertThrows(fail, TypeError, "other"));
});

Deno.test("assertRejects: like assertThrows, for promises", async () => {
  assertEquals((await assertRejects(() => Promise.reject(new Error("x")))).message, "x");
  const failure = await assertRejects(() => assertRejects(() => Promise.resolve()));
  assert(failure instanceof AssertionError);
});
