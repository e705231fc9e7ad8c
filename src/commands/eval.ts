// deno task eval: how well a checkpoint predicts data.

import { batchesOf, makeExamples, readEntries } from "../data/mod.ts";
import { UserError } from "../errors.ts";
import { formatNames, loadTokenizer } from "../tokenizer/mod.ts";
import { loadModel, MODEL_OPTIONS } from "./model_options.ts";
import { type CommandSpecification, type OptionTable, parseOptions } from "./options.ts";
import { Progress, streamOutput } from "./progress.ts";

export const command = {
  name: "eval",
  summary: "measure a model's loss on data",
  options: {
    data: { type: "strings", placeholder: "FILE", help: "data to measure; may come several times" },
    ...MODEL_OPTIONS,
    format: {
      type: "string",
      placeholder: "NAME",
      choices: formatNames,
      help: "how conversations are spelled; as the model was trained if not given",
    },
    "answers-only": { type: "boolean", help: "count only what the assistant says" },
    "skip-bad-lines": { type: "boolean", help: "leave bad lines out instead of stopping" },
    json: { type: "boolean", help: "print JSON" },
  },
  positional: "FILE ...",
} satisfies CommandSpecification<OptionTable>;

/** Tokens evaluated at a time. */
const BATCH_TOKENS = 1024;

export async function run(args: string[]): Promise<number> {
  const options = parseOptions(command, args);
  const files = [...options.data, ...options.positional];
  if (files.length === 0) throw new UserError("eval needs data: --data FILE");
  const { entries } = readEntries(files, { skipBadLines: options["skip-bad-lines"] });
  const { model, runtime, metadata, directory } = await loadModel(options);
  const { examples, truncated } = makeExamples(entries, [...entries.keys()], loadTokenizer(), {
    formats: [{ name: (options.format ?? metadata.format) as typeof metadata.format }],
    maxTokens: model.configuration.n_positions,
    endOfText: true,
    promptLossWeight: options["answers-only"] ? 0 : 1,
    augment: false,
  });
  if (examples.length === 0) throw new UserError(`${files.join(", ")}: no token to predict`);
  const batches = batchesOf(examples, BATCH_TOKENS);
  const progress = new Progress(batches.length, streamOutput(Deno.stderr));
  let crossEntropy = 0, tokens = 0, correct = 0;
  batches.forEach((batch, i) => {
    const sums = model.evaluate(batch);
    crossEntropy += sums.crossEntropy;
    tokens += sums.targets;
    correct += sums.correct;
    if (progress.output.isTerminal) {
      progress.update(i + 1, [`loss ${(crossEntropy / tokens).toFixed(4)}`]);
    }
  });
  progress.clear();
  runtime.close();
  const result = {
    weights: directory,
    texts: examples.length,
    truncated,
    tokens,
    cross_entropy: crossEntropy / tokens,
    perplexity: Math.exp(crossEntropy / tokens),
    accuracy: correct / tokens,
  };
  if (options.json) console.log(JSON.stringify(result, null, 2));
  else {
    console.log(`weights        ${directory}`);
    console.log(`tokens         ${tokens} in ${examples.length} texts`);
    console.log(`cross-entropy  ${result.cross_entropy.toFixed(4)} nats a token`);
    console.log(`perplexity     ${result.perplexity.toFixed(3)}`);
    console.log(`next token     ${(100 * result.accuracy).toFixed(1)} % right`);
    if (truncated > 0) console.log(`${truncated} conversations were cut to the model's context`);
  }
  return 0;
}
