import { setTimeout as sleep } from 'node:timers/promises';
import type { Attack } from '../attacks/attack.ts';
import { type AttackedServer, captionOnce, startAttackedServer } from '../attacks/attacked-server.ts';

const PORT = 8_501;
const CLIENTS = 32;
const RUN_MS = 3_000;

/** SIGTERM while many clients ask: whatever was accepted is answered. */
export const sigterm: Attack = {
  name: 'SIGTERM under load',
  async run(checkout) {
    const server = await startAttackedServer(checkout, PORT);
    const statuses = new Map<number, number>();
    const clients = Array.from({ length: CLIENTS }, () => askUntilGone(server, statuses));
    await sleep(RUN_MS);
    const startMs = performance.now();
    process.kill(server.pid, 'SIGTERM');
    while (server.isAlive()) await sleep(10);
    const exitMs = performance.now() - startMs;
    await Promise.all(clients);
    return {
      answered: statuses.get(200) ?? 0,
      'refused with 503': statuses.get(503) ?? 0,
      lost: lostOf(statuses),
      'ms from SIGTERM to exit': Math.round(exitMs),
    };
  },
};

async function askUntilGone(server: AttackedServer, statuses: Map<number, number>): Promise<void> {
  while (server.isAlive()) {
    const { status, isRefused } = await captionOnce(server, 'bystander');
    if (isRefused) return; // Nobody listens any more: the next server would have taken it.
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
  }
}

/** Requests without an answer, and answers that are neither a caption nor the refusal of a server that ends. */
function lostOf(statuses: ReadonlyMap<number, number>): number {
  return [...statuses].reduce((sum, [status, count]) => (status === 200 || status === 503 ? sum : sum + count), 0);
}
