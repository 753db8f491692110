import { mkdirSync, readFileSync, renameSync } from 'node:fs';
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

/** A cache without symlinks that has the bytes of the file. `meanwhile` happens when it is seen that the name is not there. */
function startSettling(meanwhile: (blob: string, pointer: string) => void) {
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
  return { settled: destination.settle(file, false), pointer };
}

test('a file that who fetched it has moved to its name meanwhile is there', async () => {
  const { settled, pointer } = startSettling(renameSync);
  await settled;
  expect(readFileSync(pointer)).toEqual(bytes);
});

test('a file that has gone altogether is not', async () => {
  const { settled } = startSettling((blob, pointer) => renameSync(blob, `${pointer}.elsewhere`));
  await expect(settled).rejects.toMatchObject({ code: 'CHECKPOINT_DOWNLOAD_FAILED' });
});
