/**
 * A function that makes bytes once and returns them to everyone who asks, so that many answers take the memory of one, and
 * are compressed once. After a failure, the next call tries again.
 */
export function shared(make: () => Promise<Buffer>): () => Promise<Buffer> {
  let made: Promise<Buffer> | undefined;
  return () => {
    made ??= make().catch((error: unknown) => {
      made = undefined;
      throw error;
    });
    return made;
  };
}
