/** Computes batches of one kind, as many at a time as there is room for. */
export interface BatchRunner<Batch, Result> {
  hasRoom(): boolean;
  /** Calls back whenever there comes to be room. */
  onRoom(listener: () => void): void;
  /** Computes a batch. The caller has made sure that there is room. */
  run(batch: Batch): Promise<Result>;
}
