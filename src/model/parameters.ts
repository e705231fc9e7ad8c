// The memory that parameters, gradients and moments live in.

import {
  fillNormal,
  MOMENT_BLOCK,
  momentBytes,
  type MomentFormat,
  momentGroup,
  type Moments,
  momentsFrom,
  narrowMoments,
  packWeight,
  PANEL,
  type Precision,
  type Runtime,
  type Tensor,
  unpackWeight,
  type Weight,
  weightLength,
  widenMoments,
} from "../kernels/mod.ts";
import type { Adapters } from "./lora.ts";
import {
  type Group,
  groupOf,
  type MomentKind,
  momentKinds,
  type OptimizerName,
} from "./optimizer.ts";
import { dimensions, memoryLength, type ParameterSpecification } from "./parameter_table.ts";
import { streamKeys } from "./random.ts";

/** `average` is a mean of the parameters of many steps, where a run keeps one. */
export type ArrayKind = "parameter" | "gradient" | MomentKind | "average";
/** The arrays that are f32 whatever the moments' format. */
type FloatKind = Exclude<ArrayKind, MomentKind>;

function isMoment(kind: ArrayKind): kind is MomentKind {
  return kind === "exp_avg" || kind === "exp_avg_sq";
}

/** A run of tensors that are updated alike, in words of an array. */
export interface ParameterRun {
  readonly start: number;
  readonly end: number;
  readonly group: Group;
  /** Its start within exp_avg_sq; null where the optimiser has no such moment. */
  readonly squares: number | null;
  /** Its tensors. */
  readonly names: readonly string[];
}

interface Placed extends ParameterSpecification {
  /** First float within each array but exp_avg_sq. */
  readonly offset: number;
  /** First float within exp_avg_sq, which holds only the tensors that need it. */
  readonly squares: number | null;
}

/** The model's parameters and, in training, their gradients and the optimiser's moments. */
export class Parameters {
  readonly table: readonly Placed[];
  /** Words of each array, and of the first part of it that learns. */
  readonly length: number;
  readonly learningLength: number;
  readonly #byName: Map<string, Placed>;
  readonly #arrays: Partial<Record<FloatKind, Tensor>>;
  readonly #moments: Partial<Record<MomentKind, Moments>> = {};

  readonly precision: Precision;
  /** How the moments are stored. */
  readonly moments: MomentFormat;
  readonly #rounded: boolean;

  /**
   * `precision` is that of the matrices; only f32 can be trained. `rounded`: products read f32 matrices as bf16.
   * @param adapters what learns beside these parameters, when they stay as they are
   */
  constructor(
    readonly runtime: Runtime,
    table: readonly ParameterSpecification[],
    {
      training,
      precision = "f32",
      rounded = false,
      moments = "f32",
      average = false,
      optimizer = "adamw",
    }: {
      readonly training: boolean;
      readonly precision?: Precision;
      readonly rounded?: boolean;
      readonly moments?: MomentFormat;
      readonly average?: boolean;
      readonly optimizer?: OptimizerName;
    },
    readonly adapters: Adapters | null = null,
  ) {
    this.precision = precision;
    this.moments = moments;
    this.#rounded = rounded;
    if (training && precision !== "f32") throw new TypeError(`${precision} is not trained`);
    if (moments !== "f32" && optimizer !== "adamw") {
      throw new TypeError(`${optimizer} keeps no moments in ${moments}`);
    }
    let offset = 0, learningLength = 0, squares = 0;
    this.table = table.map((p) => {
      const hasSquares = momentKinds(optimizer, p).includes("exp_avg_sq");
      const placed = { ...p, offset, squares: hasSquares ? squares : null };
      const length = memoryLength(p, precision, momentGroup(moments));
      offset += length;
      if (hasSquares) squares += length;
      if (!p.statistic) learningLength = offset;
      return placed;
    });
    this.length = offset;
    this.learningLength = learningLength;
    this.#byName = new Map(this.table.map((p) => [p.name, p]));
    const array = () => runtime.arena.zeros([offset]);
    this.#arrays = { parameter: array() };
    if (training) {
      this.#arrays.gradient = array();
      this.#moments.exp_avg = this.#zeroMoments(learningLength);
      if (squares > 0) this.#moments.exp_avg_sq = this.#zeroMoments(squares);
      if (average) this.#arrays.average = array();
    }
  }

  #zeroMoments(length: number): Moments {
    const { moments: format, runtime: { arena } } = this;
    const { pointer } = arena.zeros([momentBytes(format, length)], "u8");
    const scales = format === "int8" ? arena.zeros([length / MOMENT_BLOCK]).pointer : 0;
    return { format, pointer, scales };
  }

  /** Whether there is such an array, and the tensor `name` in it. */
  has(kind: ArrayKind, name?: string): boolean {
    const array = isMoment(kind) ? this.#moments[kind] : this.#arrays[kind];
    if (array === undefined) return false;
    return name === undefined || this.#offset(this.#find(name), kind) !== null;
  }

  /** Lets the parameters and their average change places. */
  swapAverage(): void {
    const { parameter, average } = this.#arrays;
    if (average === undefined) throw new Error("this model keeps no average");
    this.#arrays.parameter = average;
    this.#arrays.average = parameter;
  }

  /** The tensors that learn when the first layers, and with them the embeddings, are frozen; and the others. */
  runs(frozenLayers: number): { learning: ParameterRun[]; frozen: ParameterRun[] } {
    const isFrozen = (p: Placed) => {
      if (frozenLayers === 0) return false;
      const layer = /^transformer\.h\.(\d+)\./.exec(p.name)?.[1];
      if (layer !== undefined) return Number(layer) < frozenLayers;
      return groupOf(p) === "embeddings";
    };
    const learning: ParameterRun[] = [], frozen: ParameterRun[] = [];
    this.table.forEach((placed, i) => {
      const isStill = isFrozen(placed);
      if (placed.statistic && !isStill) return;
      const runs = isStill ? frozen : learning, { name, offset, squares } = placed;
      const end = this.table[i + 1]?.offset ?? this.length;
      const last = runs.at(-1), group = groupOf(placed);
      if (last?.group === group && last.end === offset) {
        runs.splice(-1, 1, { ...last, end, names: [...last.names, name] });
      } else runs.push({ start: offset, end, group, squares, names: [name] });
    });
    return { learning, frozen };
  }

  /** A moment from the array's number `start` on. */
  momentsOf(kind: MomentKind, start = 0): Moments {
    const moments = this.#moments[kind];
    if (moments === undefined) throw new Error(`this model was not made for training: no ${kind}`);
    return momentsFrom(moments, start);
  }

  /** Live views of a tensor's moment in int8 as it lies in memory: codes, and a scale for each 256 of them. */
  blocks(name: string, kind: MomentKind): { codes: Uint8Array; scales: Float32Array } {
    const placed = this.#find(name), { runtime } = this;
    const { format, pointer, scales } = this.#momentsAt(placed, kind);
    if (format !== "int8") throw new TypeError(`${kind} is in ${format}, not in blocks`);
    const length = memoryLength(placed, "f32", MOMENT_BLOCK);
    return {
      codes: new Uint8Array(runtime.memory.buffer, pointer, length),
      scales: this.#floats(scales, length / MOMENT_BLOCK),
    };
  }

  /** Byte address of a whole array of f32. */
  array(kind: FloatKind): number {
    const array = this.#arrays[kind];
    if (array === undefined) throw new Error(`this model was not made for training: no ${kind}`);
    return array.pointer;
  }

  /** A weight matrix in panels. */
  weight(name: string, kind: ArrayKind = "parameter"): Weight {
    const placed = this.#find(name);
    const weight = this.#panels(placed, this.#address(placed, kind));
    return this.#rounded && kind === "parameter" ? { ...weight, rounded: true } : weight;
  }

  #panels(placed: Placed, pointer: number): Weight {
    const [inputs, outputs] = dimensions(placed);
    return { pointer, inputs, outputs, precision: this.precision };
  }

  /** A tensor that lies row-major: biases, norms, positions. */
  plain(name: string, kind: FloatKind = "parameter"): Tensor {
    const placed = this.#find(name), { shape, layout } = placed;
    if (layout !== "plain") throw new Error(`${name} lies in panels`);
    return { pointer: this.#address(placed, kind), shape, type: "f32" };
  }

  /** Seeded initial values; the gradients and moments stay as they are. */
  initialize(seed: number): void {
    if (this.precision !== "f32") throw new TypeError(`${this.precision} has no initial values`);
    this.table.forEach((p, index) => {
      const pointer = this.array("parameter") + p.offset * 4;
      const length = memoryLength(p, this.precision, momentGroup(this.moments));
      if (typeof p.initial === "object") {
        const keys = streamKeys(seed, "weights", index);
        fillNormal(this.runtime, pointer, length, p.initial.deviation, ...keys);
        if (p.layout !== "plain") this.#clearPadding(this.weight(p.name));
      } else this.#floats(pointer, length).fill(p.initial);
    });
  }

  /** A copy in Hugging Face's layout. */
  read(name: string, kind: ArrayKind): Float32Array {
    const placed = this.#find(name);
    const floats = this.#floatsAt(placed, kind);
    if (floats !== null) return this.#unpack(placed, floats);
    return this.runtime.arena.scope(() => {
      const length = memoryLength(placed, "f32", momentGroup(this.moments));
      const { pointer } = this.runtime.arena.allocate([length]);
      const moments = this.#momentsAt(placed, kind as MomentKind);
      widenMoments(this.runtime, pointer, moments, length, kind === "exp_avg");
      return this.#unpack(placed, pointer);
    });
  }

  /** Sets a tensor from Hugging Face's layout. */
  write(name: string, kind: ArrayKind, values: Float32Array): void {
    const placed = this.#find(name);
    const length = placed.shape.reduce((a, b) => a * b);
    if (values.length !== length) {
      throw new RangeError(`${name}: must have ${length} values, got ${values.length}`);
    }
    const floats = this.#floatsAt(placed, kind);
    if (floats !== null) return this.#pack(placed, floats, values);
    this.runtime.arena.scope(() => {
      const length = memoryLength(placed, "f32", momentGroup(this.moments));
      const { pointer } = this.runtime.arena.zeros([length]);
      this.#pack(placed, pointer, values);
      const moments = this.#momentsAt(placed, kind as MomentKind);
      narrowMoments(this.runtime, moments, pointer, length, kind === "exp_avg");
    });
  }

  #unpack(placed: Placed, pointer: number): Float32Array {
    const { shape, layout } = placed;
    if (layout === "plain") return this.runtime.f32({ pointer, shape, type: "f32" }).slice();
    return this.runtime.arena.scope(() => {
      const matrix = this.runtime.arena.allocate(shape);
      const weight = this.#panels(placed, pointer);
      unpackWeight(this.runtime, weight, matrix, layout === "panels-transposed");
      return this.runtime.f32(matrix).slice();
    });
  }

  #pack(placed: Placed, pointer: number, values: Float32Array): void {
    const { shape, layout } = placed;
    if (layout === "plain") return this.runtime.f32({ pointer, shape, type: "f32" }).set(values);
    this.runtime.arena.scope(() => {
      const matrix = this.runtime.floats(values, shape);
      const weight = this.#panels(placed, pointer);
      packWeight(this.runtime, weight, matrix, layout === "panels-transposed");
    });
  }

  #find(name: string): Placed {
    const placed = this.#byName.get(name);
    if (placed === undefined) throw new ReferenceError(`the model has no tensor ${name}`);
    return placed;
  }

  /** A tensor's first float within an array, or null where the array does not hold it. */
  #offset({ offset, squares, statistic }: Placed, kind: ArrayKind): number | null {
    if (kind === "exp_avg_sq") return squares;
    return kind === "exp_avg" && statistic ? null : offset;
  }

  /** The same, where the array must hold it. */
  #start(placed: Placed, kind: ArrayKind): number {
    const offset = this.#offset(placed, kind);
    if (offset === null) throw new ReferenceError(`${placed.name} has no ${kind}`);
    return offset;
  }

  #momentsAt(placed: Placed, kind: MomentKind): Moments {
    return this.momentsOf(kind, this.#start(placed, kind));
  }

  /** Address of a tensor in an array; null where it is not stored as f32. */
  #floatsAt(placed: Placed, kind: ArrayKind): number | null {
    if (!isMoment(kind)) return this.array(kind) + this.#start(placed, kind) * 4;
    const { format, pointer } = this.#momentsAt(placed, kind);
    return format === "f32" ? pointer : null;
  }

  #address(placed: Placed, kind: ArrayKind): number {
    const address = this.#floatsAt(placed, kind);
    if (address === null) throw new TypeError(`${kind} is in ${this.moments}, not in f32`);
    return address;
  }

  #floats(pointer: number, length: number): Float32Array {
    return this.runtime.f32({ pointer, shape: [length], type: "f32" });
  }

  /** Zeros the columns of the last panel that the matrix does not have. */
  #clearPadding({ pointer, inputs, outputs }: Weight): void {
    const used = outputs % PANEL;
    if (used === 0) return;
    const last = this.#floats(pointer, weightLength(inputs, outputs)).subarray(-inputs * PANEL);
    for (let row = 0; row < last.length; row += PANEL) last.fill(0, row + used, row + PANEL);
  }
}
