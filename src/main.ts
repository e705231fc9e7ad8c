// The program's entry: finds the subcommand, and turns errors into exit codes.

import {
  type CommandSpecification,
  COMMON_OPTIONS,
  helpText,
  invocation,
  type OptionTable,
  suggestion,
} from "./commands/options.ts";
import { runSafely } from "./commands/safe_mode.ts";
import { isSystemError, UserError } from "./errors.ts";
import project from "../deno.json" with { type: "json" };

/** What a command's file exports. */
interface CommandModule {
  readonly command: CommandSpecification<OptionTable>;
  /** Ends with the exit code. */
  run(args: string[]): Promise<number>;
}

/** Loaded when needed, so that a command does not wait for what only others use. */
const commands: Record<string, { readonly summary: string; load(): Promise<CommandModule> }> = {
  train: {
    summary: "train or fine-tune a model on conversations",
    load: () => import("./commands/train.ts"),
  },
  chat: { summary: "talk with a model", load: () => import("./commands/chat.ts") },
  generate: {
    summary: "answer one prompt, or continue a text",
    load: () => import("./commands/generate.ts"),
  },
  eval: { summary: "measure a model's loss on data", load: () => import("./commands/eval.ts") },
  compare: {
    summary: "train several recipes on the same data and seeds, and compare them",
    load: () => import("./commands/compare.ts"),
  },
  preferences: {
    summary: "make pairs of a better and a worse answer from a model's own samples",
    load: () => import("./commands/preferences.ts"),
  },
  "check-data": {
    summary: "find duplicates, leaks, contradictions and faults in data",
    load: () => import("./commands/check_data.ts"),
  },
  export: {
    summary: "write a checkpoint for Hugging Face's transformers or llama.cpp",
    load: () => import("./commands/export.ts"),
  },
  import: {
    summary: "make a checkpoint of a .pth file, a GGUF file or a Hugging Face directory",
    load: () => import("./commands/import.ts"),
  },
  info: {
    summary: "show a model's size and the memory it needs",
    load: () => import("./commands/info.ts"),
  },
  bench: { summary: "measure speed on this machine", load: () => import("./commands/bench.ts") },
};

function overview(): string {
  const names = Object.keys(commands);
  const width = Math.max(...names.map((name) => invocation(name).length)) + 2;
  return [
    "iLLuMinator trains small GPT models on an ordinary computer and talks with them.",
    "",
    ...names.map((name) => `  ${invocation(name).padEnd(width)}${commands[name]!.summary}`),
    "",
    `Each takes --help, and --safe: ${COMMON_OPTIONS.safe.help}.`,
    `Version ${project.version}.`,
  ].join("\n");
}

async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === "--help" || name === "-h" || name === "help") {
    console.log(overview());
    return 0;
  }
  if (name === "--version") {
    console.log(project.version);
    return 0;
  }
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined) {
    throw new UserError(
      `unknown command ${name}${suggestion(name, Object.keys(commands)) || "."} ` +
        `There are ${Object.keys(commands).join(", ")}`,
    );
  }
  if (rest.includes("--safe")) {
    return runSafely(import.meta.url, [name, ...rest.filter((arg) => arg !== "--safe")]);
  }
  const module = await command.load();
  if (rest.includes("--help") || rest.includes("-h")) {
    console.log(helpText(module.command));
    return 0;
  }
  return await module.run(rest);
}

if (import.meta.main) {
  try {
    Deno.exitCode = await main(Deno.args);
  } catch (error) {
    if (error instanceof UserError || isSystemError(error)) {
      console.error(`error: ${new UserError(error.message).message}`);
      Deno.exit(2);
    }
    console.error(error);
    Deno.exit(1);
  }
}
