// The data pipeline: files to entries, entries to examples, examples to batches.

export {
  batchesOf,
  collate,
  cutAnswers,
  hideWords,
  type RaggedBatch,
  totalWeight,
} from "./batch.ts";
export {
  type CorpusFile,
  type CurationOptions,
  type Fault,
  type FaultKind,
  findFaults,
  likeness,
  shinglesOf,
} from "./curation.ts";
export {
  type Conversation,
  type Entry,
  type Labels,
  type PlainText,
  type Rejected,
  UNKNOWN,
} from "./entry.ts";
export {
  type Example,
  type ExampleOptions,
  type Examples,
  type FormatChoice,
  makeExamples,
  upToDecision,
} from "./examples.ts";
export { keywordQuestions } from "./keywords.ts";
export { OutOfScope } from "./out_of_scope.ts";
export {
  type PromptLine,
  readConversation,
  readEntries,
  type ReadOptions,
  readPrompts,
  type ReadResult,
} from "./read.ts";
export { foldOf, type Split, splitEntries } from "./split.ts";
