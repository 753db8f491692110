import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { isIPv6 } from 'node:net';
import { onTestFinished } from 'vitest';

/** A name server's answer about a name: addresses, a code of failure (RFC 1035, 4.1.1), or nothing at all. */
export type NameAnswer = readonly string[] | { readonly code: number } | 'silence';

/** RFC 1035: the server failed; the name does not exist. */
export const SERVER_FAILURE = { code: 2 };
export const NO_SUCH_NAME = { code: 3 };

export interface NameServer {
  /** With its port, as a resolver takes it. */
  readonly address: string;
  /** The questions that came, each as `KIND NAME`. */
  readonly questions: readonly string[];
}

const kinds: Readonly<Record<number, string>> = { 1: 'A', 28: 'AAAA' };

/** A name server on this machine, closed when the test ends. It speaks as much of RFC 1035 as a stub resolver needs. */
export async function startNameServer(
  answer: (name: string, kind: string) => NameAnswer,
  ttlSeconds = 60,
): Promise<NameServer> {
  const questions: string[] = [];
  const socket = createSocket('udp4');
  socket.on('message', (message, { port, address }) => {
    const { name, kind, end } = readQuestion(message);
    questions.push(`${kind} ${name}`);
    const given = answer(name, kind);
    if (given === 'silence') return;
    socket.send(writeAnswer(message.subarray(0, end), given, kind, ttlSeconds), port, address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  onTestFinished(() => void socket.close());
  return { address: `127.0.0.1:${socket.address().port}`, questions };
}

function readQuestion(message: Buffer): { readonly name: string; readonly kind: string; readonly end: number } {
  const labels: string[] = [];
  let at = 12;
  for (let length = message[at] ?? 0; length > 0; length = message[at] ?? 0) {
    labels.push(message.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join('.').toLowerCase(), kind: kinds[message.readUInt16BE(at + 1)] ?? '', end: at + 5 };
}

/** The question with its answers, each of which points back at the name in the question. */
function writeAnswer(
  question: Buffer,
  given: Exclude<NameAnswer, 'silence'>,
  kind: string,
  ttlSeconds: number,
): Buffer {
  const addresses = 'code' in given ? [] : given.filter((address) => isIPv6(address) === (kind === 'AAAA'));
  const head = Buffer.from(question);
  head.writeUInt16BE(0x8180 | ('code' in given ? given.code : 0), 2);
  head.writeUInt16BE(addresses.length, 6);
  head.fill(0, 8, 12);
  const records = addresses.map((address) => {
    const bytes = isIPv6(address) ? ipv6Bytes(address) : Buffer.from(address.split('.').map(Number));
    const record = Buffer.from([0xc0, 12, 0, isIPv6(address) ? 28 : 1, 0, 1, 0, 0, 0, 0, 0, bytes.length]);
    record.writeUInt32BE(ttlSeconds, 6);
    return Buffer.concat([record, bytes]);
  });
  return Buffer.concat([head, ...records]);
}

function ipv6Bytes(address: string): Buffer {
  const [before = '', after = ''] = address.split('::');
  const words = (text: string) => text.split(':').filter((word) => word !== '');
  const zeros = Array.from({ length: 8 - words(before).length - words(after).length }, () => '0');
  const all = address.includes('::') ? [...words(before), ...zeros, ...words(after)] : words(address);
  return Buffer.from(all.map((word) => word.padStart(4, '0')).join(''), 'hex');
}
