/** Stable codes of faults of a checkpoint's folder or its download. docs/reference/errors.md explains each. */
export type CheckpointErrorCode =
  | 'CHECKPOINT_NOT_FOUND'
  | 'CHECKPOINT_NOT_CACHED'
  | 'CHECKPOINT_ACCESS_DENIED'
  | 'CHECKPOINT_DOWNLOAD_FAILED'
  | 'CHECKPOINT_FILE_UNREADABLE'
  | 'CHECKPOINT_CONFIG_INVALID'
  | 'CHECKPOINT_ARCHITECTURE_UNSUPPORTED'
  | 'CHECKPOINT_WEIGHTS_INVALID'
  | 'CHECKPOINT_PICKLE_REFUSED'
  | 'CHECKPOINT_TENSOR_MISSING'
  | 'CHECKPOINT_TENSOR_MISMATCH'
  | 'CHECKPOINT_TOKENIZER_INVALID';

/**
 * A checkpoint that cannot be served. The message names the file, what was expected and what is there. Retrying helps
 * only where a download failed.
 */
export class CheckpointError extends Error {
  override readonly name = 'CheckpointError';
  readonly code: CheckpointErrorCode;

  constructor(code: CheckpointErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
