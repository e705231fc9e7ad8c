// The command generate from outside: one prompt, a text to continue, and a file of prompts.

import { assertEquals, assertMatch, assertNotEquals, assertStringIncludes } from "@std/assert";
import { run, withParrot } from "./parrot.ts";

/** The JSON of every line of a text. */
function linesOf(text: string): unknown[] {
  return text.split("\n").slice(0, -1).map((line) => JSON.parse(line));
}

Deno.test("generate: an answer, a text that goes on, and the same as JSON", () =>
  withParrot(async (directory) => {
    const prompt = await run(directory, ["generate", "--prompt", "Hello", "--explain"]);
    assertEquals([prompt.code, prompt.stdout], [0, "hi\n"]);
    assertStringIncludes(prompt.stderr, 'filter: loop took away " hi hi hi hi');
    const free = ["--max-tokens", "3", "--no-filter", "all"];
    const raw = await run(directory, ["generate", "--raw", "Once", ...free]);
    assertEquals(raw, { code: 0, stdout: "hi hi hi\n", stderr: "" });
    const json = await run(directory, ["generate", "--prompt", "Hello", ...free, "--json"]);
    const { text, tokens, ending, stopped } = JSON.parse(json.stdout);
    assertEquals([text, tokens.length, ending, stopped], ["hi hi hi", 3, "length", false]);
    const beams = await run(directory, ["generate", "--prompt", "Hello", ...free, "--beams", "3"]);
    assertEquals(beams, { code: 0, stdout: "hi hi hi\n", stderr: "" });
  }));

Deno.test("generate: the answers to a file of prompts, in its order, other fields kept", () =>
  withParrot(async (directory) => {
    const turns = [
      { role: "user", content: "Hello" },
      { role: "assistant", content: "Hi." },
      { role: "user", content: "Bye" },
    ];
    const prompts = [{ prompt: "Hello", id: 7 }, { messages: turns }, { prompt: "Why?" }];
    const text = prompts.map((prompt) => JSON.stringify(prompt) + "\n").join("\n");
    Deno.writeTextFileSync(`${directory}/prompts.jsonl`, text);
    const files = ["--prompts", "prompts.jsonl", "--out", "answers.jsonl"];
    for (const width of ["1", "2"]) {
      const { code, stdout, stderr } = await run(directory, [
        "generate",
        ...files,
        "--width",
        width,
        "--max-tokens",
        "2",
      ]);
      assertEquals([code, stdout], [0, ""]);
      assertMatch(stderr, /3 of 3 answers are in answers\.jsonl\n$/);
      const answers = linesOf(Deno.readTextFileSync(`${directory}/answers.jsonl`));
      assertEquals(
        answers,
        prompts.map((prompt) => ({ ...prompt, answer: "hi hi", stopped: false })),
      );
    }
  }));

Deno.test("generate: of a file's answers, those that copy the question are tried again; stops are said", () =>
  withParrot(async (directory) => {
    const prompts = `{"prompt": "Hello"}\n{"prompt": "Hi!"}\n`;
    Deno.writeTextFileSync(`${directory}/prompts.jsonl`, prompts);
    const answers = async (...args: string[]) => {
      const files = ["--prompts", "prompts.jsonl", "--out", "answers.jsonl"];
      const { code } = await run(directory, ["generate", ...files, ...args]);
      assertEquals(code, 0);
      const lines = linesOf(Deno.readTextFileSync(`${directory}/answers.jsonl`));
      return lines.map((line) => line as { answer: string; stopped: boolean });
    };
    const once = await answers("--max-tokens", "1");
    assertEquals(once.map(({ answer }) => answer), ["hi", "hi"]);
    const again = await answers("--max-tokens", "1", "--retries", "2");
    assertEquals(again[0]!.answer, "hi");
    assertNotEquals(again[1]!.answer, "hi");
    const stopped = await answers("--stop", "i hi");
    assertEquals(stopped.map(({ answer, stopped }) => [answer, stopped]), [["h", true], [
      "h",
      true,
    ]]);
  }));

Deno.test("generate: mistakes are one line that says where, and leave the answers as they were", () =>
  withParrot(async (directory) => {
    const write = (name: string, text: string) =>
      Deno.writeTextFileSync(`${directory}/${name}`, text);
    write("good.jsonl", '{"prompt": "Hello"}\n');
    write("bad.jsonl", '{"prompt": "Hello"}\n{"prompt": 7}\n');
    write("broken.jsonl", '\n{"prompt": "Hello"\n');
    write("long.jsonl", `{"prompt": "Hi"}\n{"prompt": "${"hi ".repeat(5000)}"}\n`);
    write("answers.jsonl", "kept\n");
    const out = ["--out", "answers.jsonl"];
    const refused: [string[], RegExp][] = [
      [["--prompts", "bad.jsonl", ...out], /^error: bad\.jsonl:2: /],
      [["--prompts", "broken.jsonl", ...out], /^error: broken\.jsonl:2: /],
      [["--prompts", "none.jsonl", ...out], /^error: none\.jsonl: /],
      [["--prompts", "long.jsonl", ...out], /^error: long\.jsonl:2: the text has \d+ tokens/],
      [["--prompts", "good.jsonl"], /^error: --prompts FILE and --out FILE go together/],
      [["--prompts", "good.jsonl", "--prompt", "Hi"], /^error: generate needs one of/],
      [[], /^error: generate needs one of --prompt TEXT, --raw TEXT and --prompts FILE/],
      [["--prompt", "Hi", "--no-filter", "half"], /^error: --no-filter: there is no rule half/],
      [["--prompt", "Hi", "--beams", "2", "--temperature", "1"], /goes without --temperature/],
      [["--prompt", "Hi", "--beams", "3", "--beam-groups", "2"], /must be a multiple of/],
      [["--prompt", "Hi", "--min-tokens", "9", "--max-tokens", "8"], /not be above --max-tokens/],
      [["--prompt", "Hi", "--logit-bias", "hi"], /--logit-bias must be TEXT=NUMBER, got hi/],
      [["--prompts", "good.jsonl", "--out", "no/where"], /^error: no\/where: cannot be written/],
    ];
    for (const [args, message] of refused) {
      const { code, stdout, stderr } = await run(directory, ["generate", ...args]);
      assertEquals([code, stdout], [2, ""], `${args.join(" ")}: ${stderr}`);
      const lines = stderr.trim().split("\n");
      assertMatch(lines.at(-1)!, message);
    }
    assertEquals(Deno.readTextFileSync(`${directory}/answers.jsonl`), "kept\n");
  }));
