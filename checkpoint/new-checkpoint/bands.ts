import type { TensorRegion } from '../weights/safetensors.ts';

/** The embeddings of a language model have 0.8 GB, so that only some rows of a tensor are in memory at a time. */
const MAX_BAND_BYTES = 32 << 20;

/** A tensor as parts of its first axis, each of some megabytes or a single row. */
export function bandsOf(region: TensorRegion): readonly TensorRegion[] {
  const [rowCount = 1, ...rest] = region.shape;
  if (region.lengthBytes <= MAX_BAND_BYTES || rowCount === 0) return [region];
  const rowBytes = region.lengthBytes / rowCount;
  const bandRows = Math.max(1, Math.floor(MAX_BAND_BYTES / rowBytes));
  return Array.from({ length: Math.ceil(rowCount / bandRows) }, (_, index) => {
    const from = index * bandRows;
    const rows = Math.min(bandRows, rowCount - from);
    const bytes = { offsetBytes: region.offsetBytes + from * rowBytes, lengthBytes: rows * rowBytes };
    return { ...region, shape: [rows, ...rest], ...bytes };
  });
}
