/** Whose batch it is, and whether anyone still wants it. */
export interface BatchOwners {
  /** Names of clients; `undefined` is one too. */
  readonly clients: readonly (string | undefined)[];
  /** Asked between the runs of a batch. One that nobody wants any more is dropped. */
  readonly isWanted: () => boolean;
}

/** Computes batches of one kind, as many at a time as there is room for. */
export interface BatchRunner<Batch, Result> {
  /** Whether some client's batch can run. */
  hasRoom(): boolean;
  /** How many batches of different clients can run at once. */
  idleCount(): number;
  /** Whether a batch of this client can run: it waits while a longer one of the client pauses for those of others. */
  hasRoomFor(client: string | undefined): boolean;
  /** Calls back whenever a batch can run. */
  onRoom(listener: () => void): void;
  /**
   * Computes a batch. The caller has made sure that there is room for all its clients.
   * @throws BatchDropped when nobody wanted it any more.
   */
  run(batch: Batch, owners: BatchOwners): Promise<Result>;
}
