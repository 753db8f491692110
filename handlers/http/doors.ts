import { bentoml } from './doors/bentoml/bentoml.ts';
import { cog } from './doors/cog/cog.ts';
import { huggingFace } from './doors/hugging-face/hugging-face.ts';
import { kserve } from './doors/kserve/kserve.ts';
import { pageAndDocs } from './doors/page-and-docs/page-and-docs.ts';
import { runpod } from './doors/runpod/runpod.ts';
import { vertex } from './doors/vertex/vertex.ts';
import type { Door } from './exchange/door.ts';

/**
 * Every door of the HTTP server. A new one is five edits: its file in a folder of doors/, a line here, its test, its lines
 * in test/handlers/contract/http-doors.ts, and a row of docs/reference/http.md.
 */
export const doors: readonly Door[] = [kserve, bentoml, huggingFace, pageAndDocs, vertex, cog, runpod];
