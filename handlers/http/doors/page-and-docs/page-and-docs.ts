import type { Door } from '../../exchange/door.ts';
import { addDocsRoutes } from './docs.ts';
import { addPageRoutes } from './page.ts';

/** The entrance for people: a page that asks the models about a picture, and the description of the API. */
export const pageAndDocs: Door = {
  name: 'page and docs',
  paths: ['GET /', '/page/*', '/docs', '/docs/*', '/docs.json', '/openapi.json'],
  add(context) {
    addPageRoutes(context);
    addDocsRoutes(context);
  },
};
