import { startEarly } from './start-early.ts';

/** `npm run invoke`: the entry of one-request.ts. */

await startEarly(() => import('./one-request.ts'));
