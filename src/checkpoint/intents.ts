// How a model's logits of its intents spread: a file beside the weights, because other programs' models have no such thing.

import { IntentSpread } from "../model/mod.ts";
import { isFile } from "./files.ts";
import { SafetensorsFile, writeSafetensors } from "./safetensors.ts";

const FILE = "intents.safetensors";

/** Writes the spread into a checkpoint's directory. */
export function writeIntentSpread(directory: string, spread: IntentSpread): void {
  const N = spread.backgroundMean.length;
  writeSafetensors(`${directory}/${FILE}`, [
    { name: "means", shape: [N, N], values: () => spread.means },
    { name: "factor", shape: [N, N], values: () => spread.factor },
    { name: "background.mean", shape: [N], values: () => spread.backgroundMean },
    { name: "background.factor", shape: [N, N], values: () => spread.backgroundFactor },
  ]);
}

/**
 * Reads the spread of N intents, or null where the checkpoint has none.
 * @throws UserError when the file is damaged or of other intents
 */
export function readIntentSpread(directory: string, N: number): IntentSpread | null {
  const path = `${directory}/${FILE}`;
  if (N === 0 || !isFile(path)) return null;
  using file = new SafetensorsFile(path);
  return new IntentSpread(
    file.read("means", [N, N]),
    file.read("factor", [N, N]),
    file.read("background.mean", [N]),
    file.read("background.factor", [N, N]),
  );
}
