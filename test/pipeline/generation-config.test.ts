import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { startModel } from '../../pipeline/model.ts';
import { readSettings } from '../../pipeline/settings.ts';
import { checkpointFolder, imagePath } from '../support/goldens.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

/** generation_config.json, from the file to captions and lines of the log. */

const image = `data:;base64,${readFileSync(imagePath('chelsea')).toString('base64')}`;

/** Captions with this generation_config.json, and collects what the log would have. */
async function captionWith(generationConfig: object, parameters: Readonly<Record<string, number>> = {}) {
  const folder = join(temporaryFolder(), 'checkpoint');
  cpSync(checkpointFolder('narrow-vision'), folder, { recursive: true });
  writeFileSync(join(folder, 'generation_config.json'), JSON.stringify(generationConfig));
  const environment = { BLIP_CHECKPOINT: folder, BLIP_EXECUTION_PROVIDER: 'cpu', BLIP_THREADS: '1' };
  const notices: string[] = [];
  const model = await startModel(readSettings({ environment, shippedCheckpoint: '' }), {
    onNotice: (line) => notices.push(line),
  });
  const inputs = { img_url: [image], ...parameters };
  const { outputs } = await model.infer({ inputs, outputs: ['token_ids'] });
  await model.close();
  return { tokenIds: outputs[0]?.data.map(Number), notices, warnings: model.checkpoint.config.warnings, folder };
}

describe('generation_config.json', () => {
  test('changes captions, and one line of the log says how', async () => {
    const plain = await captionWith({});
    expect(plain).toMatchObject({ notices: [], warnings: [] });
    const [, , banned = 0] = plain.tokenIds ?? [];
    const changed = await captionWith({ max_new_tokens: 6, min_new_tokens: 6, suppress_tokens: [banned], max_time: 3 });
    expect(changed.tokenIds?.length).toBe(7);
    expect(plain.tokenIds?.slice(0, 2)).toEqual(changed.tokenIds?.slice(0, 2));
    expect(changed.tokenIds).not.toContain(banned);
    const path = join(changed.folder, 'generation_config.json');
    expect(changed.notices).toEqual([
      `${path} sets max_new_tokens 6, min_new_tokens 6, suppress_tokens. transformers 5 does not read this for BLIP.`,
    ]);
    expect(changed.warnings).toEqual([`${path}: not supported, so without effect: max_time 3.`]);
  });

  test('leaves the parameters of a request before its own', async () => {
    expect((await captionWith({ max_new_tokens: 6 }, { max_new_tokens: 4 })).tokenIds?.length).toBe(5);
  });
});
