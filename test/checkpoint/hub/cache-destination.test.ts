import { cpSync, existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { CacheDestination } from '../../../checkpoint/hub/cache-destination.ts';
import { readHubSettings } from '../../../checkpoint/hub/hub-settings.ts';
import { COMMIT, gitBlobSha1, MODEL } from '../../support/hub-server.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const bytes = Buffer.from('{}');
const file = {
  name: 'config.json',
  sizeBytes: bytes.length,
  checksum: { algorithm: 'git-sha1', hex: gitBlobSha1(bytes) },
} as const;

/** A cache without symlinks that has the file's bytes. `meanwhile` runs between the look for its name and the move. */
function prepare(isNew: boolean, meanwhile: (blob: string, pointer: string) => void) {
  const repository = join('hub', 'models--Owner--Some-Model');
  const blob = join(repository, 'blobs', file.checksum.hex);
  const home = temporaryFolder({ [blob]: bytes });
  const pointer = join(home, repository, 'snapshots', COMMIT, file.name);
  const settings = {
    ...readHubSettings({ HF_HOME: home }),
    get symlinks() {
      mkdirSync(dirname(pointer), { recursive: true });
      meanwhile(join(home, blob), pointer);
      return false;
    },
  };
  const listing = { commit: COMMIT, files: new Map([[file.name, file]]) };
  const destination = new CacheDestination({ name: MODEL, revision: 'main' }, settings, listing);
  return { settle: () => destination.settle(file, isNew), pointer, blob: join(home, blob) };
}

test('a file that another download moves to its name meanwhile is there', async () => {
  const { settle, pointer } = prepare(false, renameSync);
  await settle();
  expect(readFileSync(pointer)).toEqual(bytes);
});

test('a file that is gone altogether is an error', async () => {
  const { settle } = prepare(false, (blob, pointer) => renameSync(blob, `${pointer}.elsewhere`));
  await expect(settle()).rejects.toMatchObject({ code: 'CHECKPOINT_DOWNLOAD_FAILED' });
});

test('a new file leaves blobs/ although another download has put its own under the name', async () => {
  const { settle, pointer, blob } = prepare(true, () => undefined);
  mkdirSync(dirname(pointer), { recursive: true });
  cpSync(blob, pointer);
  await settle();
  expect(readFileSync(pointer)).toEqual(bytes);
  expect(existsSync(blob)).toBe(false);
});
