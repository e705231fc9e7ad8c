// deno task generate: answers one prompt, or continues a text.

import { UserError } from "../errors.ts";
import { generate, PromptCache } from "../generation/mod.ts";
import { formats, loadTokenizer, renderPrompt, special, stopTexts } from "../tokenizer/mod.ts";
import { loadModel, MODEL_OPTIONS, SAMPLING_OPTIONS } from "./model_options.ts";
import { type CommandSpecification, type OptionTable, parseOptions } from "./options.ts";

export const command = {
  name: "generate",
  summary: "answer one prompt as a user's message, or continue a text",
  options: {
    prompt: { type: "string", placeholder: "TEXT", help: "a user's message to answer" },
    raw: { type: "string", placeholder: "TEXT", help: "a text to continue as it is" },
    ...MODEL_OPTIONS,
    ...SAMPLING_OPTIONS,
    json: { type: "boolean", help: "print JSON: text, tokens and why it ended" },
  },
} satisfies CommandSpecification<OptionTable>;

export async function run(args: string[]): Promise<number> {
  const options = parseOptions(command, args);
  const { prompt, raw } = options;
  if ((prompt === undefined) === (raw === undefined)) {
    throw new UserError("generate needs either --prompt TEXT or --raw TEXT");
  }
  const { model, runtime, metadata } = await loadModel(options);
  const tokenizer = loadTokenizer();
  const format = formats[metadata.format];
  const text = raw ?? renderPrompt(format, [{ role: "user", content: prompt!.trim() }]);
  const encoded = tokenizer.encode(text);
  // An empty text begins where every text ended in training.
  const tokens = encoded.length > 0 ? encoded : [special.endOfText];
  const cache = new PromptCache(model);
  const { capacity } = cache.cache;
  if (tokens.length >= capacity) {
    throw new UserError(`the text has ${tokens.length} tokens, the model reads ${capacity - 1}`);
  }
  const stop = new AbortController();
  Deno.addSignalListener("SIGINT", () => stop.abort());
  const encoder = new TextEncoder();
  const result = await generate(cache.cache, cache.fill(tokens), tokenizer, {
    maxTokens: options["max-tokens"] ?? 256,
    temperature: options.temperature ?? 0,
    topK: options["top-k"] ?? 0,
    topP: options["top-p"] ?? 1,
    seed: options.seed ?? 0,
    stopTexts: raw === undefined ? stopTexts(format) : [],
    signal: stop.signal,
    onText: (piece) => {
      if (!options.json) Deno.stdout.writeSync(encoder.encode(piece));
    },
  });
  runtime.close();
  const { ending } = result;
  console.log(options.json ? JSON.stringify({ ...result, stopped: ending !== "length" }) : "");
  return ending === "aborted" ? 130 : 0;
}
