// Finds checkpoints: a run keeps `last`, the newest weights, and `best`, those that validated best.

import { UserError } from "../errors.ts";
import { recoverDirectory } from "./directory.ts";
import { isFile } from "./files.ts";
import { isWeightsFile } from "./weights.ts";

/** Where training writes unless told otherwise. */
export const WEIGHTS = "weights";

/** The model that comes with the program. */
const SHIPPED = decodeURIComponent(
  new URL("../../weights/illuminator", import.meta.url).pathname,
);

function modified(path: string): number | null {
  try {
    return Deno.statSync(path).mtime?.getTime() ?? 0;
  } catch {
    return null;
  }
}

/** When a checkpoint directory was completed, or null when it is none. */
function completed(directory: string): number | null {
  recoverDirectory(directory);
  return modified(`${directory}/config.json`);
}

/** The checkpoint to use of a directory: itself, or of a run's the best, or else the last. */
function checkpointIn(directory: string): string | null {
  return ["", "/best", "/last"].map((part) => directory + part)
    .find((path) => completed(path) !== null) ?? null;
}

function directoriesIn(root: string): string[] {
  try {
    return Array.from(Deno.readDirSync(root))
      .filter(({ isDirectory, isSymlink }) => isDirectory || isSymlink)
      .map(({ name }) => `${root}/${name}`);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** The run under `root` that was written to last. */
export function newestRun(root = WEIGHTS): string | null {
  let newest: string | null = null, time = -Infinity;
  for (const run of directoriesIn(root)) {
    for (const path of [run, `${run}/best`, `${run}/last`]) {
      const at = completed(path);
      if (at === null || at <= time) continue;
      newest = run;
      time = at;
    }
  }
  return newest;
}

/**
 * The checkpoint that a directory is or holds; a GGUF file is one itself.
 * @throws UserError when there is none; `option` is how the directory was named
 */
export function checkpointOf(directory: string, option: string): string {
  if (isWeightsFile(directory)) return directory;
  if (isFile(directory)) {
    throw new UserError(
      `${option} ${directory}: is no directory and no .gguf file; the command import reads .pth files`,
    );
  }
  const path = checkpointIn(directory.replace(/(?<=.)\/+$/, ""));
  if (path !== null) return path;
  throw new UserError(`${option} ${directory}: holds no checkpoint (no config.json)`);
}

/**
 * The checkpoint that --weights names, or the newest run's, or the one that comes with the program.
 * @throws UserError when there is none, naming the command that makes one
 */
export function findCheckpoint(
  weights: string | undefined,
  trainCommand: string,
  shipped = SHIPPED,
): string {
  if (weights !== undefined) return checkpointOf(weights, "--weights");
  const path = checkpointIn(newestRun() ?? shipped);
  if (path !== null) return path;
  throw new UserError(`there are no weights under ${WEIGHTS}/ yet; make some with ${trainCommand}`);
}
