/**
 * How soon an image will be decoded.
 * - `away`: another machine or another process must answer first, which may take any time.
 * - `near`: its bytes are here, and this process inspects or decodes it.
 * - `held-up`: it waits for memory, which others give back when they are answered.
 */
export type LoadStep = 'away' | 'near' | 'held-up';
