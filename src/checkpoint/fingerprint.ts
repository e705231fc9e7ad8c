// A short number for a checkpoint's content, which tells whether it is still the same.

import { crc32 } from "node:zlib";
import { UserError } from "../errors.ts";
import { openFile } from "./files.ts";
import { isWeightsFile } from "./weights.ts";

/** Files of a checkpoint directory that make the model what it is. */
const CONTENT = /\.(json|safetensors|bin)$/;
const PIECE = 2 ** 20;

/** CRC-32 of a checkpoint's configuration and weights, or of a GGUF file. @throws UserError when one cannot be read */
export function weightsFingerprint(path: string): string {
  const files = isWeightsFile(path) ? [path] : contentOf(path);
  const buffer = new Uint8Array(PIECE);
  let sum = 0;
  for (const name of files) {
    using file = openFile(name);
    for (let count = file.readSync(buffer); count !== null; count = file.readSync(buffer)) {
      sum = crc32(buffer.subarray(0, count), sum);
    }
  }
  return sum.toString(16).padStart(8, "0");
}

function contentOf(directory: string): string[] {
  try {
    return Array.from(Deno.readDirSync(directory))
      .filter(({ name, isFile }) => isFile && CONTENT.test(name))
      .map(({ name }) => `${directory}/${name}`).sort();
  } catch (error) {
    throw new UserError(`${directory}: cannot be read: ${(error as Error).message}`);
  }
}
