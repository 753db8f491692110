import { readFileSync } from 'node:fs';
import { parseDocument } from 'yaml';
import { cudaVersions } from '../../../pipeline/cuda/provider-install.ts';
import { HandlerError } from '../../../protocol/errors.ts';
import { compile } from '../../../protocol/validation.ts';

/** build.yaml: the options of an image in one file. docs/how-to/build-an-image.md lists its keys. */

/** A checkpoint folder or a model of the Hub, alone or with the name that requests use. */
export type CheckpointEntry = string | { readonly name: string; readonly checkpoint: string };

/** The file as it is written. All scalars are texts: YAML's numbers would make `1` of the tag `1.0`. */
export interface BuildFile {
  readonly name?: string;
  readonly tag?: string;
  readonly base?: string;
  readonly node?: string;
  readonly architecture?: string;
  readonly cuda?: string;
  readonly checkpoints?: readonly CheckpointEntry[];
  readonly include?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
}

/** The file that is read where no other one is named. */
export const defaultBuildFile = 'build.yaml';

const text = { type: 'string' };
/** A line break would end an instruction of the Dockerfile. */
const line = { type: 'string', pattern: '^[^\\r\\n]*$' };
const namesOf = (pattern: string) => ({ type: 'object', propertyNames: { pattern }, additionalProperties: line });

const checkpointEntry = {
  type: ['string', 'object'],
  properties: { name: text, checkpoint: text },
  required: ['name', 'checkpoint'],
  knownNames: true,
};

const schema = {
  type: 'object',
  properties: {
    name: text,
    tag: text,
    base: text,
    node: text,
    architecture: { enum: ['x64', 'amd64', 'arm64'] },
    cuda: { enum: cudaVersions },
    checkpoints: { type: 'array', items: checkpointEntry },
    include: { type: 'array', items: text },
    environment: namesOf('^[A-Za-z_][A-Za-z0-9_]*$'),
    labels: namesOf('^[A-Za-z0-9][A-Za-z0-9._/-]*$'),
  },
  knownNames: true,
};

const check = compile<BuildFile>(schema, 'BUILD_FILE_INVALID', 'the file');

/**
 * Reads the file.
 * @returns `undefined` where there is none.
 * @throws HandlerError `BUILD_FILE_INVALID`, naming the file, and the line or the key.
 */
export function readBuildFile(path: string): BuildFile | undefined {
  const content = readText(path);
  if (content === undefined) return undefined;
  const document = parseDocument(content, { schema: 'failsafe' });
  const [error] = document.errors;
  if (error !== undefined) throw invalid(path, `Expected YAML, got: ${error.message.trim()}`);
  try {
    return check(withoutEmptyKeys(document.toJS()));
  } catch (thrown) {
    throw thrown instanceof HandlerError ? invalid(path, thrown.message, thrown) : thrown;
  }
}

/** A key whose list is commented out has no value, and a file of comments alone has nothing. */
function withoutEmptyKeys(content: unknown): unknown {
  if (content === null) return {};
  if (typeof content !== 'object' || Array.isArray(content)) return content;
  return Object.fromEntries(Object.entries(content).filter(([, value]) => value !== null && value !== ''));
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    if (code === 'ENOENT') return undefined;
    throw invalid(path, `Expected a file that can be read (${code}).`, cause);
  }
}

function invalid(path: string, problem: string, cause?: unknown): HandlerError {
  return new HandlerError('BUILD_FILE_INVALID', `${path}: ${problem}`, { cause });
}
