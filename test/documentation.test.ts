import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { serverSettingDefinitions } from '../handlers/service/server-settings.ts';
import { settingDefinitions } from '../pipeline/settings.ts';
import { errorAnswer } from '../protocol/error-answer.ts';
import { type ErrorCode, errorCodes, HandlerError } from '../protocol/errors.ts';

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
    const known = [...Object.keys(errorCodes), ...unionMembers(read('checkpoint/errors.ts'))];
    expect(known.length).toBeGreaterThan(20);
    expect([...codes].sort()).toEqual([...known].sort());
  });

  test('names the statuses and the meaning of every code', () => {
    const text = read('docs/errors.md');
    const ofRequests = [...text.matchAll(/^\| ([A-Z_]+) \| (\d{3}) \| ([A-Z_]+|–) \| (.+?) \|/gm)];
    const ofStart = [...text.matchAll(/^\| (SETTINGS_INVALID|EXECUTION_PROVIDER_UNAVAILABLE) \| (.+?) \|/gm)];
    const documented = [
      ...ofRequests.map(([, code, http, grpc, meaning]) => [code, { http: Number(http), grpc, meaning }] as const),
      ...ofStart.map(([, code, meaning]) => [code, { http: 500, grpc: 'INTERNAL', meaning }] as const),
    ];
    const known = Object.entries(errorCodes).map(([code, { http, grpc, meaning }]) => [
      code,
      { http, grpc: code === 'METHOD_NOT_ALLOWED' ? '–' : grpc, meaning }, // A path of gRPC has one method.
    ]);
    expect(Object.fromEntries(documented)).toEqual(Object.fromEntries(known));
  });

  test('names the headers that tell a client what to do', () => {
    const headersOf = (code: ErrorCode) =>
      errorAnswer(new HandlerError(code, 'Expected one thing, got another.')).headers;
    const codes = Object.keys(errorCodes) as readonly ErrorCode[]; // The keys of a table of codes.
    const having = (header: string) => codes.filter((code) => header in headersOf(code));
    expect(having('retry-after')).toEqual(
      [...read('docs/errors.md').matchAll(/^\| ([A-Z_]+) .*`Retry-After`/gm)].map((match) => match[1]),
    );
    expect(headersOf('UNAUTHORIZED')).toEqual({ 'www-authenticate': 'Bearer', 'content-type': 'application/json' });
    expect(headersOf('UNSUPPORTED_ENCODING')).toMatchObject({ 'accept-encoding': 'gzip, deflate' });
  });
});

describe('README.md', () => {
  const readme = read('README.md');

  test('has every setting with its default, and no other', () => {
    const rows = [...readme.matchAll(/^\| `([A-Z_]+)` \| (.+?) \| (.+?) \|$/gm)].map(([, ...cells]) => cells);
    const definitions = [
      ...Object.values(settingDefinitions({ checkpoint: '', threadsPerWorker: 1 })),
      ...Object.values(serverSettingDefinitions),
    ].map(({ variable, defaultText, description }) => [variable, defaultText, description]);
    expect(rows.toSorted()).toEqual(definitions.toSorted());
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
