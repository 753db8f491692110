import { statSync } from 'node:fs';
import { CheckpointError } from '../errors.ts';
import { hubModelOf } from './open-clip-names.ts';

/** A model of the Hub at one revision: a branch, a tag, a commit, or a ref such as `refs/pr/18`. */
export interface HubReference {
  /** `owner/name` */
  readonly name: string;
  readonly revision: string;
}

const DEFAULT_REVISION = 'main';
const MAX_NAME_LENGTH = 96;
const namePart = /^[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?$/;
/** Characters of git's refs, without those that mean something else in a path or a URL. */
const revisionPart = /^(?!\.)[A-Za-z0-9_.+=@-]+(?<!\.|\.lock)$/;

/** Whether there is a folder. A text that cannot be a path names none. */
export function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

/**
 * Reads `owner/name` or `owner/name@revision`, by the Hub's own rules for names: `validate_repo_id` of huggingface_hub.
 * Names of open_clip's pretrained checkpoints, such as `ViT-B-32:openai`, stand for their repositories.
 * @param revision where it is apart from the name; only one of the two may have a revision.
 * @throws CheckpointError `CHECKPOINT_NOT_FOUND` when it is no reference, since it may have been meant as a folder; the
 *   errors of `hubModelOf`.
 */
export function parseHubReference(text: string, revision?: string): HubReference {
  const [name = '', inText] = splitOnce(hubModelOf(text) ?? text, '@');
  if (!isHubName(name)) {
    throw new CheckpointError(
      'CHECKPOINT_NOT_FOUND',
      `${text}: expected a checkpoint folder, or OWNER/NAME or OWNER/NAME@REVISION of the Hub, got neither.`,
    );
  }
  if (inText !== undefined && revision !== undefined) {
    throw new CheckpointError('CHECKPOINT_NOT_FOUND', `${text}: expected one revision, got a second: ${revision}.`);
  }
  const chosen = inText ?? revision ?? DEFAULT_REVISION;
  if (!isRevision(chosen)) {
    throw new CheckpointError(
      'CHECKPOINT_NOT_FOUND',
      `${text}: expected a branch, tag, commit or ref as revision, got ${JSON.stringify(chosen)}.`,
    );
  }
  return { name, revision: chosen };
}

/** The reference as a user would write it. */
export function referenceText({ name, revision }: HubReference): string {
  return revision === DEFAULT_REVISION ? name : `${name}@${revision}`;
}

function isHubName(name: string): boolean {
  const parts = name.split('/');
  return (
    parts.length === 2 &&
    parts.every((part) => namePart.test(part)) &&
    name.length <= MAX_NAME_LENGTH &&
    !/--|\.\./.test(name) &&
    !name.endsWith('.git')
  );
}

function isRevision(revision: string): boolean {
  return revision.split('/').every((part) => revisionPart.test(part) && !part.includes('..'));
}

function splitOnce(text: string, separator: string): readonly string[] {
  const index = text.indexOf(separator);
  return index === -1 ? [text] : [text.slice(0, index), text.slice(index + separator.length)];
}
