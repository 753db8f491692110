import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { status } from '@grpc/grpc-js';
import { describe, expect, test } from 'vitest';
import { settingDefinitions } from '../pipeline/settings.ts';
import { grpcStatus } from '../protocol/grpc-status.ts';
import { httpStatus } from '../protocol/http-status.ts';

/** What the documents list is held against the code. */

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (path: string) => readFileSync(`${root}${path}`, 'utf8');

/** The first cells of all table rows. */
function firstCells(markdown: string): readonly string[] {
  return [...markdown.matchAll(/^\| (\S[^|]*?) \|/gm)].map((match) => match[1] ?? '');
}

/** Codes of a union type, as its source spells them. */
function unionMembers(source: string): readonly string[] {
  return [...source.matchAll(/^ {2}\| '([A-Z_]+)'/gm)].map((match) => match[1] ?? '');
}

describe('docs/errors.md', () => {
  const codes = firstCells(read('docs/errors.md')).filter((cell) => /^[A-Z_]+$/.test(cell));

  test('explains every code once, and no other', () => {
    const known = [...unionMembers(read('protocol/errors.ts')), ...unionMembers(read('checkpoint/errors.ts'))];
    expect(known.length).toBeGreaterThan(20);
    expect([...codes].sort()).toEqual([...known].sort());
  });

  test('names the HTTP status that is answered', () => {
    const rows = [...read('docs/errors.md').matchAll(/^\| ([A-Z_]+) \| (\d{3}) \|/gm)];
    const documented = Object.fromEntries(rows.map(([, code = '', status]) => [code, Number(status)]));
    expect(rows.length).toBeGreaterThan(15);
    expect(httpStatus).toMatchObject(documented);
  });

  test('names the gRPC status that is answered', () => {
    const rows = [...read('docs/errors.md').matchAll(/^\| ([A-Z_]+) \| \d{3} \| ([A-Z_]+) \|/gm)];
    const documented = Object.fromEntries(rows.map(([, code = '', name]) => [code, name]));
    const answered = Object.entries(grpcStatus).map(([code, number]) => [code, status[number]]);
    expect(rows.length).toBeGreaterThan(15);
    expect(Object.fromEntries(answered)).toMatchObject(documented);
  });
});

describe('README.md', () => {
  const readme = read('README.md');

  test('has every setting with its default, and no other', () => {
    const rows = [...readme.matchAll(/^\| `([A-Z_]+)` \| (.+?) \| (.+?) \|$/gm)].map(([, ...cells]) => cells);
    const definitions = Object.values(settingDefinitions).map(({ variable, defaultText, description }) => [
      variable,
      defaultText,
      description,
    ]);
    expect(rows).toEqual(definitions);
  });

  test('names only files and folders that are there', () => {
    const tree = /```tree\n([\s\S]+?)```/.exec(readme)?.[1] ?? '';
    const paths = [...tree.matchAll(/^(\S+)/gm)].map((match) => match[1] ?? '');
    expect(paths.length).toBeGreaterThan(10);
    expect(paths.filter((path) => !existsSync(`${root}${path}`))).toEqual([]);
  });

  test('links to files that are there', () => {
    const links = [...readme.matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)].map((match) => match[1] ?? '');
    expect(links.length).toBeGreaterThan(3);
    expect(links.filter((link) => !existsSync(`${root}${link}`))).toEqual([]);
  });
});
