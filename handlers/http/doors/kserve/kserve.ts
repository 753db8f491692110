import type { Door } from '../../exchange/door.ts';
import { addHealthRoutes } from './health.ts';
import { addInferenceRoutes } from './inference.ts';
import { addMetadataRoutes } from './metadata.ts';
import { addObservabilityRoutes } from './observability.ts';
import { addVersion1Routes } from './version-1.ts';

/**
 * The Open Inference Protocol (KServe's second protocol) with Triton's extensions, and KServe's first protocol.
 * Source: kserve/open-inference-protocol, specification/protocol/inference_rest.md.
 */
export const kserve: Door = {
  name: 'KServe',
  paths: [
    '/v2',
    '/v2/health/*',
    '/v2/models',
    '/v2/models/*',
    '/v2/repository/*',
    '/v1/models',
    '/v1/models/*',
    '/metrics',
  ],
  add(context) {
    addHealthRoutes(context);
    addMetadataRoutes(context);
    addObservabilityRoutes(context);
    addInferenceRoutes(context);
    addVersion1Routes(context);
  },
};
