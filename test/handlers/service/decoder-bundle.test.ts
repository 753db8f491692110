import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { builtBundle } from '../../support/built-bundle.ts';
import { copyDist, startServerProcess, type TemporaryBundle } from '../../support/bundle.ts';
import { jpegOfManyScans } from '../../support/costly-images.ts';
import { bytes, dataUri, expectError, postInference, readAnswer } from '../../support/server.ts';

/** The process that decodes costly images, in a bundle that lies beside nothing but its native packages. */

let bundle: TemporaryBundle;
beforeAll(() => {
  bundle = copyDist(builtBundle(), [
    'onnxruntime-node',
    'onnxruntime-common',
    'sharp',
    '@img',
    'detect-libc',
    'semver',
  ]);
});
afterAll(() => bundle?.remove());

test('a costly image is answered, one whose decoder takes too long is refused, and the server ends with its decoders', async () => {
  const server = await startServerProcess(bundle, {});
  onTestFinished(() => void server.kill('SIGKILL'));
  const costly = `data:;base64,${jpegOfManyScans(3_000, 2_000, 60).toString('base64')}`;
  const answer = readAnswer(
    await postInference(server.url, { inputs: [bytes('img_url', [costly, dataUri('small')])] }),
  );
  expect(answer.outputs).not.toHaveLength(0);
  expect(JSON.stringify(answer)).not.toContain('IMAGE_');
  server.kill('SIGTERM');
  expect(await server.exit).toMatchObject({ exitCode: 0, signal: null });

  const strict = await startServerProcess(bundle, { BLIP_IMAGE_DECODE_TIMEOUT_MS: '1' });
  onTestFinished(() => void strict.kill('SIGKILL'));
  const refused = await postInference(strict.url, { inputs: [bytes('img_url', [costly])] });
  expect(expectError(refused, 400, 'IMAGE_TOO_COMPLEX').error).toContain('in 1 ms of processor time');
});
