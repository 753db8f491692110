/** Longer than any name that a model may have. */
const MAX_CHARACTERS = 100;

/** A name that a client chose, cut for a message: gRPC sends messages as headers, which must be short. */
export function shortName(name: string): string {
  return name.length <= MAX_CHARACTERS ? name : `${name.slice(0, MAX_CHARACTERS)}…`;
}
