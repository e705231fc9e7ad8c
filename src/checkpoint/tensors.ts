// What the readers of all formats have in common: named tensors, read one at a time as f32.

import { UserError } from "../errors.ts";

/** A tensor to be written: its values are asked for when its turn has come. */
export interface TensorSource {
  readonly name: string;
  readonly shape: readonly number[];
  values(): Float32Array;
}

/** An open file of tensors. */
export interface TensorFile extends Disposable {
  readonly path: string;
  /** Shapes are row-major. */
  readonly entries: ReadonlyMap<string, { readonly shape: readonly number[] }>;
  /**
   * A tensor's values, widened to f32.
   * @throws UserError when it is missing, has another shape, or holds a value that is not finite
   */
  read(name: string, shape: readonly number[]): Float32Array;
}

export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

/**
 * The entry of a tensor that has the shape that the model wants.
 * @throws UserError otherwise
 */
export function findEntry<E extends { readonly shape: readonly number[] }>(
  { path, entries }: { readonly path: string; readonly entries: ReadonlyMap<string, E> },
  name: string,
  shape: readonly number[],
): E {
  const entry = entries.get(name);
  if (entry === undefined) throw new UserError(`${path}: holds no tensor ${name}`);
  if (entry.shape.length !== shape.length || entry.shape.some((size, i) => size !== shape[i])) {
    throw new UserError(`${path}: ${name} has shape [${entry.shape}], the model wants [${shape}]`);
  }
  return entry;
}

/** @throws UserError when a value is not finite */
export function checkFinite(path: string, name: string, values: Float32Array): Float32Array {
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(values[i]!)) {
      throw new UserError(`${path}: ${name} holds values that are not finite`);
    }
  }
  return values;
}

/** [rows, columns] becomes [columns, rows], in blocks that stay in the L1 cache. */
export function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  const BLOCK = 32;
  const result = new Float32Array(values.length);
  for (let r0 = 0; r0 < rows; r0 += BLOCK) {
    for (let c0 = 0; c0 < columns; c0 += BLOCK) {
      const rowEnd = Math.min(r0 + BLOCK, rows), columnEnd = Math.min(c0 + BLOCK, columns);
      for (let r = r0; r < rowEnd; r++) {
        for (let c = c0; c < columnEnd; c++) result[c * rows + r] = values[r * columns + c]!;
      }
    }
  }
  return result;
}
