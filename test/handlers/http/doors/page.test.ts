import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkpointFolder } from '../../../support/goldens.ts';
import { type RunningServer, startServer, startServerOfModels } from '../../../support/server.ts';

/**
 * The page in a real browser. CHROMIUM names its program; by default it is where Debian puts it. Without one the tests are
 * skipped, but under CI=true they fail. PAGE_SCREENSHOT names a file that gets a picture of the page, as docs/ has it.
 */

const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
const root = fileURLToPath(new URL('../../../../', import.meta.url));
const example = (name: string) => `${root}examples/${name}.png`;

/** A script for the page, as text: what a person does who pastes a file, or drops one. */
function handOver(kind: string, base64: string): string {
  const event =
    kind === 'paste'
      ? `new ClipboardEvent('paste', { clipboardData: data, bubbles: true })`
      : `new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true })`;
  return `{
    const bytes = Uint8Array.from(atob('${base64}'), (character) => character.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], 'drawing.png', { type: 'image/png' }));
    document.getElementById('drop').dispatchEvent(${event});
  }`;
}

const isWanted = existsSync(executablePath) || process.env['CI'] === 'true';

describe.skipIf(!isWanted)('the page', () => {
  let browser: Browser;
  let server: RunningServer;
  beforeAll(async () => {
    server = await startServer({ checkpoint: `${root}checkpoints/scenes-captioning`, apiTokens: ['secret'] });
    browser = await chromium.launch({
      executablePath,
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    });
  });
  afterAll(async () => {
    await browser?.close();
    await server?.close();
  });

  /** A page whose requests may go to this server only, and what went wrong in it. */
  async function open(
    viewport = { width: 1100, height: 900 },
    url = server.url,
    status = '1 model ready',
  ): Promise<{ page: Page; problems: string[] }> {
    const context = await browser.newContext({ viewport });
    const page = await context.newPage();
    const problems: string[] = [];
    page.on('pageerror', (error) => problems.push(error.message));
    page.on('console', (message) => {
      if (message.type() === 'error' && !/ (401|503) /.test(message.text())) problems.push(message.text());
    });
    page.on('request', (request) => {
      if (!/^(data|blob):/.test(request.url()) && !request.url().startsWith(url)) problems.push(request.url());
    });
    await page.goto(url);
    await page.getByText(status).waitFor();
    return { page, problems };
  }

  async function giveToken(page: Page): Promise<void> {
    await page.getByText('Token', { exact: true }).click();
    await page.getByLabel('Bearer token').fill('secret');
  }

  /** The output of the command that the page shows, run by a shell. */
  async function captionsOfCurl(page: Page): Promise<unknown> {
    const command = (await page.locator('#curl').textContent()) ?? '';
    const options = { cwd: `${root}examples`, env: { ...process.env, TOKEN: 'secret' } };
    const { stdout } = await promisify(execFile)('bash', ['-c', command], options);
    return JSON.parse(stdout).outputs[0].data;
  }

  const caption = 'a picture of two cats on a yellow background';

  test('captions a picture that was chosen, with confidence, time and the curl for it', async () => {
    const { page, problems } = await open();
    await giveToken(page);
    await page.getByLabel('choose a file').setInputFiles(example('two-cats'));
    await page.getByLabel('Prompt').fill('a picture of');
    await page.getByRole('button', { name: 'Ask' }).click();
    await page.getByText(caption).waitFor();
    expect(await page.locator('#result .hint').textContent()).toMatch(/^confidence \d+\.\d % · \d+ ms$/);
    const command = await page.locator('#curl').textContent();
    expect(command).toContain('$(base64 < ');
    expect(command).toContain('-H "Authorization: Bearer $TOKEN"');
    expect(command).not.toContain('secret');
    expect(await captionsOfCurl(page)).toEqual([caption]);
    await page.getByLabel('Prompt').fill("PICTURE: it's a PICTURE");
    expect(await captionsOfCurl(page)).toEqual([expect.any(String)]);
    const screenshot = process.env['PAGE_SCREENSHOT'];
    if (screenshot !== undefined) await page.screenshot({ path: screenshot });
    expect(problems).toEqual([]);
    await page.context().close();
  });

  test('takes a picture that is pasted, and one that is dropped', async () => {
    const { page, problems } = await open();
    await giveToken(page);
    for (const kind of ['paste', 'drop']) {
      const picture = readFileSync(example(kind === 'paste' ? 'two-cats' : 'rocket-and-star')).toString('base64');
      await page.evaluate(handOver(kind, picture));
      await page.getByRole('button', { name: 'Ask' }).click();
      await page
        .getByText(kind === 'paste' ? 'two cats on' : 'rocket')
        .first()
        .waitFor();
    }
    expect(problems).toEqual([]);
    await page.context().close();
  });

  test('can be used with the keyboard alone, and says what is missing', async () => {
    const { page, problems } = await open();
    const focused = () => page.evaluate<string>("document.activeElement?.id ?? ''");
    const order: string[] = [];
    for (let count = 0; count < 8; count += 1) {
      await page.keyboard.press('Tab');
      order.push(await focused());
    }
    expect(order.filter((id) => id !== '')).toEqual(['file', 'url', 'model', 'text', 'ask', 'copy']);
    await page.getByLabel('Prompt').focus();
    await page.keyboard.press('Enter');
    await page.getByText('Choose a picture first.').waitFor();
    await page.getByLabel('choose a file').setInputFiles(example('two-cats'));
    await page.getByLabel('Prompt').focus();
    await page.keyboard.press('Enter');
    await page.getByText('Expected a bearer token').waitFor();
    expect(await page.getByLabel('Bearer token').isVisible()).toBe(true);
    expect(problems).toEqual([]);
    await page.context().close();
  });

  test('finds models that load later, and shows an answer with what was asked', async () => {
    const models = [
      { name: 'captions', checkpoint: `${root}checkpoints/scenes-captioning` },
      { name: 'clip', checkpoint: checkpointFolder('clip-real-end') },
    ];
    const several = await startServerOfModels({ models });
    await several.models[1]?.initialize();
    const { page, problems } = await open(undefined, several.url, '1 model ready, others are loading');
    await several.models[0]?.initialize();
    await page.getByText('2 models ready').waitFor();
    expect(await page.locator('#model option').allTextContents()).toEqual(['clip', 'captions']);
    await page.getByLabel('choose a file').setInputFiles(example('two-cats'));
    await page.getByLabel('Texts').fill('a cat\na rocket');
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    await page.route('**/infer', async (route) => {
      await held;
      await route.continue();
    });
    await page.getByRole('button', { name: 'Ask' }).click();
    await page.getByLabel('Model').selectOption('captions');
    await page.getByLabel('Prompt').fill('a picture of');
    release();
    await page.locator('#result td', { hasText: 'a rocket' }).waitFor();
    expect(await page.locator('#result tbody tr').count()).toBe(2);
    expect(problems).toEqual([]);
    await page.context().close();
    await several.close();
  });

  test('asks BLIP-2 for an answer, or for a caption where there is no question', async () => {
    const blip2 = await startServer({ checkpoint: checkpointFolder('blip2-opt') });
    const { page, problems } = await open(undefined, blip2.url);
    const requested: unknown[] = [];
    page.on('request', (request) => {
      if (!request.url().endsWith('/infer')) return;
      const body: Record<'inputs' | 'outputs', { readonly name: string }[]> = JSON.parse(request.postData() ?? '');
      const [inputs, outputs] = [body.inputs, body.outputs].map((tensors) => tensors.map(({ name }) => name));
      requested.push([inputs?.at(-1), outputs?.[0]]);
    });
    await page.getByLabel('choose a file').setInputFiles(example('two-cats'));
    for (const question of ['how many cats are there?', '']) {
      await page.getByLabel('Question').last().fill(question);
      const answered = page.waitForResponse('**/infer');
      await page.getByRole('button', { name: 'Ask' }).click();
      expect((await answered).status()).toBe(200);
      await page.locator('#result .hint', { hasText: 'confidence' }).waitFor();
    }
    expect(requested).toEqual([
      ['question', 'answer'],
      ['img_url', 'generated_output'],
    ]);
    expect(problems).toEqual([]);
    await page.context().close();
    await blip2.close();
  });

  test('says so where there is no clipboard: over plain http from elsewhere', async () => {
    const { page, problems } = await open();
    await page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })");
    await page.getByRole('button', { name: 'Copy' }).click();
    await page.getByRole('button', { name: 'Select it by hand' }).waitFor();
    expect(problems).toEqual([]);
    await page.context().close();
  });

  test('fits a phone', async () => {
    const { page } = await open({ width: 360, height: 640 });
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(360);
    await page.context().close();
  });

  test('Swagger UI shows the API', async () => {
    const page = await browser.newPage();
    await page.goto(`${server.url}/docs`);
    await page.getByText('/v2/models/captioning/infer').first().waitFor();
    await page.close();
  });
});
