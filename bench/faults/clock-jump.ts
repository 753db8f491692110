import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Attack } from '../attacks/attack.ts';
import { captionOnce, startAttackedServer } from '../attacks/attacked-server.ts';

const PORT = 8_505;
const REQUESTS_PER_JUMP = 25;
const LIBRARY = '/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1';
const jumps = ['+0', '+1d', '-1d', '+10y', '+0'];

/** The system's clock jumps forwards and back. Needs Debian's package faketime. */
export const clockJump: Attack = {
  name: 'the clock jumps by a day and by years',
  async run(checkout) {
    if (!existsSync(LIBRARY)) return { skipped: 'needs the package faketime' };
    const folder = mkdtempSync(join(tmpdir(), 'blip-handler-clock-'));
    const file = join(folder, 'offset');
    writeFileSync(file, jumps[0] ?? '');
    const server = await startAttackedServer(checkout, PORT, {
      LD_PRELOAD: LIBRARY,
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    });
    try {
      const results = [];
      for (const jump of jumps) {
        writeFileSync(file, jump);
        for (let request = 0; request < REQUESTS_PER_JUMP; request += 1)
          results.push(await captionOnce(server, 'bystander', 10_000));
      }
      return {
        requests: results.length,
        answered: results.filter(({ status }) => status === 200).length,
        'slowest, ms': Math.round(Math.max(...results.map(({ ms }) => ms))),
      };
    } finally {
      await server.stop();
      rmSync(folder, { recursive: true });
    }
  },
};
