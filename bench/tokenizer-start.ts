import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * Measures the milliseconds to import a tokenizer and to open a vocabulary, each in its own process, for the tokenizer core
 * that this package uses and for transformers.js. docs/decisions/0006-libraries.md has the figures.
 *
 *     npx tsx bench/tokenizer-start.ts CHECKPOINT_FOLDER
 */

const RUNS = 5;
const root = fileURLToPath(new URL('..', import.meta.url));
const folder = resolve(process.argv[2] ?? 'checkpoints/scenes-captioning');

const starts = {
  '@huggingface/tokenizers': `
    import { readFileSync } from 'node:fs';
    const { Tokenizer } = await import('@huggingface/tokenizers');
    const read = (file) => JSON.parse(readFileSync('${folder}/' + file, 'utf8'));
    new Tokenizer(read('tokenizer.json'), read('tokenizer_config.json'));`,
  '@huggingface/transformers': `
    const { AutoTokenizer, env } = await import('@huggingface/transformers');
    Object.assign(env, { allowRemoteModels: false, allowLocalModels: true });
    await AutoTokenizer.from_pretrained('${folder}');`,
};

for (const [name, start] of Object.entries(starts)) {
  const script = `const startMs = performance.now(); ${start} console.log(performance.now() - startMs);`;
  const times = Array.from({ length: RUNS }, () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      cwd: root,
      encoding: 'utf8',
    });
    if (status !== 0) throw new Error(`${name} does not open ${folder}: ${stderr}`);
    return Number(stdout);
  });
  console.log(`${name}: ${times.sort((a, b) => a - b)[Math.floor(RUNS / 2)]?.toFixed(0)} ms`);
}
