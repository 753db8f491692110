import { resolve } from 'node:path';
import type { Attack } from './attacks/attack.ts';
import { costlyImageAttacks } from './attacks/costly-images.ts';
import { fullQueue } from './attacks/full-queue.ts';
import { greedyCheckpoint } from './attacks/greedy-checkpoint.ts';
import { hostileCheckpoints } from './attacks/hostile-checkpoints.ts';
import { hungWorker } from './attacks/hung-worker.ts';
import { manyBeams } from './attacks/many-beams.ts';
import { slowHosts } from './attacks/slow-hosts.ts';
import { smallBodyAttacks } from './attacks/small-bodies.ts';
import { unansweredNames } from './attacks/unanswered-names.ts';
import { unreadAnswerAttacks } from './attacks/unread-answers.ts';

/**
 * Attacks built servers as strangers do, and prints what it cost them: docs/explanation/security.md has the table.
 *
 *     npm run build && npx tsx bench/attacks.ts . [OTHER_CHECKOUT …] [--only PART_OF_A_NAME]
 *
 * Each attack is run against each checkout in turn, alone on the machine.
 */

const attacks: readonly Attack[] = [
  ...unreadAnswerAttacks,
  ...smallBodyAttacks,
  ...costlyImageAttacks,
  manyBeams,
  fullQueue,
  hungWorker,
  slowHosts,
  unansweredNames,
  greedyCheckpoint,
  ...hostileCheckpoints,
];

const flag = process.argv.indexOf('--only');
const [checkouts, only] =
  flag === -1 ? [process.argv.slice(2), ''] : [process.argv.slice(2, flag), process.argv[flag + 1] ?? ''];

for (const attack of attacks.filter(({ name }) => name.includes(only))) {
  for (const checkout of checkouts) {
    const figures = await attack.run(resolve(checkout));
    const texts = Object.entries(figures).map(([name, value]) => `${name}: ${value}`);
    console.log(`| ${attack.name} | ${checkout} | ${texts.join('; ')} |`);
  }
}
