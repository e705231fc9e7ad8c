// training/optimizer.safetensors: the optimiser's moments as the run stores them, and the average of the weights.
//
// Moments in f32 and bf16 have the weights' names and layouts. Those in int8 lie as in memory, padded to whole blocks:
// the codes in U8, and beside them as NAME.scales the blocks' scales; see assembly/moments.ts for what they mean.

import { UserError } from "../errors.ts";
import { type GPT, type MomentKind, MOMENTS } from "../model/mod.ts";
import { isFile } from "./files.ts";
import {
  type FloatSource,
  type IntegerSource,
  SafetensorsFile,
  writeSafetensors,
} from "./safetensors.ts";

const OPTIMIZER = "training/optimizer.safetensors";

interface Specification {
  readonly name: string;
  readonly shape: readonly number[];
}

/** Writes moments of f32 into a directory, in which training/ there must be. */
export function writeMoments(
  directory: string,
  table: readonly Specification[],
  read: (kind: MomentKind, name: string, shape: readonly number[]) => Float32Array,
): void {
  const tensors = MOMENTS.flatMap((kind) =>
    table.map(({ name, shape }) => ({
      name: `${kind}.${name}`,
      shape,
      values: () => read(kind, name, shape),
    }))
  );
  writeSafetensors(`${directory}/${OPTIMIZER}`, tensors);
}

/** Writes what a run goes on with beside its weights into a directory, in which training/ there must be. */
export function writeStates(directory: string, learned: GPT["learned"]): void {
  const tensors = MOMENTS.flatMap((kind) =>
    tensorsWith(learned, kind).flatMap(({ name, shape }): (FloatSource | IntegerSource)[] => {
      const whole = { name: `${kind}.${name}`, shape, values: () => learned.read(name, kind) };
      if (learned.moments === "f32") return [whole];
      if (learned.moments === "bf16") return [{ ...whole, type: "BF16" }];
      const { codes, scales } = learned.blocks(name, kind);
      return [
        { name: whole.name, shape: [codes.length], type: "U8", integers: () => codes.slice() },
        { name: `${whole.name}.scales`, shape: [scales.length], values: () => scales.slice() },
      ];
    })
  );
  const averages = tensorsWith(learned, "average").map(({ name, shape }) => ({
    name: `average.${name}`,
    shape,
    values: () => learned.read(name, "average"),
  }));
  writeSafetensors(`${directory}/${OPTIMIZER}`, [...tensors, ...averages]);
}

/** The tensors that have a moment of this kind, or an average. */
function tensorsWith(learned: GPT["learned"], kind: MomentKind | "average") {
  return learned.table.filter(({ name }) => learned.has(kind, name));
}

/** Whether a checkpoint holds moments to go on with. */
export function hasMoments(directory: string): boolean {
  return isFile(`${directory}/${OPTIMIZER}`);
}

/** Reads what a run goes on with: the optimiser's moments, and the average. */
export function loadStates(directory: string, { learned }: GPT): void {
  using file = new SafetensorsFile(`${directory}/${OPTIMIZER}`);
  readMoments(file, learned);
  for (const { name, shape } of tensorsWith(learned, "average")) {
    learned.write(name, "average", file.read(`average.${name}`, shape));
  }
}

/** Reads the optimiser's moments alone. */
export function loadMoments(directory: string, { learned }: GPT): void {
  using file = new SafetensorsFile(`${directory}/${OPTIMIZER}`);
  readMoments(file, learned);
}

/** @throws UserError when moments in int8 are to become others, or are damaged */
function readMoments(file: SafetensorsFile, learned: GPT["learned"]): void {
  for (const kind of MOMENTS) {
    for (const { name, shape } of tensorsWith(learned, kind)) {
      const entry = `${kind}.${name}`, isBlocks = file.entries.get(entry)?.type === "U8";
      if (!isBlocks) {
        learned.write(name, kind, file.read(entry, shape));
        continue;
      }
      if (learned.moments !== "int8") {
        throw new UserError(`${file.path}: holds moments in int8; go on with --moments int8`);
      }
      const { codes, scales } = learned.blocks(name, kind);
      codes.set(file.readBytes(entry, [codes.length]));
      scales.set(file.read(`${entry}.scales`, [scales.length]));
    }
  }
}
