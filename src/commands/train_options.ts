// The options of train.

import { recipes } from "../training/mod.ts";
import { threadsOption } from "./model_options.ts";
import type { OptionTable, Values } from "./options.ts";
import { RECIPE_OPTIONS } from "./recipe_options.ts";

export const TRAIN_OPTIONS = {
  recipe: {
    type: "string",
    placeholder: "NAME",
    choices: Object.keys(recipes),
    help:
      "the numbers to start from; if not given, quick, with --data conversations, with --init finetune, " +
      "or with --preference dpo or grpo. All below override one",
  },
  ...RECIPE_OPTIONS,
  out: { type: "string", placeholder: "DIR", help: "the run's directory" },
  resume: { type: "boolean", help: "go on with the newest run, or that of DIR" },
  init: {
    type: "string",
    placeholder: "DIR",
    help: "start from the weights of a checkpoint, of Hugging Face's GPT-2 or of a .gguf file",
  },
  "keep-moments": {
    type: "boolean",
    help: "go on with the optimiser's moments, too, that --init's checkpoint holds",
  },
  "find-rate": {
    type: "boolean",
    help: "do not train, but show the loss over rising learning rates",
  },
  "save-every": {
    type: "integer",
    minimum: 0,
    help: "epochs between two saves of last; 0, the default, saves it at the end",
  },
  keep: {
    type: "integer",
    minimum: 1,
    help: "also keep the weights of so many of the saves of last, as epoch-N",
  },
  "best-as": {
    type: "string",
    placeholder: "NAME",
    choices: ["f32", "bf16"],
    help: "number format of the best checkpoint; f32 if not given, bf16 takes half the space",
  },
  "skip-bad-lines": { type: "boolean", help: "leave bad lines of data out instead of stopping" },
  threads: threadsOption,
  json: { type: "boolean", help: "print one JSON event a line" },
} satisfies OptionTable;

export type TrainFlags = Values<typeof TRAIN_OPTIONS> & { positional: string[] };
