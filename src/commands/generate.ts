// deno task generate: answers one prompt or a file of them, or continues a text.

import type { GPT } from "../model/mod.ts";
import { type PromptLine, readPrompts } from "../data/mod.ts";
import { UserError } from "../errors.ts";
import {
  answerPrompt,
  faultOf,
  generateBatch,
  type Generated,
  type GenerationOptions,
  PromptCache,
  retryOptions,
} from "../generation/mod.ts";
import {
  type ChatFormat,
  formats,
  renderPrompt,
  stopTexts,
  type Tokenizer,
} from "../tokenizer/mod.ts";
import {
  DECODING_OPTIONS,
  decodingOptions,
  explain,
  FILTER_OPTIONS,
  filterOptions,
  unsureOption,
} from "./decoding_options.ts";
import { onInterrupt } from "./interrupt.ts";
import { loadModel, MODEL_OPTIONS, PRECISION_OPTION } from "./model_options.ts";
import {
  type CommandSpecification,
  type OptionTable,
  parseOptions,
  type Values,
} from "./options.ts";
import { Progress, streamOutput } from "./progress.ts";

export const command = {
  name: "generate",
  summary: "answer prompts as a user's messages, or continue a text",
  options: {
    prompt: { type: "string", placeholder: "TEXT", help: "a user's message to answer" },
    raw: { type: "string", placeholder: "TEXT", help: "a text to continue as it is" },
    prompts: {
      type: "string",
      placeholder: "FILE",
      help: 'messages to answer, a line of JSON each: {"prompt"} or {"messages"}',
    },
    out: { type: "string", placeholder: "FILE", help: "where the answers to --prompts go" },
    "as-data": {
      type: "boolean",
      help: "write lines that train --data reads, with the answers that ended by themselves: " +
        "a student's data, in its teacher's words",
    },
    width: {
      type: "integer",
      minimum: 1,
      maximum: 64,
      default: 8,
      help: "answers to --prompts written side by side",
    },
    ...MODEL_OPTIONS,
    ...PRECISION_OPTION,
    ...DECODING_OPTIONS,
    ...FILTER_OPTIONS,
    json: { type: "boolean", help: "print JSON: text, tokens and why it ended" },
  },
} satisfies CommandSpecification<OptionTable>;

type Options = Values<typeof command.options>;

/** What both ways of generating need. */
interface Setting {
  readonly model: GPT;
  readonly tokenizer: Tokenizer;
  readonly format: ChatFormat;
  readonly options: Options;
  readonly decoding: Omit<GenerationOptions, "stopTexts">;
}

export async function run(args: string[]): Promise<number> {
  const options = parseOptions(command, args);
  const { prompt, raw, prompts, out } = options;
  if ([prompt, raw, prompts].filter((given) => given !== undefined).length !== 1) {
    throw new UserError("generate needs one of --prompt TEXT, --raw TEXT and --prompts FILE");
  }
  if ((prompts === undefined) !== (out === undefined)) {
    throw new UserError("--prompts FILE and --out FILE go together");
  }
  if (options["as-data"] && prompts === undefined) {
    throw new UserError("--as-data needs --prompts FILE");
  }
  const lines = prompts === undefined ? null : readPrompts(prompts);
  const loaded = await loadModel(options);
  const { model, runtime, metadata, tokenizer } = loaded;
  const stop = new AbortController();
  const release = onInterrupt(() => stop.abort());
  const setting: Setting = {
    model,
    tokenizer,
    format: formats[metadata.format],
    options,
    decoding: {
      ...decodingOptions(options, tokenizer),
      filter: filterOptions(options),
      unsure: raw === undefined ? unsureOption(options.unsure, loaded) : undefined,
      signal: stop.signal,
    },
  };
  try {
    return lines === null ? await one(setting) : await many(setting, lines, stop.signal);
  } finally {
    release();
    runtime.close();
  }
}

/** The prompt's tokens. @throws UserError when the model cannot read so many */
function encodePrompt({ model, tokenizer }: Setting, text: string, where: string): number[] {
  const encoded = tokenizer.encode(text);
  const { n_positions } = model.configuration;
  if (encoded.length >= n_positions) {
    throw new UserError(
      `${where}the text has ${encoded.length} tokens, the model reads ${n_positions - 1}`,
    );
  }
  // An empty text begins where every text ended in training.
  return encoded.length > 0 ? encoded : [tokenizer.special.endOfText];
}

async function one(setting: Setting): Promise<number> {
  const { model, tokenizer, format, options, decoding } = setting;
  const { prompt, raw, json } = options;
  const text = raw ?? renderPrompt(format, [{ role: "user", content: prompt!.trim() }]);
  const tokens = encodePrompt(setting, text, "");
  const encoder = new TextEncoder();
  const plain = { ...format, user: "", assistant: "" };
  const answer = await answerPrompt(
    new PromptCache(model),
    tokenizer,
    raw === undefined ? format : plain,
    tokens,
    prompt ?? "",
    {
      ...decoding,
      stop: options.stop,
      retries: options.retries,
      onText: (piece) => {
        if (!json) Deno.stdout.writeSync(encoder.encode(piece));
      },
    },
  );
  const { ending, removals, rejected } = answer;
  console.log(json ? JSON.stringify({ ...answer, stopped: hasStopped(answer) }) : "");
  if (options.explain) console.error(explain(removals, rejected).join("\n") || "filter: nothing");
  return ending === "aborted" ? 130 : 0;
}

/** Whether an answer ended by itself. */
function hasStopped({ ending }: Generated): boolean {
  return ending === "end-of-text" || ending === "stop-text" || ending === "unsure";
}

/**
 * Sequence-level distillation (Kim and Rush 2016): a line that train reads, with the answer in place of the one that
 * it had and its labels kept. None for an answer that says nothing, was cut off, or is what an unsure model says.
 */
function dataLine({ messages, source }: PromptLine, { text, ending }: Generated): string | null {
  const content = text.trim();
  if (content === "" || ending !== "end-of-text" && ending !== "stop-text") return null;
  const { intent, category } = source;
  return JSON.stringify({
    messages: [...messages, { role: "assistant", content }],
    intent,
    category,
  });
}

/** The last thing that the user says. */
function questionOf({ messages }: PromptLine): string {
  return messages.at(-1)!.content;
}

async function many(
  setting: Setting,
  lines: readonly PromptLine[],
  signal: AbortSignal,
): Promise<number> {
  const { model, tokenizer, format, options, decoding } = setting;
  const stop = [...stopTexts(format), ...options.stop];
  const requests = lines.map(({ messages, where }) => ({
    prompt: encodePrompt(setting, renderPrompt(format, messages), `${where}: `),
    options: { ...decoding, stopTexts: stop },
  }));
  const progress = new Progress(lines.length, streamOutput(Deno.stderr));
  const start = performance.now();
  let done = 0, said = 0;
  const answers = await generateBatch(model, tokenizer, requests, {
    width: options.width,
    signal,
    onDone: (_, { tokens }) => {
      said += tokens.length;
      const rate = said / (performance.now() - start) * 1000;
      progress.update(++done, [`${rate.toFixed(0)} tokens/s`]);
    },
  });
  for (let attempt = 1; attempt <= options.retries && !signal.aborted; attempt++) {
    const bad = [...lines.keys()].filter((i) =>
      faultOf(questionOf(lines[i]!), answers[i]!) !== null
    );
    const again = bad.map((i) => {
      const { prompt, options } = requests[i]!;
      return { prompt, options: { ...options, ...retryOptions(options, attempt) } };
    });
    const better = await generateBatch(model, tokenizer, again, { width: options.width, signal });
    bad.forEach((i, at) => answers[i] = better[at] ?? answers[i]);
  }
  progress.clear();
  const written = answers.flatMap((answer, i) => {
    if (answer === undefined) return [];
    const line = lines[i]!;
    if (options["as-data"]) return dataLine(line, answer) ?? [];
    return [JSON.stringify({ ...line.source, answer: answer.text, stopped: hasStopped(answer) })];
  });
  try {
    Deno.writeTextFileSync(options.out!, written.map((line) => line + "\n").join(""));
  } catch (error) {
    throw new UserError(`${options.out}: cannot be written: ${(error as Error).message}`);
  }
  console.error(`${written.length} of ${lines.length} answers are in ${options.out}`);
  return signal.aborted ? 130 : 0;
}
