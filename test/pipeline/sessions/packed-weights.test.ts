import { join } from 'node:path';
import { InferenceSession } from 'onnxruntime-node';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { openCheckpoint } from '../../../checkpoint/checkpoint.ts';
import { quantizeCheckpoint } from '../../../checkpoint/quantize/quantize-checkpoint.ts';
import { loadSession } from '../../../pipeline/sessions/load-session.ts';
import { chooseWeightsLayout, forOneRequest, type WeightsLayout } from '../../../pipeline/sessions/weights-choices.ts';
import { expectClose } from '../../support/close-to.ts';
import { checkpointFolder, checkpointNames, clipCheckpointNames } from '../../support/goldens.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { greyBatch } from '../../support/worker-batches.ts';

/**
 * Packed weights are the mapped ones in another order. Products of integers are the same numbers then, and products of
 * float32 are the same to rounding, as between batches of two sizes.
 */

const ROUNDING = { absolute: 1e-5, relative: 1e-5 };

type Loaded = Awaited<ReturnType<typeof loadSession>>;

async function load(folder: string, weights: WeightsLayout): Promise<Loaded> {
  return await loadSession(openCheckpoint(folder), { executionProvider: 'cpu', threadCount: 1, weights });
}

async function captionOf({ runs }: Loaded) {
  const [rows] = (await runs.generation(greyBatch())).results;
  return rows?.[0];
}

function extraOptions(disablePrepacking: string) {
  return { extra: { session: { disable_prepacking: disablePrepacking } } };
}

function expectSame(packed: Awaited<ReturnType<typeof captionOf>>, mapped: typeof packed): void {
  expect(packed?.tokenIds).toEqual(mapped?.tokenIds);
  expectClose(packed?.tokenLogprobs ?? [], mapped?.tokenLogprobs ?? [], ROUNDING);
}

async function int8Folder(name: Parameters<typeof checkpointFolder>[0]): Promise<string> {
  const folder = join(temporaryFolder(), name);
  await quantizeCheckpoint(checkpointFolder(name), folder);
  return folder;
}

describe.each(checkpointNames)('%s', (name) => {
  test('as int8 answers the same packed at the start, packed later, and asked to pack twice', async () => {
    const folder = await int8Folder(name);
    const session = await load(folder, 'packed-when-idle');
    const packedAtStart = await load(folder, 'packed');
    const mapped = await captionOf(session);
    await session.pack();
    const packed = await captionOf(session);
    expectSame(packed, mapped);
    expect(await captionOf(packedAtStart)).toEqual(packed);
    await session.pack();
    expect(await captionOf(session)).toEqual(packed);
    await session.release();
    await packedAtStart.release();
  });

  test('in float32 has the same tokens, and the same numbers to rounding', async () => {
    const session = await load(checkpointFolder(name), 'mapped');
    const mapped = await captionOf(session);
    await session.pack();
    expectSame(await captionOf(session), mapped);
    await session.release();
  });
});

test('narrow-vision as int8, whose other matrices are float32, has the same numbers bit for bit', async () => {
  const session = await load(await int8Folder('narrow-vision'), 'mapped');
  const mapped = await captionOf(session);
  await session.pack();
  expect(await captionOf(session)).toEqual(mapped);
  await session.release();
});

test('the session with packed weights takes the place of the mapped one, which is released', async () => {
  const creating = vi.spyOn(InferenceSession, 'create');
  onTestFinished(() => creating.mockRestore());
  const session = await load(checkpointFolder('narrow-vision'), 'mapped');
  await session.pack();
  const options = creating.mock.calls.map((call) => call.at(-1)).slice(-2);
  expect(options).toMatchObject(['1', '0'].map((prepacking) => extraOptions(prepacking)));
  const [mapped, packed] = creating.mock.settledResults.slice(-2).map(({ value }) => value as InferenceSession);
  if (mapped === undefined || packed === undefined) throw new Error('Expected two sessions, got fewer.');
  const running = vi.spyOn(packed, 'run');
  await captionOf(session);
  expect(running).toHaveBeenCalledOnce();
  await expect(mapped.release()).rejects.toThrow();
  await session.release();
});

test.each(clipCheckpointNames)('%s packs the sessions of images, texts and ranking', async (name) => {
  const session = await load(await int8Folder(name), 'mapped');
  const { images } = greyBatch();
  const batch = { images, texts: [{ inputIds: [1, 2, 3], endPosition: 2 }], itemsPerRun: 1 };
  const { embeds } = await session.runs.clip(batch);
  await session.pack();
  expectClose((await session.runs.clip(batch)).embeds, embeds, ROUNDING);
  await session.release();
});

describe('the form of weights', () => {
  test.each(['mapped', 'packed', 'packed-when-idle'] as const)('is %s where that is asked for', (choice) => {
    expect(chooseWeightsLayout(choice, true)).toBe(choice);
    expect(chooseWeightsLayout(choice, false)).toBe(choice);
    expect(forOneRequest(choice)).toBe(choice);
  });

  test('of auto: float32 stays mapped, int8 is packed by a worker that is idle, and never for one request', () => {
    expect(chooseWeightsLayout('auto', false)).toBe('mapped');
    expect(chooseWeightsLayout('auto', true)).toBe('packed-when-idle');
    expect(forOneRequest('auto')).toBe('mapped');
  });
});
