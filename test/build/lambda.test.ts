import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { MAX_UNPACKED_BYTES, writeArchive } from '../../build/lambda/archive.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

test('an archive that Lambda would refuse is refused before it is written, with what to do', async () => {
  const folder = temporaryFolder({ 'small.txt': 'a' });
  const large = join(folder, 'large.bin');
  writeFileSync(large, '');
  truncateSync(large, MAX_UNPACKED_BYTES);
  await expect(writeArchive(folder, join(temporaryFolder(), 'out.zip'))).rejects.toMatchObject({
    code: 'BUILD_FAILED',
    message: expect.stringMatching(/262144000 .* got 262144001\. Make an image/s),
  });
});
