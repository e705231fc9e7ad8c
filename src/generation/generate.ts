// Generates answers token by token: one behind a cached prompt, or many side by side.

import type { CachedSequence, GPT } from "../model/mod.ts";
import type { Tokenizer } from "../tokenizer/mod.ts";
import { searchBeams } from "./beam.ts";
import { type Ending, type Generated, Writer, type WriterOptions } from "./writer.ts";

export interface GenerationOptions extends WriterOptions {
  /** Ends the text where it is. */
  readonly signal?: AbortSignal;
}

/** How many tokens to generate between two chances for signals and keys to be noticed. */
const TOKENS_PER_TURN = 4;

/** Lets signals, keys and timers have their turn. */
function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

/** What generation needs of a cached sequence. */
export type TokenSequence = Pick<CachedSequence, "length" | "capacity" | "append">;

/** Continues a prompt whose tokens the sequence holds and whose last logits are given. */
export async function generate(
  sequence: TokenSequence,
  prompt: readonly number[],
  firstLogits: Float32Array,
  tokenizer: Tokenizer,
  o: GenerationOptions,
): Promise<Generated> {
  const writer = new Writer(prompt, tokenizer, o);
  let logits = firstLogits;
  let ending: Ending | null = null;
  while ((ending = o.signal?.aborted ? "aborted" : writer.take(logits)) === null) {
    if (sequence.length >= sequence.capacity) {
      ending = "length";
      break;
    }
    logits = sequence.append([writer.tokens.at(-1)!]);
    if (writer.tokens.length % TOKENS_PER_TURN === 0) await turn();
  }
  return writer.finish(ending);
}

/** A prompt to answer. */
export interface Request {
  readonly prompt: readonly number[];
  readonly options: GenerationOptions;
}

/** An answer on its way. */
interface Active {
  readonly index: number;
  readonly sequence: CachedSequence;
  readonly writer: Writer;
}

export interface BatchOptions {
  /** Answers written side by side. */
  readonly width: number;
  /** Called with each answer as it is done, in no particular order. */
  readonly onDone?: (index: number, answer: Generated) => void;
  readonly signal?: AbortSignal;
}

/**
 * Answers many prompts side by side: each step reads the weights once for all of them. The tokens are those that
 * each prompt would get alone.
 * @returns the answers in the order of the requests, without those that an abort left undone
 */
export async function generateBatch(
  model: GPT,
  tokenizer: Tokenizer,
  requests: readonly Request[],
  { width, onDone, signal }: BatchOptions,
): Promise<(Generated | undefined)[]> {
  const answers = new Array<Generated | undefined>(requests.length);
  const done = (index: number, answer: Generated) => {
    answers[index] = answer;
    onDone?.(index, answer);
  };
  const { n_positions } = model.configuration;
  const room = ({ prompt, options }: Request) =>
    Math.min(n_positions, prompt.length + options.maxTokens);
  const longest = Math.max(1, ...requests.map(room));
  const beams = Math.max(1, ...requests.map(({ options }) => options.beams));
  if (beams > 1) {
    for (const [index, { prompt, options }] of requests.entries()) {
      if (signal?.aborted) break;
      done(index, await searchBeams(model, tokenizer, prompt, options));
    }
    return answers;
  }
  const sequences = Math.min(width, Math.max(1, requests.length));
  const cache = model.createCache({ tokens: longest * sequences, sequences });
  try {
    let next = 0, active: Active[] = [];
    const settle = (entries: readonly Active[], logits: readonly Float32Array[]) => {
      const going: Active[] = [];
      entries.forEach((entry, i) => {
        const { sequence, writer, index } = entry;
        let ending = writer.take(logits[i]!);
        if (ending === null && sequence.length >= sequence.capacity) ending = "length";
        if (ending === null) going.push(entry);
        else {
          sequence.release();
          done(index, writer.finish(ending));
        }
      });
      return going;
    };
    while ((next < requests.length || active.length > 0) && !signal?.aborted) {
      if (active.length < width && next < requests.length) {
        const added: Active[] = [];
        for (; active.length + added.length < width && next < requests.length; next++) {
          const { prompt, options } = requests[next]!;
          const writer = new Writer(prompt, tokenizer, options);
          added.push({ index: next, sequence: cache.sequence(), writer });
        }
        const prompts = added.map(({ sequence, writer }) => ({ sequence, tokens: writer.prompt }));
        active.push(...settle(added, cache.append(prompts)));
      }
      if (active.length > 0) {
        const steps = active.map(({ sequence, writer }) => ({
          sequence,
          tokens: [writer.tokens.at(-1)!],
        }));
        active = settle(active, cache.append(steps));
      }
      await turn();
    }
  } finally {
    cache.dispose();
  }
  return answers;
}
