// The command chat from outside: through a pipe and in a terminal.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { MAIN, PERMISSIONS, run, withParrot } from "./parrot.ts";

const decoder = new TextDecoder(), encoder = new TextEncoder();

Deno.test("chat: through a pipe, answers and the commands' replies line by line", () =>
  withParrot(async (directory) => {
    const lines = [
      "/tokens",
      "/undo",
      "Hello",
      "",
      "  /tokens  ",
      "/temp warm",
      "/temp 0",
      "/nonsense",
      "/save",
      "/save talk.jsonl",
      "/undo",
      "/load talk.jsonl",
      "/clear",
      "/retry",
      "/load nowhere.jsonl",
      "/beams 2",
      "How are you?",
      "/quit",
      "never read",
    ];
    const { code, stdout, stderr } = await run(directory, ["chat"], lines.join("\n"));
    assertEquals([code, stderr], [0, ""]);
    const [full, ...rest] = stdout.split("\n").slice(3);
    assertMatch(full!, /^2 messages, [1-9]\d of 4096 tokens$/);
    assertEquals(stdout.split("\n").slice(0, 3), [
      "0 messages, 0 of 4096 tokens",
      "there is nothing to undo",
      "hi",
    ]);
    const load = rest.findIndex((line) => line.includes("nowhere.jsonl"));
    assertEquals(rest.toSpliced(load, 1), [
      "/temp takes a number from 0 to 10; it is 0",
      "there is no command /nonsense; /help lists them",
      "/save needs the name of a file",
      "saved to talk.jsonl",
      "taken back: Hello",
      "2 messages from talk.jsonl",
      "the conversation is forgotten",
      "there is nothing to answer again",
      "hi",
      "",
    ]);
    assertEquals(JSON.parse(Deno.readTextFileSync(`${directory}/talk.jsonl`)), {
      messages: [{ role: "user", content: "Hello" }, { role: "assistant", content: "hi" }],
    });
  }));

Deno.test("chat: the end of the input ends it; /help lists every command; flags decide the answer", () =>
  withParrot(async (directory) => {
    const help = await run(directory, ["chat"], "/help\n");
    assertEquals([help.code, help.stderr], [0, ""]);
    for (const name of ["/undo", "/temp N", "/beams N", "/load FILE", "/quit"]) {
      assertStringIncludes(help.stdout, `${name} `);
    }
    const flags = ["--no-filter", "loop,half-sentence", "--max-tokens", "3"];
    const long = await run(directory, ["chat", ...flags], "Hello");
    assertEquals([long.code, long.stdout], [0, "hi hi hi\n"]);
    const explained = await run(directory, ["chat", "--explain", "--stop", "i hi"], "Hello\n");
    assertEquals([explained.code, explained.stdout], [0, "h\n"]);
    const loop = await run(directory, ["chat", "--explain"], "Hello\n");
    assertEquals([loop.code, loop.stdout], [0, "hi\n"]);
    assertStringIncludes(loop.stderr, 'filter: loop took away " hi hi hi hi');
    const typo = await run(directory, ["chat", "--no-filter", "lop"]);
    assertEquals([typo.code, typo.stdout], [2, ""]);
    assertMatch(typo.stderr, /^error: --no-filter: there is no rule lop: did you mean loop\?.*\n$/);
  }));

/** A program in a pseudo-terminal of 80 columns, which `script` of util-linux makes. */
class Terminal {
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  #shown = "";
  #read = 0;

  constructor(directory: string, args: readonly string[]) {
    const command = ["deno", "run", ...PERMISSIONS, MAIN, ...args].map((arg) => `'${arg}'`);
    this.#child = new Deno.Command("script", {
      args: ["-qfec", `stty cols 80 rows 24; exec ${command.join(" ")}`, "/dev/null"],
      cwd: directory,
      env: { NO_COLOR: "1", TERM: "xterm" },
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    this.#writer = this.#child.stdin.getWriter();
    this.#reader = this.#child.stdout.getReader();
  }

  /** Presses keys. */
  async type(keys: string): Promise<void> {
    await this.#writer.write(encoder.encode(keys));
  }

  /** Waits for text behind what was waited for before; returns what came until then. */
  async until(text: string): Promise<string> {
    while (this.#shown.indexOf(text, this.#read) < 0) {
      const { value, done } = await this.#reader.read();
      assert(!done, `the program ended without ${text}: ${JSON.stringify(this.#shown)}`);
      this.#shown += decoder.decode(value, { stream: true });
    }
    const from = this.#read;
    this.#read = this.#shown.indexOf(text, from) + text.length;
    return this.#shown.slice(from, this.#read);
  }

  /** Waits for the program's end; returns its exit code. */
  async end(): Promise<number> {
    while (!(await this.#reader.read()).done);
    await this.#writer.close().catch(() => {});
    return (await this.#child.status).code;
  }

  kill(): void {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
  }
}

const hasTerminals = Deno.build.os === "linux" &&
  Deno.permissions.querySync({ name: "run", command: "script" }).state === "granted";

/** Tests a program in a terminal, within a minute, and only where there is `script`. */
function terminalTest(
  name: string,
  args: readonly string[],
  work: (terminal: Terminal) => Promise<void>,
): void {
  Deno.test({
    name,
    ignore: !hasTerminals,
    fn: () =>
      withParrot(async (directory) => {
        const terminal = new Terminal(directory, args);
        const timeout = setTimeout(() => terminal.kill(), 60_000);
        try {
          await work(terminal);
        } finally {
          clearTimeout(timeout);
          terminal.kill();
          await terminal.end();
        }
      }),
  });
}

const ENDLESS = ["chat", "--no-filter", "all", "--max-tokens", "4096", "--threads", "1"];

terminalTest(
  "chat in a terminal: Ctrl-C stops an answer and not the program; commands; /quit",
  ENDLESS,
  async (terminal) => {
    assertStringIncludes(await terminal.until("you> "), "/help lists commands.");
    await terminal.type("Hello\r");
    await terminal.until("hi hi hi");
    await terminal.type("\x03");
    const answer = await terminal.until("you> ");
    assertStringIncludes(answer, "(stopped)");
    await terminal.type("/tokens\r");
    await terminal.until("2 messages, ");
    await terminal.until("you> ");
    await terminal.type("/undo\r");
    await terminal.until("taken back: Hello");
    await terminal.until("you> ");
    await terminal.type("/temp 0\r");
    await terminal.until("you> ");
    await terminal.type("/nonsense\r");
    await terminal.until("there is no command /nonsense");
    await terminal.until("you> ");
    await terminal.type("/quit\r");
    assertEquals(await terminal.end(), 0);
  },
);

terminalTest(
  "chat in a terminal: lines are edited; Ctrl-C gives a line up, and on an empty one ends",
  ["chat", "--max-tokens", "2", "--threads", "1"],
  async (terminal) => {
    await terminal.until("you> ");
    // A word taken back, a letter put in behind two steps to the left, the line before by arrow.
    await terminal.type("/tokens now\x7f\x7f\x7f\x7f\r");
    await terminal.until("0 messages, ");
    await terminal.until("you> ");
    await terminal.type("/tokns\x1b[D\x1b[De\r");
    await terminal.until("0 messages, ");
    await terminal.until("you> ");
    await terminal.type("\x1b[A\r");
    await terminal.until("0 messages, ");
    await terminal.until("you> ");
    await terminal.type("/nonsense\x03");
    await terminal.type("/undo\r");
    await terminal.until("nothing to undo");
    await terminal.until("you> ");
    await terminal.type("\x03");
    assertEquals(await terminal.end(), 0);
  },
);

terminalTest(
  "chat in a terminal: a line typed during an answer is the next question; Ctrl-D ends",
  ENDLESS.with(4, "400"),
  async (terminal) => {
    await terminal.until("you> ");
    await terminal.type("Hello\r");
    await terminal.until("hi hi");
    await terminal.type("/undo\r");
    await terminal.until("reached --max-tokens");
    await terminal.until("taken back: Hello");
    await terminal.until("you> ");
    await terminal.type("\x04");
    assertEquals(await terminal.end(), 0);
  },
);
