/** Computes batches of one kind, as many at a time as there is room for. */
export interface BatchRunner<Batch, Result> {
  hasRoom(): boolean;
  /** Calls back whenever a batch can run. */
  onRoom(listener: () => void): void;
  /** Computes a batch. The caller has made sure that there is room. */
  run(batch: Batch): Promise<Result>;
}
