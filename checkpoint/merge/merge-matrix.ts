/** A matrix as it is stored, row by row, and what an adapter adds to it. */
export interface MatrixUpdate {
  /** [rows, columns]; changed in place. */
  readonly values: Float32Array;
  readonly rowCount: number;
  readonly columnCount: number;
  /** [rows, rank] */
  readonly left: Float32Array;
  /** [rank, columns] */
  readonly right: Float32Array;
  readonly rank: number;
  readonly scale: number;
}

/** W + scale * left * right, summed in double precision and rounded once. */
export function addProduct({ values, rowCount, columnCount, left, right, rank, scale }: MatrixUpdate): void {
  const sums = new Float64Array(columnCount);
  for (let row = 0; row < rowCount; row += 1) {
    const start = row * columnCount;
    for (let column = 0; column < columnCount; column += 1) sums[column] = values[start + column] ?? 0;
    for (let index = 0; index < rank; index += 1) {
      const factor = scale * (left[row * rank + index] ?? 0);
      const from = index * columnCount;
      for (let column = 0; column < columnCount; column += 1)
        sums[column] = (sums[column] ?? 0) + factor * (right[from + column] ?? 0);
    }
    values.set(sums, start);
  }
}

/** Gives each row of [rows, columns] a length, as DoRA does: m * W / |W|. */
export function setRowLengths(values: Float32Array, columnCount: number, lengths: Float32Array): void {
  for (let row = 0; row < lengths.length; row += 1) {
    const cells = values.subarray(row * columnCount, (row + 1) * columnCount);
    let squares = 0;
    for (let column = 0; column < cells.length; column += 1) squares += (cells[column] ?? 0) ** 2;
    const factor = (lengths[row] ?? 0) / Math.sqrt(squares);
    for (let column = 0; column < cells.length; column += 1) cells[column] = factor * (cells[column] ?? 0);
  }
}

/** Gives each column a length: embeddings lie the other way round. */
export function setColumnLengths(values: Float32Array, columnCount: number, lengths: Float32Array): void {
  const squares = new Float64Array(columnCount);
  for (let index = 0; index < values.length; index += 1) {
    const column = index % columnCount;
    squares[column] = (squares[column] ?? 0) + (values[index] ?? 0) ** 2;
  }
  for (let index = 0; index < values.length; index += 1) {
    const column = index % columnCount;
    values[index] = ((values[index] ?? 0) * (lengths[column] ?? 0)) / Math.sqrt(squares[column] ?? 0);
  }
}

/** [rows, columns] → [columns, rows]. */
export function transposed(values: Float32Array, columnCount: number): Float32Array {
  const rowCount = values.length / columnCount;
  const result = new Float32Array(values.length);
  for (let row = 0; row < rowCount; row += 1)
    for (let column = 0; column < columnCount; column += 1)
      result[column * rowCount + row] = values[row * columnCount + column] ?? 0;
  return result;
}
