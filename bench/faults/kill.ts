import { setTimeout as sleep } from 'node:timers/promises';
import type { Attack } from '../attacks/attack.ts';
import { captionOnce, startAttackedServer } from '../attacks/attacked-server.ts';

const PORT = 8_502;
const PICTURES = 400;
const CLIENTS = 16;
const KILLS = 3;
const KILL_EVERY_MS = 1_500;

/** `kill -9` again and again, with somebody who starts the server anew and clients that ask again. */
export const kill: Attack = {
  name: 'kill -9, started anew, clients try again',
  async run(checkout) {
    let server = await startAttackedServer(checkout, PORT);
    let retries = 0;
    const pictures = Array.from({ length: PICTURES }, (_, index) => index).values();
    const answered = new Set<number>();
    const ask = async () => {
      for (const picture of pictures) {
        while ((await captionOnce(server, 'bystander')).status !== 200) {
          retries += 1;
          await sleep(100);
        }
        answered.add(picture);
      }
    };
    const clients = Promise.all(Array.from({ length: CLIENTS }, ask));
    for (let kills = 0; kills < KILLS; kills += 1) {
      await sleep(KILL_EVERY_MS);
      await server.stop();
      server = await startAttackedServer(checkout, PORT);
    }
    await clients;
    await server.stop();
    return { pictures: PICTURES, answered: answered.size, 'asked again': retries };
  },
};
