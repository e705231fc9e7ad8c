// One key press is one interruption, however many signals it sends.

import { assertEquals } from "@std/assert";
import { onInterrupt } from "../../src/commands/interrupt.ts";

Deno.test("onInterrupt: signals that come together count once, later ones again", () => {
  const listeners = new Set<() => void>();
  const source = {
    addSignalListener: (_: "SIGINT", listener: () => void) => void listeners.add(listener),
    removeSignalListener: (_: "SIGINT", listener: () => void) => void listeners.delete(listener),
  };
  let time = 0, pressed = 0;
  const stop = onInterrupt(() => pressed++, source, () => time);
  for (const at of [1000, 1001, 1004, 2500, 2501]) {
    time = at;
    listeners.forEach((listener) => listener());
  }
  assertEquals(pressed, 2);
  stop();
  assertEquals(listeners.size, 0);
});
