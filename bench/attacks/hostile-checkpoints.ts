import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Attack } from './attack.ts';
import { shippedPicture } from './attacked-server.ts';

const PORT = 8_440;
const PATIENCE_MS = 20_000;
const SAMPLE_MS = 20;
const shipped = fileURLToPath(new URL('../../checkpoints/scenes-captioning', import.meta.url));
const definition = JSON.parse(readFileSync(join(shipped, 'tokenizer.json'), 'utf8'));
const asWritten = JSON.stringify({ tokenizer_class: 'PreTrainedTokenizerFast' });

/** Puts something hostile into a copy of the shipped checkpoint. */
type Harm = (folder: string) => void;

function attack(title: string, file: string, harm: Harm): Attack {
  return { name: `hostile checkpoint: ${title}`, run: (checkout) => load(checkout, file, harm) };
}

function withTokenizer(change: object): Harm {
  return (folder) => {
    rmSync(join(folder, 'tokenizer_config.json'));
    writeFileSync(join(folder, 'tokenizer_config.json'), asWritten);
    writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify({ ...definition, ...change }));
  };
}

const regex = { Regex: '^(a|aa)+$' };

/** Needs no token: a checkpoint's author. */
export const hostileCheckpoints: readonly Attack[] = [
  attack('config.json is a named pipe', 'config.json', (folder) =>
    execFileSync('mkfifo', [join(folder, 'config.json')]),
  ),
  attack('config.json is /dev/zero', 'config.json', (folder) => symlinkSync('/dev/zero', join(folder, 'config.json'))),
  attack('tokenizer.json of 1.9 GB', 'tokenizer.json', (folder) => {
    writeFileSync(join(folder, 'tokenizer.json'), '');
    truncateSync(join(folder, 'tokenizer.json'), 1_900_000_000);
  }),
  attack('tokenizer.json of 200 MB of lists', 'tokenizer.json', (folder) =>
    writeFileSync(join(folder, 'tokenizer.json'), `{"a":[${'[],'.repeat(66_000_000)}0]}`),
  ),
  attack(
    'regex that never ends',
    'tokenizer.json',
    withTokenizer({ pre_tokenizer: { type: 'Split', pattern: regex, behavior: 'Isolated', invert: false } }),
  ),
  attack(
    'text that doubles 40 times',
    'tokenizer.json',
    withTokenizer({
      normalizer: {
        type: 'Sequence',
        normalizers: Array(40).fill({ type: 'Replace', pattern: { String: 'a' }, content: 'aa' }),
      },
    }),
  ),
];

/** Starts a server with the checkpoint; where it takes it, asks it for a caption with a prompt. */
async function load(checkout: string, file: string, harm: Harm): Promise<Readonly<Record<string, number | string>>> {
  const folder = mkdtempSync(join(tmpdir(), 'blip-handler-attack-'));
  for (const name of readdirSync(shipped)) if (name !== file) symlinkSync(join(shipped, name), join(folder, name));
  harm(folder);
  const child = spawn(process.execPath, [`${checkout}/dist/serve.js`], {
    env: { ...process.env, BLIP_CHECKPOINT: folder, BLIP_EXECUTION_PROVIDER: 'cpu', PORT: String(PORT) },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
  const startMs = performance.now();
  const passedMs = () => performance.now() - startMs;
  const isAlive = () => child.exitCode === null && child.signalCode === null;
  let peakMegabytes = 0;
  try {
    while (isAlive() && passedMs() < PATIENCE_MS) {
      peakMegabytes = Math.max(peakMegabytes, residentMegabytes(child.pid ?? 0));
      if (await isReady()) return { 'starts after, s': seconds(passedMs()), ...(await prompt(isAlive)) };
      await sleep(SAMPLE_MS);
    }
    const end = isAlive()
      ? 'hangs'
      : (/CHECKPOINT_[A-Z_]+/.exec(output)?.[0] ?? `ends with ${child.exitCode ?? child.signalCode}`);
    return { 'after, s': seconds(passedMs()), outcome: end, 'memory, MB': Math.round(peakMegabytes) };
  } finally {
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}

async function isReady(): Promise<boolean> {
  const signal = AbortSignal.timeout(500);
  const answer = await fetch(`http://127.0.0.1:${PORT}/v2/health/ready`, { signal }).catch(() => undefined);
  return answer?.ok === true;
}

/** A prompt of 60 letters: how long no other client gets an answer. */
async function prompt(isAlive: () => boolean): Promise<Readonly<Record<string, number | string>>> {
  const inputs = [
    { name: 'img_url', shape: [1], datatype: 'BYTES', data: [`data:;base64,${shippedPicture}`] },
    { name: 'text', shape: [1], datatype: 'BYTES', data: [`${'a'.repeat(60)}!`] },
  ];
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const startMs = performance.now();
  const answer = await fetch(`http://127.0.0.1:${PORT}/v2/models/captioning/infer`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ inputs }),
    signal,
  }).catch(() => undefined);
  const ms = performance.now() - startMs;
  return { outcome: answer?.status ?? (isAlive() ? 'hangs' : 'ends'), 'nobody answered for, s': seconds(ms) };
}

function residentMegabytes(pid: number): number {
  try {
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1_000;
  } catch {
    return 0;
  }
}

function seconds(ms: number): number {
  return Number((ms / 1_000).toFixed(1));
}
