import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Attack } from '../attacks/attack.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** The worker thread ends again and again, as a mistake in it would end it, while a library asks. */
export const workerDeath: Attack = {
  name: 'the worker thread dies, again and again',
  async run(checkout) {
    const script = `
      import Handler, { settingsFromEnvironment } from ${JSON.stringify(`${checkout}/dist/app.js`)};
      import { readFileSync } from 'node:fs';
      let thread;
      let deaths = 0;
      process.on('worker', (worker) => { thread = worker; worker.once('exit', () => { deaths += 1; }); });
      const handler = new Handler({ ...settingsFromEnvironment(), executionProvider: 'cpu' });
      await handler.initialize();
      const picture = readFileSync(${JSON.stringify(`${root}examples/two-cats.png`)}).toString('base64');
      const captions = new Map();
      const ask = async () => {
        const { generated_output } = await handler.infer({ img_url: 'data:;base64,' + picture })
          .catch(({ code }) => ({ generated_output: code }));
        captions.set(String(generated_output), (captions.get(String(generated_output)) ?? 0) + 1);
      };
      const breaking = setInterval(() => thread?.postMessage(undefined), 1_000);
      const endMs = performance.now() + 8_000;
      while (performance.now() < endMs) await Promise.all(Array.from({ length: 8 }, ask));
      clearInterval(breaking);
      await handler.finalize();
      console.log(JSON.stringify({ deaths, ...Object.fromEntries(captions) }));
      process.exit(0);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    let output = '';
    for await (const chunk of child.stdout) output += chunk;
    return JSON.parse(output);
  },
};
