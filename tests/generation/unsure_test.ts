// Abstention: an answer is given when its intent, or all its tokens together, are probable enough.

import { assertEquals } from "@std/assert";
import { GREEDY } from "../../src/generation/mod.ts";
import { IntentSpread } from "../../src/model/mod.ts";
import { Writer } from "../../src/generation/writer.ts";
import { CompactTokenizer, loadTokenizer, type Tokenizer } from "../../src/tokenizer/mod.ts";

const gpt2 = loadTokenizer();
const answerTo = (
  probability: number,
  tokenizer: Tokenizer,
  steps: Float32Array[],
  spread: IntentSpread | null = null,
) => {
  const shown: string[] = [];
  const writer = new Writer([1], tokenizer, {
    ...GREEDY,
    maxTokens: 9,
    stopTexts: [],
    unsure: {
      ...{ probability, answer: "I do not know.", spread },
      intents: [...tokenizer.intents?.values() ?? []],
    },
    onText: (piece) => shown.push(piece),
  });
  for (const step of steps) {
    const ending = writer.take(step.slice());
    if (ending === null) continue;
    const { text } = writer.finish(ending);
    return { text, ending, shown };
  }
  throw new Error("never ended");
};

/** Logits by which `token` has probability p and `other` the rest. */
function logits(tokenizer: Tokenizer, token: number, p: number, other: number): Float32Array {
  const all = new Float32Array(tokenizer.vocabularySize).fill(-Infinity);
  all[token] = Math.log(p);
  all[other] = Math.log(1 - p);
  return all;
}

const unknown = { text: "I do not know.", ending: "unsure", shown: ["I do not know."] };

Deno.test("unsure: the product of the probabilities decides, the end's too; nothing is shown before", () => {
  const [red, blue] = gpt2.encode(" red blue") as [number, number];
  const steps = [
    logits(gpt2, red, 0.8, blue),
    logits(gpt2, blue, 0.8, red),
    logits(gpt2, gpt2.special.endOfText, 0.9, red),
  ];
  const answer = (probability: number) => answerTo(probability, gpt2, steps);
  // 0.8 * 0.8 * 0.9 = 0.576: each is likelier than that.
  assertEquals(answer(0.57), { text: "red blue", ending: "end-of-text", shown: ["red blue"] });
  assertEquals(answer(0.6), unknown);
  assertEquals(answer(0.7), unknown);
  assertEquals(answer(0.85), unknown);
});

Deno.test("unsure: where an answer begins with its intent, the intent alone decides, softened, and what follows is shown at once", () => {
  const words = gpt2.encode(" red blue");
  const tokenizer = new CompactTokenizer(gpt2, words, ["colour", "sound"]);
  const [red, blue] = tokenizer.encode(" red blue") as [number, number];
  const [colour, sound] = [...tokenizer.intents.values()] as [number, number];
  const steps = [
    logits(tokenizer, colour, 0.8, sound),
    logits(tokenizer, red, 0.6, blue),
    logits(tokenizer, blue, 0.6, red),
    logits(tokenizer, tokenizer.special.endOfText, 0.9, red),
  ];
  const answer = (probability: number) => answerTo(probability, tokenizer, steps);
  // Softened, 0.8 and 0.2 are sqrt(0.8) / (sqrt(0.8) + sqrt(0.2)) = 2 / 3 and 1 / 3.
  assertEquals(answer(0.66), { text: "red blue", ending: "end-of-text", shown: ["red", " blue"] });
  assertEquals(answer(0.67), unknown);
  // A model of intents says one of them first, however much likelier a word is.
  steps[0]![red] = Math.log(0.95);
  assertEquals(answer(0.66), { text: "red blue", ending: "end-of-text", shown: ["red", " blue"] });
  assertEquals(answer(0.67), unknown);
});

Deno.test("unsure: a question unlike those of its intent lowers the odds, one like them raises them", () => {
  const tokenizer = new CompactTokenizer(gpt2, gpt2.encode(" red"), ["colour", "sound"]);
  const [red] = tokenizer.encode(" red") as [number];
  const [colour, sound] = [...tokenizer.intents.values()] as [number, number];
  const steps = [
    logits(tokenizer, colour, 0.8, sound),
    logits(tokenizer, red, 0.6, sound),
    logits(tokenizer, tokenizer.special.endOfText, 0.9, red),
  ];
  const own = [Math.log(0.8), Math.log(0.2)] as const, unit = Float32Array.of(1, 0, 0, 1);
  for (const [near, far] of [[0.5, 1], [0, 0.7], [1.2, 1], [1, 1]] as const) {
    // The means of colour's questions and of the background lie so far above the logits.
    const means = Float32Array.of(own[0] + near, own[1], 1, 1);
    const spread = new IntentSpread(means, unit, Float32Array.of(own[0] + far, own[1]), unit);
    // Softened, 0.8 and 0.2 have the odds 2 to 1.
    const odds = 2 * Math.exp(-5 * (near ** 2 - far ** 2)), expected = odds / (1 + odds);
    const answer = (probability: number) => answerTo(probability, tokenizer, steps, spread);
    assertEquals(answer(expected - 0.001).text, "red", `${near}, ${far}`);
    assertEquals(answer(expected + 0.001), unknown, `${near}, ${far}`);
  }
});
