// deno task chat: talks with a model, in a terminal or line by line through a pipe.

import type { CheckpointInfo } from "../checkpoint/mod.ts";
import { UserError } from "../errors.ts";
import { ChatSession } from "../generation/mod.ts";
import { formats, loadTokenizer } from "../tokenizer/mod.ts";
import { type LoadedModel, loadModel, MODEL_OPTIONS, SAMPLING_OPTIONS } from "./model_options.ts";
import { type CommandSpecification, type OptionTable, parseOptions } from "./options.ts";

export const command = {
  name: "chat",
  summary: "talk with a model",
  options: {
    ...MODEL_OPTIONS,
    ...SAMPLING_OPTIONS,
    turns: {
      type: "integer",
      minimum: 1,
      maximum: 1000,
      help: "questions that the model sees at a time; as many as it was trained on if not given",
    },
  },
} satisfies CommandSpecification<OptionTable>;

const HELP = `/help         this text
/clear        forget the conversation
/temp N       temperature: 0 always the likeliest word, 1 as trained
/save FILE    write the conversation as a line of JSON
/quit         end; Ctrl-D does too, and Ctrl-C stops an answer`;

/** Small models answer best when they say what is likeliest; /temp asks for variety. */
const TEMPERATURE = 0;

interface Settings {
  temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly maxTokens: number;
  seed: number;
}

/** Lines of standard input, without their ends. */
async function* lines(onWait: () => void): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  onWait();
  for await (const chunk of Deno.stdin.readable) {
    rest += decoder.decode(chunk, { stream: true });
    const parts = rest.split("\n");
    rest = parts.pop()!;
    for (const part of parts) {
      yield part.replace(/\r$/, "");
      onWait();
    }
  }
  if (rest !== "") yield rest;
}

function print(text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let done = 0; done < bytes.length;) done += Deno.stdout.writeSync(bytes.subarray(done));
}

/** The conversation as the data reader takes it. */
function saveConversation(path: string, session: ChatSession): void {
  const line = JSON.stringify({ messages: session.messages });
  try {
    Deno.writeTextFileSync(path, line + "\n", { append: true });
  } catch (error) {
    throw new UserError(`${path}: cannot be written: ${(error as Error).message}`);
  }
}

/** Does what a line that begins with / asks for; false ends the chat. */
function obey(line: string, session: ChatSession, settings: Settings): boolean {
  const [name, argument = ""] = line.split(/\s+(.*)/s);
  switch (name) {
    case "/help":
      console.log(HELP);
      return true;
    case "/clear":
      session.clear();
      console.log("the conversation is forgotten");
      return true;
    case "/temp": {
      const temperature = Number(argument);
      if (argument === "" || !(temperature >= 0 && temperature <= 10)) {
        console.log(`/temp takes a number from 0 to 10; it is ${settings.temperature}`);
      } else settings.temperature = temperature;
      return true;
    }
    case "/save":
      if (argument === "") console.log("/save needs the name of a file");
      else if (session.messages.length === 0) console.log("there is nothing to save yet");
      else {
        try {
          saveConversation(argument, session);
          console.log(`saved to ${argument}`);
        } catch (error) {
          if (!(error instanceof UserError)) throw error;
          console.log(error.message);
        }
      }
      return true;
    case "/quit":
    case "/exit":
      return false;
    default:
      console.log(`there is no command ${name}; /help lists them`);
      return true;
  }
}

/** Answers one message as it is generated. Ctrl-C meanwhile stops the answer. */
async function answer(session: ChatSession, question: string, settings: Settings): Promise<void> {
  const stop = new AbortController();
  const abort = () => stop.abort();
  Deno.addSignalListener("SIGINT", abort);
  try {
    const { ending, text } = await session.ask(question, {
      ...settings,
      signal: stop.signal,
      onText: print,
    });
    settings.seed++;
    print("\n");
    if (!Deno.stdin.isTerminal()) return;
    if (ending === "aborted") console.log("(stopped)");
    else if (ending === "length") console.log("(cut: the answer reached --max-tokens)");
    else if (text === "") console.log("(the model said nothing)");
  } finally {
    Deno.removeSignalListener("SIGINT", abort);
  }
}

function greet({ directory, model, metadata }: LoadedModel, turns: number): void {
  const { n_layer, n_embd }: CheckpointInfo["configuration"] = model.configuration;
  console.log(
    `${directory}: ${n_layer} layers of ${n_embd} channels, trained for ${metadata.epoch} epochs. ` +
      `/help lists commands.`,
  );
  if (turns === 1) {
    console.log(
      "It learned from single questions, so it sees only your last one (--turns N: more).",
    );
  }
}

export async function run(args: string[]): Promise<number> {
  const options = parseOptions(command, args);
  const loaded = await loadModel(options);
  const { metadata, model } = loaded;
  const turns = options.turns ?? metadata.turns;
  const session = new ChatSession(model, loadTokenizer(), formats[metadata.format], turns);
  const settings: Settings = {
    temperature: options.temperature ?? TEMPERATURE,
    topK: options["top-k"] ?? 0,
    topP: options["top-p"] ?? 1,
    maxTokens: options["max-tokens"] ?? 256,
    seed: options.seed ?? 0,
  };
  const interactive = Deno.stdin.isTerminal();
  if (interactive) greet(loaded, turns);
  for await (const line of lines(() => interactive && print("you> "))) {
    const text = line.trim();
    if (text === "") continue;
    if (text.startsWith("/")) {
      if (!obey(text, session, settings)) break;
    } else await answer(session, text, settings);
  }
  loaded.runtime.close();
  return 0;
}
