// The formats in which a conversation becomes one text, and the other way: where an answer ends.

/** One turn of a conversation. */
export interface Message {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

/**
 * A run of a rendered text; `answer` tells what the model is to produce from what it is given: answers, and
 * the label behind one that hands over to the user and so ends it.
 */
export interface Segment {
  readonly text: string;
  readonly answer: boolean;
  /** Whether it is what the user says, without the label before it. */
  readonly user: boolean;
}

export type FormatName =
  | "human-assistant"
  | "small-letters"
  | "user-ai"
  | "q-a"
  | "question-answer"
  | "plain";

/** How to spell a conversation. */
export interface ChatFormat {
  readonly name: FormatName;
  /** What stands before a user's turn and before an answer, empty in `plain`. */
  readonly user: string;
  readonly assistant: string;
  /** Whether what a user says is put in small letters: a small model need not learn that "Git" is "git". */
  readonly smallLetters?: boolean;
}

export const formats: Readonly<Record<FormatName, ChatFormat>> = {
  "human-assistant": { name: "human-assistant", user: "Human:", assistant: "Assistant:" },
  "small-letters": {
    name: "small-letters",
    user: "Human:",
    assistant: "Assistant:",
    smallLetters: true,
  },
  "user-ai": { name: "user-ai", user: "User:", assistant: "AI:" },
  "q-a": { name: "q-a", user: "Q:", assistant: "A:" },
  "question-answer": { name: "question-answer", user: "Question:", assistant: "Answer:" },
  plain: { name: "plain", user: "", assistant: "" },
};

export const formatNames = Object.keys(formats) as FormatName[];

/**
 * A conversation's text in runs: turns on lines of their own, each behind its speaker's label. An answer's
 * run begins with the space behind the label, so that it tokenises as it will be generated.
 */
export function render(format: ChatFormat, messages: readonly Message[]): Segment[] {
  const segments: Segment[] = [];
  messages.forEach(({ role, content: written }, index) => {
    const content = role === "user" && format.smallLetters ? written.toLowerCase() : written;
    const line = index === 0 ? "" : "\n";
    if (role === "assistant") {
      segments.push({ text: line + format.assistant, answer: false, user: false });
      const space = format.assistant === "" ? "" : " ";
      segments.push({ text: space + content, answer: true, user: false });
    } else if (role === "user" && format.user !== "") {
      segments.push({
        text: line + format.user,
        answer: messages[index - 1]?.role === "assistant",
        user: false,
      });
      segments.push({ text: ` ${content}`, answer: false, user: true });
    } else segments.push({ text: line + content, answer: false, user: role === "user" });
  });
  return segments.filter(({ text }) => text !== "");
}

/** The text behind which the model answers. */
export function renderPrompt(format: ChatFormat, messages: readonly Message[]): string {
  const asked = render(format, messages).map(({ text }) => text).join("");
  return `${asked}\n${format.assistant}`;
}

/** Texts that end an answer: the start of the user's next turn, or of the assistant's own. */
export function stopTexts(format: ChatFormat): string[] {
  return [format.user, format.assistant].filter((label) => label !== "").map((label) =>
    `\n${label}`
  );
}
