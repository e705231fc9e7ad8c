// What a run lets its model say now and then.

import { generateBatch, GREEDY } from "../generation/mod.ts";
import { formats, renderPrompt, stopTexts } from "../tokenizer/mod.ts";
import type { TrainOptions } from "./run.ts";

const SAMPLE_TOKENS = 48;

/** Answers the recipe's sample prompts, greedily. */
export async function sample(options: TrainOptions): Promise<void> {
  const { model, tokenizer, state, signal, onEvent } = options;
  const format = formats[state.recipe.formats[0]?.name ?? "human-assistant"];
  const decoding = { ...GREEDY, maxTokens: SAMPLE_TOKENS, stopTexts: stopTexts(format) };
  const asked = state.recipe.samples.map((question) => {
    const prompt = tokenizer.encode(renderPrompt(format, [{ role: "user", content: question }]));
    return { question, prompt, options: decoding };
  });
  const requests = asked.filter(({ prompt }) => prompt.length < model.configuration.n_positions);
  const width = Math.max(1, requests.length);
  const answers = await generateBatch(model, tokenizer, requests, { width, signal });
  answers.forEach((answer, i) => {
    if (answer === undefined) return;
    onEvent({
      event: "sample",
      epoch: state.progress.epoch,
      prompt: requests[i]!.question,
      text: answer.text,
    });
  });
}
