import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Attack } from '../attacks/attack.ts';
import { captionOnce, startAttackedServer } from '../attacks/attacked-server.ts';

const PORT = 8_504;
const REQUESTS = 50;

/** The disk that the log goes to is full. Needs root, to mount a small one. */
export const fullDisk: Attack = {
  name: 'the disk under the log is full',
  async run(checkout) {
    const folder = mkdtempSync(join(tmpdir(), 'blip-handler-full-'));
    const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=16k', 'tmpfs', folder]);
    if (status !== 0) return { skipped: 'needs root, to mount a small disk' };
    const log = openSync(join(folder, 'log'), 'a');
    try {
      writeFileSync(join(folder, 'filler'), Buffer.alloc(12_288));
      const server = await startAttackedServer(checkout, PORT, { LOG_LEVEL: 'trace' }, log);
      let answered = 0;
      for (let request = 0; request < REQUESTS; request += 1)
        answered += Number((await captionOnce(server, 'bystander', 5_000)).status === 200);
      await server.stop();
      return { requests: REQUESTS, answered };
    } finally {
      closeSync(log);
      spawnSync('umount', ['--lazy', folder]);
      rmSync(folder, { recursive: true });
    }
  },
};
