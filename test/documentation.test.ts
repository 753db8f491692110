import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { serverSettingDefinitions } from '../handlers/service/server-settings.ts';
import { schemas } from '../input_schema.ts';
import { anySettingDefinitions } from '../pipeline/settings.ts';
import { errorAnswer } from '../protocol/error-answer.ts';
import { type ErrorCode, errorCodes, HandlerError } from '../protocol/errors.ts';
import { namesWithoutEffect } from '../protocol/names-without-effect.ts';
import type { InputFields } from '../protocol/schema.ts';

/** Compares lists in the documents with the code, looks for the files that documents name, and follows every link. */

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (path: string) => readFileSync(join(root, path), 'utf8');

/** The first cells of all table rows. */
function firstCells(markdown: string): readonly string[] {
  return [...markdown.matchAll(/^\| (\S[^|]*?) \|/gm)].map((match) => match[1] ?? '');
}

/** Codes of a union type, as its source spells them. */
function unionMembers(source: string): readonly string[] {
  return [...source.matchAll(/^ {2}\| '([A-Z_]+)'/gm)].map((match) => match[1] ?? '');
}

describe('docs/reference/errors.md', () => {
  const codes = firstCells(read('docs/reference/errors.md')).filter((cell) => /^[A-Z_]+$/.test(cell));

  test('explains every code once, and no other', () => {
    const known = [...Object.keys(errorCodes), ...unionMembers(read('checkpoint/errors.ts'))];
    expect(known.length).toBeGreaterThan(20);
    expect([...codes].sort()).toEqual([...known].sort());
  });

  test('names the statuses and the meaning of every code', () => {
    const text = read('docs/reference/errors.md');
    const ofRequests = [...text.matchAll(/^\| ([A-Z_]+) \| (\d{3}) \| ([A-Z_]+|–) \| (.+?) \|/gm)];
    const ofStart = [
      ...text.matchAll(
        /^\| (SETTINGS_INVALID|EXECUTION_PROVIDER_UNAVAILABLE|PRECISION_UNAVAILABLE|PROVIDER_INSTALL_FAILED|BUILD_FILE_INVALID|BUILD_FAILED|NATIVE_LIBRARY_UNUSABLE) \| (.+?) \|/gm,
      ),
    ];
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
      [...read('docs/reference/errors.md').matchAll(/^\| ([A-Z_]+) .*`Retry-After`/gm)].map((match) => match[1]),
    );
    expect(headersOf('UNAUTHORIZED')).toEqual({ 'www-authenticate': 'Bearer', 'content-type': 'application/json' });
    expect(headersOf('UNSUPPORTED_ENCODING')).toMatchObject({ 'accept-encoding': 'gzip, deflate' });
  });
});

/** Settings that are named like limits and protect nothing. */
const namedLikeLimits = new Set(['BLIP_MAX_BATCH_SIZE', 'BLIP_DRAIN_LIMIT_MS']);

const settings = [...Object.values(anySettingDefinitions()), ...Object.values(serverSettingDefinitions)];

test('docs/reference/settings.md has every setting with its default, and no other', () => {
  const rows = [...read('docs/reference/settings.md').matchAll(/^\| `([A-Z_]+)` \| (.+?) \| (.+?) \|$/gm)];
  const definitions = settings.map(({ variable, defaultText, description }) => [variable, defaultText, description]);
  expect(rows.map(([, ...cells]) => cells).toSorted()).toEqual(definitions.toSorted());
});

test('docs/explanation/security.md has every limit that a setting changes, with its default', () => {
  const rows = [...read('docs/explanation/security.md').matchAll(/^\| .+? \| (.+?) \| `([A-Z_]+)` \|$/gm)];
  const limits = settings.filter(
    ({ variable }) => /MAX_|_LIMIT_|TIMEOUT/.test(variable) && !namedLikeLimits.has(variable),
  );
  expect(rows.map(([, value = '', variable]) => [variable, value.replaceAll(',', '')]).toSorted()).toEqual(
    limits.map(({ variable, defaultText }) => [variable, defaultText]).toSorted(),
  );
});

describe('docs/reference/inputs-and-outputs.md', () => {
  /** Names, datatypes and meanings of the rows of a section, and of no section below it. */
  function rowsOf(title: string) {
    const document = read('docs/reference/inputs-and-outputs.md');
    const section = new RegExp(`^#+ ${title}\\n([\\s\\S]*?)(?=^#)`, 'm').exec(`${document}\n#`)?.[1] ?? '';
    const rows = [...section.matchAll(/^\| `([a-z_]+)` \| ([A-Z0-9]+) \|(.*)\|$/gm)];
    return rows.map(([, name = '', datatype = '', rest = '']) => ({ name, datatype, rest }));
  }

  const titles = {
    captioning: 'Captioning',
    'question-answering': 'Question answering',
    'image-text-to-text': 'BLIP-2',
    retrieval: 'Retrieval',
    clip: 'CLIP',
  } as const satisfies Record<keyof typeof schemas, string>;
  const tasks = Object.entries(schemas).map(([task, { inputs, outputs }]) => {
    const title = titles[task as keyof typeof titles]; // The keys of both are the tasks.
    const isGeneration = 'max_new_tokens' in inputs;
    const more = isGeneration ? [...rowsOf('Parameters of generation'), ...rowsOf('Outputs of generation')] : [];
    return { task, fields: { ...inputs, ...outputs }, outputs, rows: [...rowsOf(title), ...more] };
  });

  test.each(tasks)('has every input and output of $task with its datatype, and no other', ({ fields, rows }) => {
    const expected = Object.entries(fields).map(([name, { datatype }]) => `${name} ${datatype}`);
    expect(rows.map(({ name, datatype }) => `${name} ${datatype}`).sort()).toEqual(expected.sort());
  });

  test.each(tasks)('marks the outputs of $task that come on request', ({ outputs, rows }) => {
    const marked = rows.filter(({ rest }) => rest.includes('**on request**')).map(({ name }) => name);
    const expected = Object.entries(outputs).filter(([, { onRequest }]) => onRequest);
    expect(marked.sort()).toEqual(expected.map(([name]) => name).sort());
  });

  test('has the bounds of the parameters', () => {
    const inputs: InputFields = schemas.captioning.inputs;
    const bounded = rowsOf('Parameters of generation').filter(({ rest }) => /^ \S+ to \S+ \|/.test(rest));
    const documented = bounded.map(({ name, rest }) => {
      const [, minimum = '', maximum = ''] = /^ (\S+) to (\S+) \|/.exec(rest) ?? [];
      return [name, [minimum, maximum].map((bound) => Number(bound.replaceAll(',', '')))];
    });
    const known = Object.entries(inputs).map(([name, { minimum, maximum }]) => [name, [minimum, maximum]]);
    expect(documented.length).toBeGreaterThan(5);
    expect(Object.fromEntries(known)).toMatchObject(Object.fromEntries(documented));
  });
});

test('docs/reference/platforms.md has every name without effect, with its place and its reason', () => {
  const section = /^## Names without effect\n([\s\S]*?)^## /m.exec(read('docs/reference/platforms.md'))?.[1] ?? '';
  const rows = [...section.matchAll(/^\| `(\w+)` \| (.+?) \| (.+?) \|$/gm)].map(([, ...cells]) => cells);
  const known = Object.entries(namesWithoutEffect).flatMap(([place, names]) =>
    Object.entries(names).map(([name, reason]) => [name, place, reason]),
  );
  expect(known.length).toBeGreaterThan(20);
  expect(rows.toSorted()).toEqual(known.toSorted());
});

test('CONTRIBUTING.md names only files and folders that exist', () => {
  const tree = /```tree\n([\s\S]+?)```/.exec(read('CONTRIBUTING.md'))?.[1] ?? '';
  const paths = [...tree.matchAll(/^(\S+)/gm)].map((match) => match[1] ?? '');
  expect(paths.length).toBeGreaterThan(10);
  expect(paths.filter((path) => !existsSync(join(root, path)))).toEqual([]);
});

/** Paths of all files of the repository, from its root. */
function filesIn(folder = ''): readonly string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isFile()) return [path];
    const isOurs = entry.isDirectory() && !['node_modules', 'dist'].includes(entry.name) && !entry.name.startsWith('.');
    return isOurs ? filesIn(path) : [];
  });
}

const files = filesIn();
const documents = files.filter((path) => path.endsWith('.md'));

const withoutCode = (markdown: string) => markdown.replace(/^ *```[\s\S]*?^ *```/gm, '').replace(/`[^`\n]+`/g, 'code');

/** Ids that GitHub gives the headings of a document. */
function anchorsOf(markdown: string): readonly string[] {
  const seen = new Map<string, number>();
  const headings = markdown.replace(/^ *```[\s\S]*?^ *```/gm, '').matchAll(/^#{1,6} +(.+?) *$/gm);
  return [...headings].map(([, heading = '']) => {
    const text = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase();
    const id = text.replace(/[^\p{L}\p{N}\s_-]/gu, '').replace(/\s/g, '-');
    const count = seen.get(id) ?? 0;
    seen.set(id, count + 1);
    return count === 0 ? id : `${id}-${count}`;
  });
}

/** Why a link of a document leads nowhere; `undefined` where it leads somewhere, or out of the repository. */
function problemOf(document: string, link: string): string | undefined {
  if (/^[a-z][a-z0-9+.-]*:/i.test(link)) return undefined;
  const [path = '', anchor] = link.split('#');
  const target = path === '' ? document : join(dirname(document), path);
  if (relative(root, join(root, target)).startsWith('..')) return `${link} leads out of the repository`;
  if (!existsSync(join(root, target))) return `${link} leads to no file`;
  if (anchor === undefined) return undefined;
  const isDocument = target.endsWith('.md') && statSync(join(root, target)).isFile();
  return isDocument && anchorsOf(read(target)).includes(anchor) ? undefined : `${link} leads to no heading`;
}

/** Paths of sources that a text names and the repository lacks. A document may leave out the folders in front. */
function missingSources(markdown: string): readonly string[] {
  const named = markdown.replace(/^ *```[\s\S]*?^ *```/gm, '').matchAll(/(?<![\w./-])(?:[\w-]+\/)*[\w-]+\.ts\b/g);
  return [...named].map(([path]) => path).filter((path) => !files.some((file) => `/${file}`.endsWith(`/${path}`)));
}

describe('sources', () => {
  test.each(documents.filter((path) => path !== 'CHANGELOG.md'))('that %s names exist', (document) => {
    expect(missingSources(read(document))).toEqual([]);
  });

  test('that do not exist are found', () => {
    expect(missingSources('See `app.ts`, (exchange/door.ts) and workers/nothing.ts.')).toEqual(['workers/nothing.ts']);
  });
});

describe('links', () => {
  test('are looked for in the documents that there are', () => {
    expect(documents).toEqual(expect.arrayContaining(['README.md', 'docs/README.md', 'checkpoints/recipe/README.md']));
  });

  test.each(documents)('of %s lead to files and headings', (document) => {
    const text = withoutCode(read(document));
    const links = [...text.matchAll(/\]\(([^)\s]+)\)/g), ...text.matchAll(/<img [^>]*?src="([^"]+)"/g)];
    expect(links.flatMap(([, link = '']) => problemOf(document, link) ?? [])).toEqual([]);
  });

  test.each([
    ['docs/reference/errors.md', 'nowhere.md'],
    ['docs/reference/errors.md', '#nothing-of-this-name'],
    ['docs/reference/errors.md', '../../outside.md'],
  ])('that lead nowhere are found: %s to %s', (document, link) => {
    expect(problemOf(document, link)).toContain(link);
  });

  test('every document is reached from docs/README.md or README.md', () => {
    const linked = ['README.md', 'docs/README.md'].flatMap((document) =>
      [...read(document).matchAll(/\]\(([^)#\s]+)/g)].map(([, link = '']) => join(dirname(document), link)),
    );
    const lost = documents.filter(
      (document) => /^docs\/(?!decisions\/|README)/.test(document) && !linked.includes(document),
    );
    expect(lost).toEqual([]);
  });
});
