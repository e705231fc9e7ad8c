// Reads what torch.save writes: a zip archive of one pickle, which describes the tensors, and a file of raw
// numbers for each storage. Source: torch/serialization.py and torch/_utils.py of PyTorch 2.

import { UserError } from "../errors.ts";
import { widenBfloat16, widenFloat16 } from "./halves.ts";
import { Global, readPickle } from "./pickle.ts";
import { checkFinite, findEntry, sizeOf, type TensorFile } from "./tensors.ts";
import { type ZipEntry, ZipFile } from "./zip.ts";

type Widen = (bytes: Uint8Array<ArrayBuffer>) => Float32Array;

interface StorageType {
  /** Bytes of one number. */
  readonly bytes: number;
  /** null where the numbers are no weights. */
  readonly widen: Widen | null;
}

const STORAGES: Readonly<Record<string, StorageType>> = {
  "torch.FloatStorage": { bytes: 4, widen: ({ buffer }) => new Float32Array(buffer) },
  "torch.DoubleStorage": {
    bytes: 8,
    widen: ({ buffer }) => Float32Array.from(new Float64Array(buffer)),
  },
  "torch.HalfStorage": { bytes: 2, widen: ({ buffer }) => widenFloat16(new Uint16Array(buffer)) },
  "torch.BFloat16Storage": {
    bytes: 2,
    widen: ({ buffer }) => widenBfloat16(new Uint16Array(buffer)),
  },
  "torch.LongStorage": { bytes: 8, widen: null },
  "torch.IntStorage": { bytes: 4, widen: null },
  "torch.ShortStorage": { bytes: 2, widen: null },
  "torch.CharStorage": { bytes: 1, widen: null },
  "torch.ByteStorage": { bytes: 1, widen: null },
  "torch.BoolStorage": { bytes: 1, widen: null },
};

/** Numbers that tensors share: a file of the archive. */
interface Storage {
  readonly key: string;
  readonly type: string;
  readonly length: number;
}

/** A tensor: some of a storage's numbers. */
export class TorchTensor {
  constructor(
    readonly storage: Storage,
    readonly offset: number,
    readonly shape: readonly number[],
    /** Numbers between two neighbours of each dimension. */
    readonly strides: readonly number[],
  ) {}
}

const isSize = (value: unknown): value is number =>
  Number.isSafeInteger(value) && Number(value) >= 0;

/** An archive's tensors, and whatever else was saved with them. */
export class TorchFile implements TensorFile {
  readonly entries: ReadonlyMap<string, TorchTensor>;
  /** Unpacked storages that were deflated, by key. */
  readonly #unpacked = new Map<string, Uint8Array<ArrayBuffer>>();
  /** The storage that was read last: small tensors often share one. */
  #last: { readonly key: string; readonly values: Float32Array } | null = null;

  private constructor(
    readonly path: string,
    readonly zip: ZipFile,
    readonly prefix: string,
    /** What was saved: for a checkpoint a dictionary. */
    readonly root: ReadonlyMap<unknown, unknown>,
  ) {
    this.entries = new Map([...stateDictionary(root, path), ...optimizerTensors(root)]);
    for (const [name, tensor] of this.entries) this.#check(name, tensor);
  }

  /** @throws UserError when the file is missing, damaged, or names code that no weights need */
  static async open(path: string): Promise<TorchFile> {
    const zip = new ZipFile(path);
    try {
      const pickle = [...zip.entries.values()].find(({ name }) => /^[^/]+\/data\.pkl$/.test(name));
      if (pickle === undefined) {
        throw new UserError(`${path}: holds no weights: torch.save did not write this archive`);
      }
      const prefix = pickle.name.slice(0, -"data.pkl".length);
      await checkByteOrder(zip, prefix);
      const root = readPickle(await zip.read(pickle), {
        path,
        globals: globalsFor(path),
        persistent: (id) => storageOf(id, path),
      });
      if (!(root instanceof Map)) {
        throw new UserError(`${path}: holds no dictionary of weights; save model.state_dict()`);
      }
      const file = new TorchFile(path, zip, prefix, root);
      await file.#unpack();
      return file;
    } catch (error) {
      zip.close();
      throw error;
    }
  }

  read(name: string, shape: readonly number[]): Float32Array {
    const tensor = findEntry(this, name, shape);
    return checkFinite(this.path, name, gather(tensor, this.#values(name, tensor.storage)));
  }

  close(): void {
    this.zip.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #entry({ key }: Storage): ZipEntry | undefined {
    return this.zip.entries.get(`${this.prefix}data/${key}`);
  }

  /** @throws UserError unless the tensor lies within its storage, and that in the archive */
  #check(name: string, { storage, offset, shape, strides }: TorchTensor): void {
    const damaged = (what: string) => new UserError(`${this.path}: is damaged: ${name} ${what}`);
    const entry = this.#entry(storage);
    if (entry === undefined) throw damaged(`has no numbers (data/${storage.key})`);
    const bytes = storage.length * STORAGES[storage.type]!.bytes;
    if (entry.size !== bytes) throw damaged(`claims ${bytes} bytes, the archive has ${entry.size}`);
    const last = shape.reduce((sum, size, i) => sum + (size - 1) * strides[i]!, offset);
    const size = sizeOf(shape);
    if (size > 0 && !(last < storage.length && size <= storage.length)) {
      throw damaged(`of shape [${shape}] does not fit into its ${storage.length} numbers`);
    }
  }

  /** Unpacks the storages that are deflated. */
  async #unpack(): Promise<void> {
    for (const { storage } of this.entries.values()) {
      const entry = this.#entry(storage)!;
      if (entry.method === 0 || this.#unpacked.has(storage.key)) continue;
      this.#unpacked.set(storage.key, await this.zip.read(entry));
    }
  }

  #values(name: string, storage: Storage): Float32Array {
    const { key, type } = storage;
    if (this.#last?.key === key) return this.#last.values;
    const { widen } = STORAGES[type]!;
    if (widen === null) {
      throw new UserError(`${this.path}: ${name} holds a ${type}, no floating-point numbers`);
    }
    const bytes = this.#unpacked.get(key) ?? this.zip.readStored(this.#entry(storage)!);
    const values = widen(bytes);
    this.#last = { key, values };
    return values;
  }
}

async function checkByteOrder(zip: ZipFile, prefix: string): Promise<void> {
  const entry = zip.entries.get(`${prefix}byteorder`);
  if (entry === undefined || entry.size > 16) return;
  const order = new TextDecoder().decode(await zip.read(entry));
  if (order.trim() === "little") return;
  throw new UserError(`${zip.path}: its numbers are ${order}-endian, only little-endian is read`);
}

/** The functions that weights need, and no other. */
function globalsFor(path: string) {
  const tensor = (storage: unknown, offset: unknown, shape: unknown, strides: unknown) => {
    const fits = isStorage(storage) && isSize(offset) && isSizes(shape) && isSizes(strides) &&
      shape.length === strides.length;
    if (fits) return new TorchTensor(storage, offset, shape, strides);
    throw new UserError(`${path}: is damaged: it describes a tensor that cannot be`);
  };
  const dictionary = (items: unknown = []) => new Map(items as [unknown, unknown][]);
  return {
    "torch._utils._rebuild_tensor_v2": tensor,
    "torch._utils._rebuild_parameter": (value: unknown) => value,
    "torch.Size": (sizes: unknown) => sizes,
    "torch.device": (name: unknown) => name,
    "collections.OrderedDict": (items?: unknown) => {
      if (items === undefined || (Array.isArray(items) && items.every(isPair))) {
        return dictionary(items);
      }
      throw new UserError(`${path}: is damaged: it makes a dictionary of something else`);
    },
    ...Object.fromEntries(Object.keys(STORAGES).map((name) => [name, null])),
  };
}

function isPair(value: unknown): boolean {
  return Array.isArray(value) && value.length === 2;
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every(isSize);
}

function isStorage(value: unknown): value is Storage {
  return typeof value === "object" && value !== null && "key" in value && "length" in value;
}

/** ("storage", type, key, location, length) */
function storageOf(id: unknown, path: string): Storage {
  const [kind, type, key, , length] = Array.isArray(id) ? id : [];
  const known = type instanceof Global && Object.hasOwn(STORAGES, type.name);
  if (kind === "storage" && known && typeof key === "string" && isSize(length)) {
    return { key, type: type.name, length };
  }
  throw new UserError(`${path}: is damaged: it describes a storage that cannot be`);
}

/** Under which names checkpoints keep the weights. */
const STATE_KEYS = ["model_state_dict", "state_dict", "model"];

/** The tensors by name, without what wrappers put before it. */
function stateDictionary(
  root: ReadonlyMap<unknown, unknown>,
  path: string,
): Map<string, TorchTensor> {
  const key = STATE_KEYS.find((name) => root.get(name) instanceof Map);
  const state = key === undefined ? root : root.get(key) as Map<unknown, unknown>;
  const tensors = new Map<string, TorchTensor>();
  for (const [name, value] of state) {
    if (typeof name !== "string" || !(value instanceof TorchTensor)) continue;
    tensors.set(name.replace(/^(module\.|_orig_mod\.)+/, ""), value);
  }
  if (tensors.size > 0) return tensors;
  throw new UserError(`${path}: holds no dictionary of weights; save model.state_dict()`);
}

/** Under which names checkpoints keep the optimiser's state. */
const OPTIMIZER_KEYS = ["optimizer_state_dict", "optimizer"];

/** An optimiser's state as torch.optim's state_dict() has it: by the parameter's index. */
export interface OptimizerState {
  readonly states: ReadonlyMap<unknown, unknown>;
  /** Indices of the parameters in each group. */
  readonly groups: readonly (readonly unknown[])[];
}

/** The optimiser's state that was saved with the weights, or null. */
export function optimizerState(root: ReadonlyMap<unknown, unknown>): OptimizerState | null {
  const saved = OPTIMIZER_KEYS.map((name) => root.get(name)).find((value) => value instanceof Map);
  const states = saved?.get("state"), groups = saved?.get("param_groups");
  if (!(states instanceof Map) || !Array.isArray(groups)) return null;
  return {
    states,
    groups: groups.map((group) => {
      const indices = group instanceof Map ? group.get("params") : null;
      return Array.isArray(indices) ? indices : [];
    }),
  };
}

/** What a tensor of the optimiser's state is called here. */
export function optimizerName(index: number, kind: string): string {
  return `optimizer.${index}.${kind}`;
}

function* optimizerTensors(root: ReadonlyMap<unknown, unknown>): Iterable<[string, TorchTensor]> {
  for (const [index, state] of optimizerState(root)?.states ?? []) {
    if (!Number.isInteger(index) || !(state instanceof Map)) continue;
    for (const [kind, value] of state) {
      if (!(value instanceof TorchTensor)) continue;
      yield [optimizerName(Number(index), String(kind)), value];
    }
  }
}

/** A tensor's numbers in row-major order. */
function gather({ offset, shape, strides }: TorchTensor, storage: Float32Array): Float32Array {
  const size = sizeOf(shape);
  let expected = 1;
  const isPlain = shape.map((length, i) => ({ length, stride: strides[i]! })).toReversed()
    .every(({ length, stride }) => {
      const fits = length === 1 || stride === expected;
      expected *= length;
      return fits;
    });
  if (isPlain) return storage.subarray(offset, offset + size);
  const values = new Float32Array(size), index = shape.map(() => 0);
  let at = offset;
  for (let i = 0; i < size; i++) {
    values[i] = storage[at]!;
    for (let d = shape.length - 1; d >= 0; d--) {
      at += strides[d]!;
      if (++index[d]! < shape[d]!) break;
      at -= strides[d]! * shape[d]!;
      index[d] = 0;
    }
  }
  return values;
}
