// Rewards by rules, one by one, and their sum.

import { assertAlmostEquals, assertEquals } from "@std/assert";
import type { Conversation } from "../../src/data/mod.ts";
import type { Ending, Generated } from "../../src/generation/mod.ts";
import { Judge, type RewardName, rewards, scoreOf } from "../../src/training/mod.ts";

function conversation(question: string, answer: string, intent?: string): Conversation {
  return {
    kind: "conversation",
    messages: [{ role: "user", content: question }, { role: "assistant", content: answer }],
    source: "test",
    ...intent === undefined ? {} : { intent },
  };
}

const GIT = "Git records every version of your files.";
const CSS = "CSS says how a page looks.";
const UNSURE = "I do not know that. Ask me something else.";
const data = [
  conversation("What is Git?", GIT, "git"),
  conversation("Git?", "With Git you can go back to any version.", "git"),
  conversation("What is CSS?", CSS, "css"),
  conversation("Who wins tomorrow?", UNSURE, "unknown"),
];
const [git, , , unknown] = data as [Conversation, Conversation, Conversation, Conversation];
const judge = new Judge(data, [3, 8]);

function said(text: string, ending: Ending = "end-of-text"): Generated {
  return { text, tokens: [], ending, removals: [] };
}

function reward(name: RewardName, answer: Generated, question = git): number {
  return rewards[name]({ answer, question, judge });
}

Deno.test("stops: only the end-of-text token counts", () => {
  assertEquals(reward("stops", said(GIT)), 1);
  for (const ending of ["length", "stop-text", "filter"] as const) {
    assertEquals(reward("stops", said(GIT, ending)), 0);
  }
});

Deno.test("no-repetition: less for every run of four words that came before", () => {
  assertEquals(reward("no-repetition", said(GIT)), 1);
  // Words a b c d a b c d: the fifth of five runs is the first again.
  assertAlmostEquals(reward("no-repetition", said("a b c d a b c d")), 4 / 5, 1e-12);
});

Deno.test("intent: F1 with the nearest accepted answer, nothing where another intent's is nearer", () => {
  assertEquals(reward("intent", said(GIT)), 1);
  assertEquals(reward("intent", said("With Git you can go back to any version.")), 1);
  // Six of the seven words.
  assertAlmostEquals(reward("intent", said("Git records every version of files.")), 12 / 13, 1e-12);
  assertEquals(reward("intent", said(CSS)), 0);
  assertEquals(reward("intent", said("")), 0);
  assertEquals(reward("intent", said(UNSURE), unknown), 1);
  // Without an intent, the question's own answer is what counts.
  assertEquals(reward("intent", said(CSS), conversation("?", CSS)), 1);
});

Deno.test("length: 1 within the range, the ratio to its nearer end outside", () => {
  assertEquals(reward("length", said("one two three")), 1);
  assertAlmostEquals(reward("length", said("one two")), 2 / 3, 1e-12);
  assertEquals(reward("length", said("")), 0);
  assertAlmostEquals(reward("length", said("word ".repeat(16))), 1 / 2, 1e-12);
});

Deno.test("format: a beginning, an end, no labels, no half characters", () => {
  for (
    const text of [
      GIT,
      "3.",
      "`ls` lists files.",
      '"Yes."',
      "Do this:\n- that;",
      "Übung.",
      "npm installs.",
    ]
  ) {
    assertEquals(reward("format", said(text)), 1, text);
  }
  for (
    const text of ["", "Git records", "Git.\nHuman: more?", "Git \ufffd.", ", so."]
  ) {
    assertEquals(reward("format", said(text)), 0, text);
  }
  assertEquals(reward("format", said(GIT, "stop-text")), 0);
});

Deno.test("honesty: to say that one does not know is right where the data say so, and only there", () => {
  assertEquals(reward("honesty", said(UNSURE), unknown), 1);
  assertEquals(reward("honesty", said("I do not know that."), unknown), 1);
  assertEquals(reward("honesty", said(GIT), unknown), 0);
  assertEquals(reward("honesty", said(UNSURE), git), 0);
  assertEquals(reward("honesty", said(CSS), git), 1);
});

Deno.test("the score is the weighted sum of the rewards that have a weight", () => {
  const attempt = { answer: said(CSS, "length"), question: git, judge };
  assertEquals(scoreOf(attempt, { stops: 1, intent: 2, honesty: 0.5, length: 0 }), {
    total: 0.5,
    parts: { stops: 0, intent: 0, honesty: 1 },
  });
});
