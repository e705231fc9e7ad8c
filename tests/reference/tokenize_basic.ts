// Prints the texts of recipe `basic` as JSON token lists for pytorch_basic.py, so that both sides of the
// comparison train on the same tokens. Run: deno run -R tests/reference/tokenize_basic.ts > basic.json
import { makeExamples, readEntries } from "../../src/data/mod.ts";
import { loadTokenizer } from "../../src/tokenizer/mod.ts";
import { recipes } from "../../src/training/mod.ts";

const corpus = new URL("../../data/basic.jsonl", import.meta.url).pathname;
const { entries } = readEntries([corpus]);
const { examples } = makeExamples(entries, [...entries.keys()], loadTokenizer(), recipes.basic);
const texts = examples.map(({ tokens }) => Array.from(tokens));
await Deno.stdout.write(new TextEncoder().encode(JSON.stringify(texts) + "\n"));
