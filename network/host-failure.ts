/**
 * Why a host gave no answer:
 * - `no-address`: its name is unknown, or has an address that may not be dialled. The two are never told apart, because
 *   a stranger could otherwise list the names of this network.
 * - `names-unanswered`: no name server answered, or one failed.
 * - `unreachable`: the connection was refused, or did not open in time.
 * - `tls`: the handshake failed, or nobody vouches for the certificate.
 * - `not-http`: the connection opened, and no HTTP answer came over it.
 */
export type HostProblem = 'no-address' | 'names-unanswered' | 'unreachable' | 'tls' | 'not-http';

/** A host that gave no answer. */
export class HostFailure extends Error {
  override readonly name = 'HostFailure';
  readonly problem: HostProblem;

  constructor(problem: HostProblem, options?: ErrorOptions) {
    super(`The host gave no answer: ${problem}.`, options);
    this.problem = problem;
  }
}
