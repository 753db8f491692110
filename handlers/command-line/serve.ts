#!/usr/bin/env node
import { isHelpAsked } from './help-asked.ts';
import { startEarly } from './start-early.ts';

/** `npm start`: the entry of service.ts. */

await startEarly(() => (isHelpAsked() ? import('./serve-help.ts') : import('./service.ts')));
