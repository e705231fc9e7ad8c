// The response filter: what each rule takes away, what it leaves, and that nothing shown is taken back.

import { assert, assertEquals } from "@std/assert";
import {
  copies,
  cutLoop,
  cutSpeaker,
  ResponseFilter,
  type RuleName,
  ruleNames,
} from "../../src/generation/mod.ts";
import { randomNumbers } from "../../src/random.ts";
import { formats } from "../../src/tokenizer/mod.ts";

/** The answer to a whole text, in pieces of its words or as given; `cut`: the length limit ended it. */
function filtered(
  text: string,
  { rules = ruleNames as readonly RuleName[], cut = false, pieces = text.split(/(?=\s)/) } = {},
) {
  const filter = new ResponseFilter({ rules: new Set(rules) });
  let shown = "", ended = false;
  for (const piece of pieces) {
    const result = filter.push(piece, cut);
    shown += result.shown;
    ended = result.ended;
    if (ended) break;
  }
  if (!ended) shown += filter.finish(cut);
  assertEquals(shown, filter.text);
  return { text: filter.text, ended, removals: filter.removals, looped: filter.looped };
}

/** What the filter leaves of a text. */
function left(text: string, cut = false): string {
  return filtered(text, { cut }).text;
}

const SENTENCE = "the cat sat down on the old mat.";

Deno.test("loop: a word five times, a phrase three times, a sentence twice stays once", () => {
  assertEquals(left("It is very very very very very big."), "It is very");
  assertEquals(left("I like red apples, red apples, red apples"), "I like red apples,");
  assertEquals(left(`So ${SENTENCE} And ${SENTENCE} And ${SENTENCE}`), `So ${SENTENCE} And`);
  assertEquals(left(`Today ${SENTENCE} ${SENTENCE}`), `Today ${SENTENCE}`);
  const { removals, looped } = filtered("No no no no no no no");
  assertEquals(looped, true);
  assertEquals(removals.map(({ rule }) => rule), ["loop"]);
});

Deno.test("loop: case and punctuation make no difference, other words do", () => {
  assertEquals(left("Stop, STOP! stop... Stop; stop, now"), "Stop,");
  assertEquals(left("one two three four five six seven"), "one two three four five six seven");
});

Deno.test("loop: repetitions that people write stay", () => {
  const texts = [
    "That is very, very, very big.",
    "No, no, no, no. I mean it.",
    "Row, row, row your boat. Row, row, row your boat.",
    "Buy red apples and red apples and green pears.",
    "She sells sea shells. She sells sea shells to me.",
    "ha ha ha ha!",
  ];
  for (const text of texts) assertEquals(left(text), text);
});

Deno.test("loop: a word that is still growing is no repetition yet", () => {
  assertEquals(cutLoop("a a a a a", false).at, null);
  assertEquals(cutLoop("a a a a a", true).at, 1);
  assertEquals(cutLoop("a a a a a ", false).at, 1);
  assertEquals(left("a a a a able man"), "a a a a able man");
  // A mark may be the beginning of any word.
  const quoted = 'we go "we go "we go "we go';
  assertEquals(filtered(quoted, { pieces: [...quoted] }).text, "we go");
});

Deno.test("loop: what may turn out to repeat is held back until it is decided", () => {
  assertEquals(cutLoop("now we go to", false).settled, "now we go to".length);
  assertEquals("so we go, we ".slice(0, cutLoop("so we go, we ", false).settled), "so we go, ");
  assertEquals(
    cutLoop("so we go, we stay", false).settled,
    "so we go, we stay".length,
  );
});

Deno.test("speaker: the next turn goes, in every format's labels and behind blank lines", () => {
  for (const { user, assistant } of Object.values(formats)) {
    for (const label of [user, assistant].filter((label) => label !== "")) {
      assertEquals(left(`It is red.\n${label} Why?`), "It is red.");
      assertEquals(left(`It is red. \n\n  ${label} Why?`), "It is red.");
      assertEquals(left(`The word ${label} is a label.`), `The word ${label} is a label.`);
    }
  }
  const { ended, removals } = filtered("Yes.\nHuman: Why?");
  assertEquals([ended, removals.map(({ rule }) => rule)], [true, ["speaker"]]);
});

Deno.test("speaker: a line that only looks like a label stays", () => {
  for (const text of ["Yes.\nHumans are kind.", "Yes.\nAll is well.", "Yes.\nQuick: run!"]) {
    assertEquals(left(text), text);
  }
});

Deno.test("speaker: a line that may become a label is held back", () => {
  assertEquals(cutSpeaker("Yes.\nHum"), { at: null, settled: 4 });
  assertEquals(cutSpeaker("Yes.\n "), { at: null, settled: 4 });
  assertEquals(cutSpeaker("Yes.\nHumour"), { at: null, settled: 11 });
  assertEquals(cutSpeaker("Yes.\nHuman:"), { at: 4, settled: 4 });
});

Deno.test("half sentence: goes when the length limit struck, and only then", () => {
  assertEquals(left("It is red. It is gre", true), "It is red.");
  assertEquals(left("It is red. It is gre", false), "It is red. It is gre");
  assertEquals(left('He said "no!" and th', true), 'He said "no!"');
  assertEquals(left("- apples\n- pea", true), "- apples");
  assertEquals(left("It is red. It is green.", true), "It is red. It is green.");
  // A number's point ends no sentence, and an answer of half a sentence is better than none.
  assertEquals(left("Pi is 3.14 or so", true), "Pi is 3.14 or so");
  assertEquals(filtered("It is red. It is gre", { cut: true }).removals, [
    { rule: "half-sentence", removed: " It is gre" },
  ]);
});

Deno.test("rules that are switched off take nothing", () => {
  const [speaker, loop, half] = ["Yes.\nHuman: Why?", "no no no no no no", "Yes. And th"] as const;
  const without = (off: RuleName, text: string) =>
    filtered(text, { cut: true, rules: ruleNames.filter((name) => name !== off) }).text;
  assertEquals(without("speaker", speaker), speaker);
  assertEquals(without("loop", loop), loop);
  assertEquals(without("half-sentence", half), half);
  for (const text of [speaker, loop, half]) {
    const all = filtered(text, { cut: true, rules: [] });
    assertEquals([all.text, all.ended, all.removals], [text, false, []]);
  }
});

Deno.test("copies: the question said back, however it is spelled", () => {
  assert(copies("What is red?", "what is RED"));
  assert(copies("What is red?", ' "What is  red?!" '));
  assert(!copies("What is red?", "What is red? A colour."));
  assert(!copies("", ""));
});

const WORDS = [
  " a",
  " be",
  " bee",
  ' "be',
  " a.",
  " b!",
  ".",
  " ...",
  "\n",
  " ",
  "\nHuman:",
  "\nQ",
  " A:",
];

/** A text of random words, with runs of them said again and again. */
function randomText(random: () => number): string {
  const pick = (below: number) => Math.floor(random() * below);
  let text = "";
  for (let part = pick(8); part >= 0; part--) {
    let unit = "";
    for (let word = pick(7); word >= 0; word--) unit += WORDS[pick(WORDS.length)];
    text += unit.repeat(random() < 0.5 ? 1 : 1 + pick(6));
  }
  return text;
}

function randomPieces(text: string, random: () => number): string[] {
  const pieces: string[] = [];
  for (let at = 0; at < text.length;) {
    const end = at + Math.floor(random() * 8);
    pieces.push(text.slice(at, end));
    at = end;
  }
  return pieces;
}

Deno.test("random texts in random pieces: what was shown is the final text, whatever the rules", () => {
  const random = randomNumbers(17);
  const removed = new Map<RuleName, number>();
  for (let round = 0; round < 3000; round++) {
    const rules = ruleNames.filter(() => random() < 0.7);
    const text = randomText(random), limit = random();
    const filter = new ResponseFilter({ rules: new Set(rules) });
    let shown = "", whole = "", ended = false;
    for (const piece of randomPieces(text, random)) {
      whole += piece;
      const result = filter.push(piece, whole.length > limit * text.length);
      shown += result.shown;
      assertEquals(shown, filter.text, JSON.stringify(text));
      ended = result.ended;
      if (ended) break;
    }
    if (!ended) shown += filter.finish(random() < 0.5);
    assertEquals(shown, filter.text, JSON.stringify(text));
    // The filter takes from the end alone, and says what it took.
    assert(whole.startsWith(shown), JSON.stringify(text));
    assertEquals(filter.removals.length > 0 || shown === whole.trimEnd(), true, text);
    for (const { rule } of filter.removals) removed.set(rule, (removed.get(rule) ?? 0) + 1);
  }
  for (const rule of ruleNames) assert(removed.get(rule)! > 50, `${rule}: ${removed.get(rule)}`);
});

Deno.test("random texts in random pieces: a rule cuts in the same place however the pieces are", () => {
  const random = randomNumbers(18);
  for (let round = 0; round < 2000; round++) {
    const text = randomText(random);
    for (const rule of ["speaker", "loop"] as const) {
      const atOnce = filtered(text, { rules: [rule], pieces: [text] }).text;
      const inPieces = filtered(text, { rules: [rule], pieces: randomPieces(text, random) }).text;
      assertEquals(inPieces, atOnce, `${rule}: ${JSON.stringify(text)}`);
    }
  }
});
