import type { IncomingMessage } from 'node:http';
import type { Settings } from '../../../../pipeline/settings.ts';

/** Where predictions for Vertex AI are served, and readiness; the platform names paths of its own for both. */
export const VERTEX_PREDICT_PATH = '/vertex/predict';
const READINESS_PATH = '/readyz';

/**
 * A function that turns the paths which Vertex AI chose into ours. They hold before any other meaning a path has here:
 * its predict route is often `/predict` or has a colon.
 */
export function vertexRewrite({
  vertexHealthRoute,
  vertexPredictRoute,
}: Pick<Settings, 'vertexHealthRoute' | 'vertexPredictRoute'>): (request: IncomingMessage) => string {
  return ({ method, url = '/' }) => {
    const [path] = url.split('?', 1);
    if (method === 'GET' && path === vertexHealthRoute) return READINESS_PATH;
    return method === 'POST' && path === vertexPredictRoute ? VERTEX_PREDICT_PATH : url;
  };
}
