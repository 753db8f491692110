/** Longer than any name of ours. */
const MAX_CHARACTERS = 100;

/** A name that a client chose, for a message: cut where it is long, since gRPC's messages are headers. */
export function shortName(name: string): string {
  return name.length <= MAX_CHARACTERS ? name : `${name.slice(0, MAX_CHARACTERS)}…`;
}
