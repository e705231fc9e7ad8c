// Hugging Face's sharded checkpoints: an index that says in which safetensors file each tensor lies.

import { UserError } from "../errors.ts";
import { SafetensorsFile, type TensorEntry } from "./safetensors.ts";
import { findEntry, type TensorFile } from "./tensors.ts";

/** More files than any GPT-2 comes in. */
const MOST_SHARDS = 1000;

export class ShardedFile implements TensorFile {
  readonly entries = new Map<string, TensorEntry>();
  /** By their names in the index. */
  readonly #files = new Map<unknown, SafetensorsFile>();
  /** By tensor. */
  readonly #shards = new Map<string, SafetensorsFile>();

  /**
   * @param path of the index, `index` its contents
   * @throws UserError when the index or a shard is missing or damaged
   */
  constructor(readonly path: string, index: Record<string, unknown>) {
    const places = index.weight_map;
    if (typeof places !== "object" || places === null) {
      throw new UserError(`${path}: is damaged: it has no weight_map`);
    }
    const files = new Set(Object.values(places));
    if (files.size > MOST_SHARDS) throw new UserError(`${path}: names ${files.size} files`);
    try {
      for (const name of files) this.#files.set(name, this.#open(name));
      for (const [name, file] of Object.entries(places)) this.#add(name, this.#files.get(file)!);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  read(name: string, shape: readonly number[]): Float32Array {
    findEntry(this, name, shape);
    return this.#shards.get(name)!.read(name, shape);
  }

  close(): void {
    for (const file of this.#files.values()) file.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Opens a file beside the index, and nothing elsewhere. */
  #open(name: unknown): SafetensorsFile {
    if (typeof name !== "string" || !/^[\w.-]+\.safetensors$/.test(name)) {
      throw new UserError(
        `${this.path}: names ${JSON.stringify(name)}, which is no file beside it`,
      );
    }
    return new SafetensorsFile(this.path.slice(0, this.path.lastIndexOf("/") + 1) + name);
  }

  #add(name: string, shard: SafetensorsFile): void {
    const entry = shard.entries.get(name);
    if (entry === undefined) throw new UserError(`${shard.path}: holds no tensor ${name}`);
    this.entries.set(name, entry);
    this.#shards.set(name, shard);
  }
}
