// The bar on a terminal, the plain lines elsewhere.

import { assert, assertEquals } from "@std/assert";
import { duration, Progress } from "../../src/commands/progress.ts";

const CLEAR = "\r\x1b[K";

/** A progress whose clock stands still until it is told, and what it wrote. */
function recorded(isTerminal: boolean, { total = 10, columns = 80, done = 0 } = {}) {
  const written: string[] = [];
  const clock = { seconds: 0 };
  const output = { isTerminal, columns, write: (text: string) => void written.push(text) };
  const progress = new Progress(total, output, done, () => clock.seconds * 1000);
  return { progress, clock, written };
}

Deno.test("Progress: a terminal's line is redrawn, and cut to its width", () => {
  const { progress, clock, written } = recorded(true, { columns: 60 });
  clock.seconds = 5;
  progress.update(5, ["loss 1.5", "x".repeat(100)]);
  assertEquals(written.length, 1);
  assert(written[0]!.startsWith(`${CLEAR}[############............] 5/10  loss 1.5  xxx`));
  assertEquals(written[0]!.length - CLEAR.length, 59);
});

Deno.test("Progress: a line stays above the bar, which is cleared at the end", () => {
  const { progress, written } = recorded(true);
  progress.update(1, []);
  written.length = 0;
  progress.line("epoch 1");
  progress.update(2, []);
  progress.clear();
  progress.clear();
  assertEquals(written.map((text) => text.slice(0, 9)), [
    CLEAR,
    "epoch 1\n",
    `${CLEAR}[####`,
    CLEAR,
  ]);
});

Deno.test("Progress: elsewhere plain lines, now and then, and always the last", () => {
  const { progress, clock, written } = recorded(false);
  for (let i = 1; i <= 10; i++) {
    clock.seconds = i;
    progress.update(i, [`loss ${i}`]);
  }
  progress.clear();
  assertEquals(written, [
    "1/10  loss 1  0:09 left\n",
    "6/10  loss 6  0:04 left\n",
    "10/10  loss 10  0:00 left\n",
  ]);
});

Deno.test("Progress: the time left counts only what this run did", () => {
  const { progress, clock, written } = recorded(false, { total: 100, done: 90 });
  clock.seconds = 10;
  progress.update(95, []);
  assertEquals(written, ["95/100  0:10 left\n"]);
});

Deno.test("duration: minutes, and hours when there are any", () => {
  assertEquals([0, 59.6, 65, 3600, 43205].map(duration), [
    "0:00",
    "1:00",
    "1:05",
    "1:00:00",
    "12:00:05",
  ]);
});
