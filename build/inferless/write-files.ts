import { readFileSync, writeFileSync } from 'node:fs';
import { schemas } from '../../input_schema.ts';
import { cudaDockerfile } from './dockerfile.ts';
import { inputSchemaText, isTask } from './input-schema.ts';

/**
 * `npm run inferless [TASK]`: writes the files of the root that Inferless reads and that are made of others:
 * input_schema.py for models of a task, captioning by default, and Dockerfile.cuda.
 */

const root = new URL('../..', import.meta.url);

function main([task = 'captioning', ...others]: readonly string[]): void {
  if (!isTask(task) || others.length > 0)
    throw new Error(`Expected one task of ${Object.keys(schemas).join(', ')}, got ${[task, ...others].join(' ')}.`);
  writeFileSync(new URL('input_schema.py', root), inputSchemaText(task));
  writeFileSync(new URL('Dockerfile.cuda', root), cudaDockerfile(readFileSync(new URL('Dockerfile', root), 'utf8')));
}

main(process.argv.slice(2));
