// deno task chat: talks with a model, in a terminal or line by line through a pipe.

import { readConversation } from "../data/mod.ts";
import { UserError } from "../errors.ts";
import { type AnswerOptions, ChatSession } from "../generation/mod.ts";
import { formats } from "../tokenizer/mod.ts";
import {
  DECODING_OPTIONS,
  decodingOptions,
  explain,
  FILTER_OPTIONS,
  filterOptions,
  unsureOption,
} from "./decoding_options.ts";
import { type LineInput, standardInput } from "./line_input.ts";
import { type LoadedModel, loadModel, MODEL_OPTIONS, PRECISION_OPTION } from "./model_options.ts";
import { type CommandSpecification, type OptionTable, parseOptions } from "./options.ts";
import { streamOutput } from "./progress.ts";

export const command = {
  name: "chat",
  summary: "talk with a model",
  options: {
    ...MODEL_OPTIONS,
    ...PRECISION_OPTION,
    ...DECODING_OPTIONS,
    ...FILTER_OPTIONS,
    system: { type: "string", placeholder: "TEXT", help: "what stands before the conversation" },
    turns: {
      type: "integer",
      minimum: 1,
      maximum: 1000,
      help: "questions that the model sees at a time; as many as it was trained on if not given",
    },
  },
} satisfies CommandSpecification<OptionTable>;

/** A conversation and how its answers are generated. */
interface Chat {
  readonly session: ChatSession;
  readonly input: LineInput;
  readonly print: (text: string) => void;
  options: AnswerOptions;
  readonly explain: boolean;
  /** Whether it was said that old turns no longer fit. */
  saidDropped: boolean;
}

const dim = (text: string) => Deno.noColor ? text : `\x1b[2m${text}\x1b[0m`;
const bold = (text: string) => Deno.noColor ? text : `\x1b[1m${text}\x1b[0m`;

/** A line about the conversation that is not part of it. */
function note(chat: Chat, text: string): void {
  chat.print((chat.input.isTerminal ? dim(text) : text) + "\n");
}

/** What a line that begins with / can ask for. */
interface ChatCommand {
  readonly usage: string;
  readonly help: string;
  /** Does it; false ends the chat. */
  readonly run: (chat: Chat, argument: string) => boolean | void | Promise<void>;
}

/** A command that sets a number. */
function numberCommand(
  name: "temp" | "top-p" | "beams",
  field: "temperature" | "topP" | "beams",
  help: string,
  fits: (value: number) => boolean,
  range: string,
): ChatCommand {
  return {
    usage: `/${name} N`,
    help,
    run: (chat, argument) => {
      const value = Number(argument);
      if (argument === "" || !fits(value)) {
        return note(chat, `/${name} takes ${range}; it is ${chat.options[field]}`);
      }
      chat.options = { ...chat.options, [field]: value };
      if (field === "beams" && value > 1) chat.options = { ...chat.options, temperature: 0 };
      if (field === "temperature" && value > 0) chat.options = { ...chat.options, beams: 1 };
    },
  };
}

const commands: Readonly<Record<string, ChatCommand>> = {
  help: {
    usage: "/help",
    help: "this text",
    run: (chat) => {
      const width = Math.max(...Object.values(commands).map(({ usage }) => usage.length)) + 2;
      for (const { usage, help } of Object.values(commands)) {
        note(chat, usage.padEnd(width) + help);
      }
    },
  },
  clear: {
    usage: "/clear",
    help: "forget the conversation",
    run: (chat) => {
      chat.session.clear();
      chat.saidDropped = false;
      note(chat, "the conversation is forgotten");
    },
  },
  undo: {
    usage: "/undo",
    help: "take the last question and its answer back",
    run: (chat) => {
      const question = chat.session.undo();
      note(chat, question === null ? "there is nothing to undo" : `taken back: ${question}`);
    },
  },
  retry: {
    usage: "/retry",
    help: "answer the last question again, differently where the temperature is above 0",
    run: (chat) => {
      const question = chat.session.undo();
      if (question === null) return note(chat, "there is nothing to answer again");
      return answer(chat, question);
    },
  },
  temp: numberCommand(
    "temp",
    "temperature",
    "temperature: 0 always the likeliest word, 1 as trained",
    (n) => n >= 0 && n <= 10,
    "a number from 0 to 10",
  ),
  "top-p": numberCommand(
    "top-p",
    "topP",
    "sample among the likeliest words of this probability",
    (n) => n > 0 && n <= 1,
    "a number above 0 and at most 1",
  ),
  beams: numberCommand(
    "beams",
    "beams",
    "search so many answers side by side; 1 for none",
    (n) => Number.isInteger(n) && n >= 1 && n <= 64,
    "a whole number from 1 to 64",
  ),
  system: {
    usage: "/system TEXT",
    help: "what stands before the conversation; nothing without TEXT",
    run: (chat, argument) => {
      chat.session.system = argument === "" ? null : argument;
      note(chat, argument === "" ? "nothing stands before the conversation" : "noted");
    },
  },
  tokens: {
    usage: "/tokens",
    help: "how full the model's context is",
    run: (chat) => {
      const { tokens, capacity } = chat.session.usage();
      const { length } = chat.session.messages;
      note(chat, `${length} messages, ${tokens} of ${capacity} tokens`);
    },
  },
  save: {
    usage: "/save FILE",
    help: "add the conversation to a file as a line of JSON",
    run: (chat, argument) => {
      if (argument === "") return note(chat, "/save needs the name of a file");
      if (chat.session.messages.length === 0) return note(chat, "there is nothing to save yet");
      saveConversation(argument, chat.session);
      note(chat, `saved to ${argument}`);
    },
  },
  load: {
    usage: "/load FILE",
    help: "go on with the last conversation of a file",
    run: (chat, argument) => {
      if (argument === "") return note(chat, "/load needs the name of a file");
      const messages = readConversation(argument);
      chat.session.clear();
      chat.session.messages.push(...messages);
      note(chat, `${messages.length} messages from ${argument}`);
    },
  },
  quit: {
    usage: "/quit",
    help: "end; Ctrl-D does too, and Ctrl-C stops an answer",
    run: () => false,
  },
};

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
async function obey(chat: Chat, line: string): Promise<boolean> {
  const [word = "", argument = ""] = line.split(/\s+(.*)/s);
  const name = word.slice(1) === "exit" ? "quit" : word.slice(1);
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined) {
    note(chat, `there is no command ${word}; /help lists them`);
    return true;
  }
  try {
    return await command.run(chat, argument.trim()) ?? true;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    note(chat, error.message);
    return true;
  }
}

/** Answers one message as it is generated. Ctrl-C meanwhile stops the answer. */
async function answer(chat: Chat, question: string): Promise<void> {
  const { session, print, input } = chat;
  const stop = new AbortController();
  const release = input.onInterrupt(() => stop.abort());
  try {
    const answer = await session.ask(question, {
      ...chat.options,
      signal: stop.signal,
      onText: print,
    });
    const { ending, text, dropped, removals, rejected } = answer;
    chat.options = { ...chat.options, seed: (chat.options.seed + 1) % 2 ** 32 };
    print("\n");
    if (chat.explain) { for (const line of explain(removals, rejected)) console.error(line); }
    if (dropped > 0 && !chat.saidDropped) {
      chat.saidDropped = true;
      console.error(
        "The conversation has outgrown the model's context: it no longer sees the oldest turns.",
      );
    }
    if (!input.isTerminal) return;
    if (ending === "aborted") note(chat, "(stopped)");
    else if (ending === "length") note(chat, "(cut: the answer reached --max-tokens)");
    else if (text === "") note(chat, "(the model said nothing)");
  } finally {
    release();
  }
}

function greet(chat: Chat, { directory, model, metadata }: LoadedModel, turns: number): void {
  const { n_layer, n_embd } = model.configuration;
  note(
    chat,
    `${directory}: ${n_layer} layers of ${n_embd} channels, trained for ${metadata.epoch} epochs. ` +
      `/help lists commands.`,
  );
  if (turns > 1) return;
  note(chat, "It learned from single questions, so it sees only your last one (--turns N: more).");
}

export async function run(args: string[]): Promise<number> {
  const options = parseOptions(command, args);
  const loaded = await loadModel(options);
  const { metadata, model, tokenizer } = loaded;
  const turns = options.turns ?? metadata.turns;
  const session = new ChatSession(model, tokenizer, formats[metadata.format], turns);
  session.system = options.system ?? null;
  const input = standardInput();
  const chat: Chat = {
    session,
    input,
    print: streamOutput(Deno.stdout).write,
    options: {
      ...decodingOptions(options, tokenizer),
      filter: filterOptions(options),
      unsure: unsureOption(options.unsure, loaded),
      retries: options.retries,
      stop: options.stop,
    },
    explain: options.explain,
    saidDropped: false,
  };
  if (input.isTerminal) greet(chat, loaded, turns);
  try {
    for (let line; (line = await input.next(bold("you> "))) !== null;) {
      const text = line.trim();
      if (text === "") continue;
      if (!text.startsWith("/")) await answer(chat, text);
      else if (!await obey(chat, text)) break;
    }
    if (input.isTerminal) chat.print("\n");
  } finally {
    input.close();
    loaded.runtime.close();
  }
  return 0;
}
