// Made-up questions: of the intent's own words, with one of its answers.

import { assert, assertEquals } from "@std/assert";
import { type Entry, keywordQuestions } from "../../src/data/mod.ts";

function pair(question: string, answer: string, intent: string): Entry {
  return {
    kind: "conversation",
    messages: [{ role: "user", content: question }, { role: "assistant", content: answer }],
    source: "x",
    intent,
  };
}

const entries = [
  pair("What is a cat?", "A cat is a furry animal that purrs.", "cat"),
  pair("Which pet says meow?", "A cat is a furry animal that purrs.", "cat"),
  pair("What is rust?", "Rust is iron with oxygen.", "rust"),
  pair("Who won?", "I do not know.", "unknown"),
];

Deno.test("keyword questions: telling words of the intent's answers and questions, none for the unknown", () => {
  const made = keywordQuestions(entries, 5, 3);
  assertEquals(made.map(({ intent }) => intent).sort(), [
    ...new Array(10).fill("cat"),
    ...new Array(10).fill("rust"),
  ]);
  const frames = /what|has|to|do|with|explain|i|mean|it|is|about|that|how|something|you|call/;
  for (const { messages, intent } of made) {
    const [question, answer] = messages.map(({ content }) => content);
    assertEquals(
      answer,
      intent === "cat" ? "A cat is a furry animal that purrs." : "Rust is iron with oxygen.",
    );
    const known = new Set("cat furry animal purrs pet says meow".split(" "));
    const words = question!.toLowerCase().match(/[a-z]+/g)!.filter((word) => !frames.test(word));
    if (intent === "cat") assert(words.every((word) => known.has(word)), question);
  }
  assertEquals(keywordQuestions(entries, 5, 3), made);
  assertEquals(keywordQuestions(entries, 0, 3), []);
});
