import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, test } from 'vitest';
import { checkpointFolder } from '../../../support/goldens.ts';
import { dataUri, send, startServerOfModels } from '../../../support/server.ts';
import { withServer } from '../../../support/with-server.ts';

const server = withServer();

const get = (path: string, headers = {}, url = server.url) => send(url, { path, headers });
const html = { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' };

describe('the description in OpenAPI', () => {
  test('names the paths of every model that is loaded', async () => {
    const several = await startServerOfModels({
      models: [
        { name: 'captions', checkpoint: checkpointFolder('narrow-vision') },
        { name: 'my.clip', checkpoint: checkpointFolder('clip-real-end') },
      ],
    });
    expect(JSON.parse((await get('/openapi.json', {}, several.url)).text).paths).not.toHaveProperty(
      '/v2/models/captions',
    );
    await Promise.all(several.models.map((model) => model.initialize()));
    const { openapi, paths } = JSON.parse((await get('/openapi.json', {}, several.url)).text);
    expect(openapi).toBe('3.1.0');
    for (const name of ['captions', 'my.clip'])
      for (const suffix of ['', '/ready', '/infer', '/generate'])
        expect(paths).toHaveProperty([`/v2/models/${name}${suffix}`]);
    await several.close();
  });

  test('has examples that are answered, and schemas that answers and errors conform to', async () => {
    const { paths, components } = JSON.parse((await get('/openapi.json')).text);
    const ajv = new Ajv2020({ strict: false });
    const { post } = paths['/v2/models/captioning/infer'];
    const request = post.requestBody.content['application/json'].schema;
    const [example] = request.examples;
    expect(ajv.validate(request, example), ajv.errorsText()).toBe(true);
    for (const wrong of [{ datatype: 'FP32' }, { shape: [-1] }, { shape: [0] }, { data: [] }])
      expect(ajv.validate(request, { inputs: [{ ...example.inputs[0], ...wrong }] }), JSON.stringify(wrong)).toBe(
        false,
      );
    example.inputs[0].data = [dataUri('chelsea')];
    const ask = (body: object) =>
      send(server.url, { method: 'POST', path: '/v2/models/captioning/infer', body: JSON.stringify(body) });
    const answer = await ask(example);
    expect(answer.status).toBe(200);
    const scalar = { inputs: [{ ...example.inputs[0], shape: [] }] };
    expect([ajv.validate(request, scalar), (await ask(scalar)).status]).toEqual([true, 200]);
    const response = post.responses['200'].content['application/json'].schema;
    expect(ajv.validate(response, JSON.parse(answer.text)), ajv.errorsText()).toBe(true);
    const refused = await ask({ inputs: [] });
    expect(post.responses).toHaveProperty(String(refused.status));
    expect(ajv.validate(components.schemas.Error, JSON.parse(refused.text)), ajv.errorsText()).toBe(true);
    const generate = paths['/v2/models/captioning/generate'].post.requestBody.content['application/json'].schema;
    for (const max_new_tokens of [3, null])
      expect(ajv.validate(generate, { img_url: 'a.png', max_new_tokens }), ajv.errorsText()).toBe(true);
    expect(ajv.validate(generate, { img_url: 'a.png', max_new_tokens: 0 })).toBe(false);
  });

  test('describes the answer of each GET that it names', async () => {
    const { paths } = JSON.parse((await get('/openapi.json')).text);
    const names = Object.keys(paths).filter((path) => 'get' in paths[path]);
    expect(names.length).toBeGreaterThan(5);
    for (const path of names) {
      const { status } = await get(path);
      expect(Object.keys(paths[path].get.responses), path).toContain(String(status));
    }
  });

  test('is served as docs.json too, as BentoML does', async () => {
    expect((await get('/docs.json')).text).toBe((await get('/openapi.json')).text);
  });
});

describe('pages', () => {
  test.each([
    ['/', 'text/html; charset=utf-8', /<script type="module" src="\/page\/page\.js">/],
    ['/page/page.js', 'text/javascript; charset=utf-8', /findModels/],
    ['/page/page.css', 'text/css; charset=utf-8', /prefers-color-scheme/],
    ['/docs', 'text/html; charset=utf-8', /swagger-ui-bundle\.js/],
    ['/docs/start.js', 'text/javascript; charset=utf-8', /openapi\.json/],
    ['/docs/swagger-ui.css', 'text/css; charset=utf-8', /swagger-ui/],
    ['/docs/swagger-ui-bundle.js', 'text/javascript; charset=utf-8', /SwaggerUIBundle/],
  ])('%s', async (path, contentType, content) => {
    const answer = await get(path, html);
    expect(answer).toMatchObject({ status: 200, headers: { 'content-type': contentType } });
    expect(answer.text).toMatch(content);
  });

  test('load nothing from other hosts', async () => {
    for (const path of ['/', '/docs']) {
      const { headers, text } = await get(path, html);
      expect(headers['content-security-policy']).toMatch(/^default-src 'none'/);
      expect(text).not.toMatch(/(?:src|href)="(?:https?:)?\/\//);
    }
  });

  test('at / depend on the header accept', async () => {
    expect((await get('/', html)).headers['vary']).toBe('accept, accept-encoding');
    expect((await get('/')).headers['vary']).toBe('accept');
  });

  test('at / are not sent to clients that do not accept HTML', async () => {
    expect((await get('/')).text).toBe('Ok');
    expect((await get('/', { accept: '*/*' })).text).toBe('Ok');
    expect((await get('/', { accept: 'application/json' })).text).toBe('{"status":"alive"}');
  });
});
