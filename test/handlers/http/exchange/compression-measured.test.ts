import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { bytes, dataUri, expectError, postInference, readAnswer } from '../../../support/server.ts';
import { withServer } from '../../../support/with-server.ts';

const server = withServer({ maxBodyBytes: 1_000_000 });

test('a small body that would decompress to a large one is refused before it takes memory', async () => {
  const bomb = gzipSync(Buffer.alloc(200_000_000, ' '));
  expect(bomb.length).toBeLessThan(250_000);
  const residentBytesBefore = process.memoryUsage().rss;
  expectError(
    await postInference(server.url, bomb, { headers: { 'content-encoding': 'gzip' } }),
    413,
    'PAYLOAD_TOO_LARGE',
  );
  expect(process.memoryUsage().rss - residentBytesBefore).toBeLessThan(100_000_000);
  readAnswer(await postInference(server.url, { inputs: [bytes('img_url', [dataUri('chelsea')])] }));
});
