import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { cudaDockerfile } from '../../build/inferless/dockerfile.ts';
import { inputSchemaText } from '../../build/inferless/input-schema.ts';

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

describe('the files that Inferless reads', () => {
  test('input_schema.py is made of input_schema.ts: npm run inferless', () => {
    expect(read('input_schema.py')).toBe(inputSchemaText('captioning'));
  });

  test('Dockerfile.cuda is made of the Dockerfile: npm run inferless', () => {
    expect(read('Dockerfile.cuda')).toBe(cudaDockerfile(read('Dockerfile')));
  });

  test('a Dockerfile without the arguments that get other defaults is refused', () => {
    expect(() => cudaDockerfile(read('Dockerfile').replace('ARG CUDA\n', ''))).toThrow('ARG CUDA');
  });

  test('app.py needs the standard library alone', () => {
    const modules = [...read('app.py').matchAll(/^(?:import|from) (\w+)/gm)].map(([, name]) => name);
    const standard =
      'base64 contextlib glob http json os secrets shutil socket subprocess sys tempfile threading time'.split(' ');
    expect([...new Set(modules)].sort()).toEqual(standard);
  });
});
