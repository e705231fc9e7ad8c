// How conversations become text, and that parts tokenise as the whole does.

import { assertEquals } from "@std/assert";
import {
  type FormatName,
  formatNames,
  formats,
  loadTokenizer,
  type Message,
  render,
  renderPrompt,
  stopTexts,
} from "../../src/tokenizer/mod.ts";

const tokenizer = loadTokenizer();

const pair: Message[] = [
  { role: "user", content: "Hello" },
  { role: "assistant", content: "Hi!" },
];
const long: Message[] = [
  { role: "system", content: "Be brief." },
  ...pair,
  { role: "user", content: "1 + 1?" },
  { role: "assistant", content: "(2)" },
];

function textOf(format: FormatName, messages: Message[]): string {
  return render(formats[format], messages).map(({ text }) => text).join("");
}

Deno.test("a pair in each format", () => {
  const expected: Record<FormatName, string> = {
    "human-assistant": "Human: Hello\nAssistant: Hi!",
    "small-letters": "Human: hello\nAssistant: Hi!",
    "user-ai": "User: Hello\nAI: Hi!",
    "q-a": "Q: Hello\nA: Hi!",
    "question-answer": "Question: Hello\nAnswer: Hi!",
    "plain": "Hello\nHi!",
  };
  for (const name of formatNames) assertEquals(textOf(name, pair), expected[name]);
});

Deno.test("a system message stands first on a line of its own, turns follow each other", () => {
  assertEquals(
    textOf("q-a", long),
    "Be brief.\nQ: Hello\nA: Hi!\nQ: 1 + 1?\nA: (2)",
  );
});

Deno.test("what the model is to produce: the answers, and the label that hands over", () => {
  const produced = (name: FormatName) =>
    render(formats[name], long).filter(({ answer }) => answer).map(({ text }) => text);
  assertEquals(produced("human-assistant"), [" Hi!", "\nHuman:", " (2)"]);
  // Without labels nothing tells the end of an answer from its next line.
  assertEquals(produced("plain"), ["Hi!", "(2)"]);
});

Deno.test("a prompt is how the training text begins, for every format", () => {
  for (const name of formatNames) {
    for (const turns of [2, 4]) {
      const text = textOf(name, long);
      const prompt = renderPrompt(formats[name], long.slice(0, turns));
      assertEquals(text.slice(0, prompt.length), prompt);
    }
  }
  assertEquals(
    renderPrompt(formats["human-assistant"], pair.slice(0, 1)),
    "Human: Hello\nAssistant:",
  );
});

Deno.test("parts tokenise as the whole text does, so that a prompt continues as it was trained", () => {
  const contents = ["Hello", "1 + 1", "'s!", "(a)", "é 漢", "a\n\nb", "...", "<|endoftext|>", "x:"];
  for (const name of formatNames) {
    for (const question of contents) {
      for (const answer of contents) {
        const messages: Message[] = [
          { role: "user", content: question },
          { role: "assistant", content: answer },
          { role: "user", content: answer },
          { role: "assistant", content: question },
        ];
        const parts = render(formats[name], messages).flatMap(({ text }) => tokenizer.encode(text));
        assertEquals(parts, tokenizer.encode(textOf(name, messages)));
      }
    }
  }
});

Deno.test("small letters: what a user says, and nothing else", () => {
  const messages: Message[] = [
    { role: "system", content: "Be Brief." },
    { role: "user", content: "What Is GIT?" },
    { role: "assistant", content: "Git keeps versions." },
    { role: "user", content: "ÉTÉ" },
  ];
  const text = "Be Brief.\nHuman: what is git?\nAssistant: Git keeps versions.\nHuman: été";
  assertEquals(textOf("small-letters", messages), text);
  assertEquals(renderPrompt(formats["small-letters"], messages), `${text}\nAssistant:`);
});

Deno.test("an answer ends where somebody's next turn would begin", () => {
  assertEquals(stopTexts(formats["human-assistant"]), ["\nHuman:", "\nAssistant:"]);
  assertEquals(stopTexts(formats.plain), []);
});
