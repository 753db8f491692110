#!/usr/bin/env node
import { startEarly } from './start-early.ts';

/** `npm start`: the entry of service.ts. */

await startEarly(() => import('./service.ts'));
