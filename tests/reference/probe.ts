// Answers check_formats.py: reads {weights, sequences, greedy, texts, compact} as JSON and prints logits and tokens.
// Run: deno run -RW tests/reference/probe.ts < request.json
import { loadWeights, readWeightsInfo, tokenizerOf } from "../../src/checkpoint/mod.ts";
import { Runtime } from "../../src/kernels/mod.ts";
import { GPT } from "../../src/model/mod.ts";
import { saveCompact } from "./compact.ts";
import { loadTokenizer } from "../../src/tokenizer/mod.ts";

interface Request {
  /** A checkpoint directory or a GGUF file. */
  weights?: string;
  /** Token sequences, whose logits behind the last token are wanted. */
  sequences?: number[][];
  /** How many of the likeliest tokens to append to the first sequence, one after the other. */
  greedy?: number;
  /** Encoded by the tokenizer of the weights, GPT-2's without. */
  texts?: string[];
  /** Tokens whose text is wanted. */
  decode?: number[];
  /** A small model to write, with the vocabulary of a corpus, the steps to its tokens among it or not. */
  compact?: { directory: string; corpus: string[]; intents: string[]; steps?: boolean };
}

function logitsOf(model: GPT, tokens: number[]): Float32Array {
  const logits = model.logits({
    tokens: Int32Array.from(tokens),
    targets: new Int32Array(tokens.length).fill(-1),
    weights: new Float32Array(tokens.length),
    positions: Int32Array.from(tokens, (_, i) => i),
    offsets: Int32Array.of(0, tokens.length),
  });
  return logits.slice(-model.configuration.vocab_size);
}

async function answer(
  { weights, sequences = [], greedy = 0, texts = [], decode = [], compact }: Request,
) {
  if (compact !== undefined) {
    saveCompact(compact.directory, compact.corpus, compact.intents, compact.steps);
  }
  const tokenizer = weights === undefined
    ? loadTokenizer()
    : tokenizerOf(readWeightsInfo(weights).metadata);
  const encoded = texts.map((text) => tokenizer.encode(text));
  if (weights === undefined) return { encoded };
  const decoded = tokenizer.decode(decode);
  if (sequences.length === 0) return { encoded, decoded };
  const runtime = await Runtime.start({ threads: 1 });
  try {
    const { configuration } = readWeightsInfo(weights);
    const model = new GPT(runtime, configuration, { training: false });
    await loadWeights(weights, model);
    const logits = sequences.map((tokens) => Array.from(logitsOf(model, tokens)));
    const written = [...sequences[0] ?? []];
    for (let i = 0; i < greedy; i++) {
      const next = logitsOf(model, written);
      written.push(next.indexOf(next.reduce((a, b) => Math.max(a, b))));
    }
    return { encoded, decoded, logits, written };
  } finally {
    runtime.close();
  }
}

const request: Request = await new Response(Deno.stdin.readable).json();
const text = new TextEncoder().encode(JSON.stringify(await answer(request)) + "\n");
for (let done = 0; done < text.length;) done += Deno.stdout.writeSync(text.subarray(done));
