import type { ServerSettings } from '../../../service/server-settings.ts';
import type { Door, PathRewriter } from '../../exchange/door.ts';
import { predictInstances } from '../../exchange/instances.ts';
import { firstModel } from '../../exchange/requested-model.ts';

const PREDICT_PATH = '/vertex/predict';

/** The readiness of BentoML's door, which answers as Vertex AI expects. */
const READINESS_PATH = '/readyz';

/**
 * Vertex AI's custom containers: the first model answers predictions. The platform chooses paths of its own for them and
 * for readiness.
 * Source: cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements.
 */
export const vertex: Door = {
  name: 'Vertex AI',
  paths: [PREDICT_PATH],
  add: ({ routes, guard, models }) =>
    routes.add(
      PREDICT_PATH,
      'POST',
      guard(() => firstModel(models), predictInstances),
    ),
  pathRewriter,
};

/**
 * The platform's paths, where the settings name any. They win over every other meaning of a path, because the platform's
 * predict route is often `/predict`, which is Hugging Face's, or has a colon.
 */
function pathRewriter({ vertexHealthRoute, vertexPredictRoute }: ServerSettings): PathRewriter | undefined {
  if (vertexHealthRoute === undefined && vertexPredictRoute === undefined) return undefined;
  return (method, path) => {
    if (method === 'GET' && path === vertexHealthRoute) return READINESS_PATH;
    return method === 'POST' && path === vertexPredictRoute ? PREDICT_PATH : undefined;
  };
}
