import type { LookupAddress } from 'node:dns';
import { Resolver } from 'node:dns/promises';
import { isIP } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import type { ResolveName } from './address-guard.ts';
import { HostFailure } from './host-failure.ts';
import { isLocalhost, plainHost } from './host-names.ts';
import { nameFailure } from './name-resolution.ts';
import { type SystemNameFiles, SystemNameReader, type SystemNames } from './system-names.ts';

/** How long a name is asked about, in all forms of it. */
const DEADLINE_MS = 4_000;
/** Until a name server is asked again, or the next one. */
const ANSWER_MS = 1_200;
const TRIES = 2;
/** How long the addresses of one kind wait for those of the other, as RFC 8305 has it, with more patience. */
const OTHER_KIND_MS = 300;
/** The longest that an answer is kept. A record may say less. */
const KEPT_MS = 10_000;
/** So long a name stays unknown, or without an answer. */
const FAILURE_KEPT_MS = 3_000;
const MAX_KEPT_NAMES = 2_000;
/** RFC 1035, 2.3.4: 255 bytes, two of which are no letters or dots. */
const MAX_NAME_CHARACTERS = 253;

export interface DnsOptions {
  /** Addresses of name servers, with a port or without; those of the system by default. */
  readonly servers?: readonly string[];
  readonly files?: SystemNameFiles;
  readonly deadlineMs?: number;
}

/** The addresses of a name, or why there are none. */
type Finding = readonly LookupAddress[] | HostFailure;

/** Several requests wait for one question. It is given up when the last of them is. */
interface Question {
  readonly finding: Promise<Finding>;
  readonly giveUp: AbortController;
  askers: number;
}

/**
 * Resolves names with c-ares and the hosts file. Node's own `lookup` takes one of four threads for as long as the system
 * likes, and files and images need those threads too: a few names without an answer would hold up everything. A question
 * here takes a socket, ends by a deadline of its own, and is asked once however many wait for it. Answers and failures
 * are kept for some seconds.
 */
export class DnsNames {
  readonly #servers: readonly string[] | undefined;
  readonly #deadlineMs: number;
  readonly #system: SystemNameReader;
  readonly #open = new Map<string, Question>();
  readonly #kept = new LRUCache<string, { readonly finding: Finding }>({ max: MAX_KEPT_NAMES });

  constructor({ servers, files, deadlineMs = DEADLINE_MS }: DnsOptions = {}) {
    this.#servers = servers;
    this.#deadlineMs = deadlineMs;
    this.#system = new SystemNameReader(files);
  }

  /** Questions that wait for a name server. */
  get openCount(): number {
    return this.#open.size;
  }

  readonly resolve: ResolveName = async (host, { isPrivateAllowed, signal }) => {
    signal.throwIfAborted();
    const name = plainHost(host);
    if (isLocalhost(name)) return loopbackAddresses;
    if (name === '' || name.length > MAX_NAME_CHARACTERS) throw new HostFailure('no-address');
    const system = await this.#system.read();
    const known = system.hosts.get(name);
    if (known !== undefined) return known.map(toLookupAddress);
    const forms = completions(host, system, isPrivateAllowed);
    const finding = await this.#find(forms, signal);
    if (finding instanceof HostFailure) throw finding;
    return finding;
  };

  async #find(forms: readonly string[], signal: AbortSignal): Promise<Finding> {
    const key = forms.join(' ');
    const kept = this.#kept.get(key);
    if (kept !== undefined) return kept.finding;
    const question = this.#open.get(key) ?? this.#ask(key, forms);
    return await waitFor(question, signal);
  }

  #ask(key: string, forms: readonly string[]): Question {
    const giveUp = new AbortController();
    const asking = askForms(
      forms,
      this.#servers,
      AbortSignal.any([giveUp.signal, AbortSignal.timeout(this.#deadlineMs)]),
    );
    const finding = asking.then(({ finding, ttlMs }) => {
      if (this.#open.get(key) === question) this.#open.delete(key);
      if (!giveUp.signal.aborted) this.#kept.set(key, { finding }, { ttl: Math.max(1, ttlMs) });
      return finding;
    });
    // Whoever comes after the last asker has gone asks anew.
    giveUp.signal.addEventListener('abort', () => this.#open.delete(key), { once: true });
    const question: Question = { finding, giveUp, askers: 0 };
    this.#open.set(key, question);
    return question;
  }
}

/** Waits for a question like others. @throws the signal's reason. */
async function waitFor(question: Question, signal: AbortSignal): Promise<Finding> {
  signal.throwIfAborted();
  question.askers += 1;
  let leave: () => void = () => undefined;
  const left = new Promise<never>((_, reject) => {
    leave = () => reject(signal.reason);
    signal.addEventListener('abort', leave, { once: true });
  });
  try {
    return await Promise.race([question.finding, left]);
  } finally {
    signal.removeEventListener('abort', leave);
    question.askers -= 1;
    if (question.askers === 0) question.giveUp.abort();
  }
}

/**
 * The full names that a host may mean, in the order to ask. A dot at the end makes a name full. A short name is completed
 * by the system's search domains; one with dots only where it belongs to the own network, so that a stranger's names
 * cost one question each, even in a cluster whose resolv.conf counts up to five dots as short.
 */
function completions(host: string, { search, dotCount }: SystemNames, isPrivateAllowed: boolean): readonly string[] {
  const name = plainHost(host);
  const dots = name.split('.').length - 1;
  if (host.endsWith('.') || (dots > 0 && !isPrivateAllowed)) return [name];
  const completed = search.map((domain) => `${name}.${domain}`);
  return dots >= dotCount ? [name, ...completed] : [...completed, name];
}

interface Answer {
  readonly finding: Finding;
  readonly ttlMs: number;
}

/** Asks for one form of a name after the other, until one has addresses. A failure counts where none has. */
async function askForms(
  forms: readonly string[],
  servers: readonly string[] | undefined,
  signal: AbortSignal,
): Promise<Answer> {
  let failure = new HostFailure('no-address');
  for (const form of forms) {
    const { finding, ttlMs } = await askName(form, servers, signal);
    if (!(finding instanceof HostFailure)) return { finding, ttlMs };
    if (finding.problem !== 'no-address') failure = finding;
    if (signal.aborted) break;
  }
  return { finding: failure, ttlMs: FAILURE_KEPT_MS };
}

/** Asks for the addresses of both kinds at once. */
async function askName(name: string, servers: readonly string[] | undefined, signal: AbortSignal): Promise<Answer> {
  const resolver = new Resolver({ timeout: ANSWER_MS, tries: TRIES });
  if (servers !== undefined) resolver.setServers(servers);
  const cancel = () => resolver.cancel();
  signal.addEventListener('abort', cancel, { once: true });
  try {
    const kinds = [resolver.resolve4(name, { ttl: true }), resolver.resolve6(name, { ttl: true })];
    return joinKinds(await withPatience(kinds));
  } catch (thrown) {
    const finding = thrown instanceof Error ? nameFailure(thrown) : new HostFailure('names-unanswered');
    return { finding, ttlMs: FAILURE_KEPT_MS };
  } finally {
    signal.removeEventListener('abort', cancel);
    cancel();
  }
}

type Records = readonly { readonly address: string; readonly ttl: number }[];

/**
 * The records of the kinds that answer, where the others have had some time.
 * @throws the errors of all kinds' questions, where none has records: rather that of a failure than of an unknown name.
 */
async function withPatience(kinds: readonly Promise<Records>[]): Promise<readonly Records[]> {
  const settled = Promise.allSettled(kinds);
  const first = await Promise.any(kinds).catch(() => undefined);
  if (first !== undefined) {
    const all = await Promise.race([settled, sleep(OTHER_KIND_MS, undefined, { ref: false })]);
    return all === undefined ? [first] : all.flatMap((kind) => (kind.status === 'fulfilled' ? [kind.value] : []));
  }
  const errors = (await settled).flatMap((kind) => (kind.status === 'rejected' ? [kind.reason] : []));
  throw errors.find((error) => nameFailure(error).problem !== 'no-address') ?? errors[0];
}

/** One address of each kind by turns, IPv4 first: networks without IPv6 are more frequent than those without IPv4. */
function joinKinds(kinds: readonly Records[]): Answer {
  const longest = Math.max(...kinds.map(({ length }) => length));
  const records = Array.from({ length: longest }, (_, index) => kinds.flatMap((kind) => kind[index] ?? [])).flat();
  const ttlMs = Math.min(KEPT_MS, ...records.map(({ ttl }) => ttl * 1_000));
  return { finding: records.map(({ address }) => toLookupAddress(address)), ttlMs };
}

function toLookupAddress(address: string): LookupAddress {
  return { address, family: isIP(address) };
}

const loopbackAddresses = ['127.0.0.1', '::1'].map(toLookupAddress);
