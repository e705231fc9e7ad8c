// Abstention: an answer is given when its tokens' probabilities multiply to enough.

import { assertEquals } from "@std/assert";
import { GREEDY } from "../../src/generation/mod.ts";
import { Writer } from "../../src/generation/writer.ts";
import { loadTokenizer } from "../../src/tokenizer/mod.ts";

const tokenizer = loadTokenizer();
const [red, blue] = tokenizer.encode(" red blue") as [number, number];

/** Logits by which `token` has probability p and `other` the rest. */
function logits(token: number, p: number, other: number): Float32Array {
  const all = new Float32Array(tokenizer.vocabularySize).fill(-Infinity);
  all[token] = Math.log(p);
  all[other] = Math.log(1 - p);
  return all;
}

function answer(probability: number) {
  const shown: string[] = [];
  const writer = new Writer([1], tokenizer, {
    ...GREEDY,
    maxTokens: 9,
    stopTexts: [],
    unsure: { probability, answer: "I do not know." },
    onText: (piece) => shown.push(piece),
  });
  const { endOfText } = tokenizer.special;
  const steps = [logits(red, 0.8, blue), logits(blue, 0.8, red), logits(endOfText, 0.9, red)];
  for (const step of steps) {
    const ending = writer.take(step);
    if (ending === null) continue;
    const { text } = writer.finish(ending);
    return { text, ending, shown };
  }
  throw new Error("never ended");
}

Deno.test("unsure: the product of the probabilities decides, the end's too; nothing is shown before", () => {
  const unknown = { text: "I do not know.", ending: "unsure", shown: ["I do not know."] };
  // 0.8 * 0.8 * 0.9 = 0.576: each is likelier than that.
  assertEquals(answer(0.57), { text: "red blue", ending: "end-of-text", shown: ["red blue"] });
  assertEquals(answer(0.6), unknown);
  assertEquals(answer(0.7), unknown);
  assertEquals(answer(0.85), unknown);
});
