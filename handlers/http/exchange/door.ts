import type { FastifyBaseLogger } from 'fastify';
import type Handler from '../../../app.ts';
import type { Drain } from '../../service/drain.ts';
import type { Metrics } from '../../service/metrics.ts';
import type { ServerSettings } from '../../service/server-settings.ts';
import type { InferenceGuard, TokenGuard } from './route-guards.ts';
import type { RouteTable } from './route-table.ts';

/** The table of routes as a door sees it. */
export type DoorRoutes = Pick<RouteTable, 'add'>;

/** The parts of a server that doors add their routes with. */
export interface DoorContext {
  readonly routes: DoorRoutes;
  readonly models: readonly Handler[];
  readonly settings: ServerSettings;
  /** The guard of routes that ask a model. */
  readonly guard: InferenceGuard;
  /** The guard of routes that need a token and ask no model. */
  readonly tokenGuard: TokenGuard;
  readonly drain: Drain;
  /** `undefined` where the process collects none. */
  readonly metrics: Promise<Metrics> | undefined;
  readonly log: FastifyBaseLogger;
  /** Registers work that is done before the server stops accepting, and before running requests are awaited. */
  readonly onClose: (close: () => Promise<void>) => void;
}

/** Turns a path that a platform chose into a path of its door. Returns `undefined` for any other path. */
export type PathRewriter = (method: string, path: string) => string | undefined;

/** The entrance for the clients of one platform. */
export interface Door {
  readonly name: string;
  /**
   * The routes that belong to this door and to no other: a path as routes spell it; `/path/*` for everything below a
   * path; `METHOD /path` where doors share a path.
   */
  readonly paths: readonly string[];
  /** Adds all its routes, which must be among its paths. */
  readonly add: (context: DoorContext) => void;
  /** The rewriter of paths that the settings ask for; `undefined` where they ask for none. */
  readonly pathRewriter?: (settings: ServerSettings) => PathRewriter | undefined;
}

/** Whether a route belongs to a door. */
export function ownsRoute({ paths }: Pick<Door, 'paths'>, method: string, url: string): boolean {
  return paths.some((owned) =>
    owned.endsWith('/*') ? url.startsWith(owned.slice(0, -1)) : owned === url || owned === `${method} ${url}`,
  );
}

/**
 * A server's table of routes for one door.
 * Its `add` throws a RangeError for a route that is not among the door's paths, so that a server with one never starts.
 */
export function routesOfDoor(door: Pick<Door, 'name' | 'paths'>, routes: DoorRoutes): DoorRoutes {
  return {
    add(path, method, answer) {
      if (!ownsRoute(door, method, path))
        throw new RangeError(`Expected the routes of ${door.name} to be among its paths, got ${method} ${path}.`);
      routes.add(path, method, answer);
    },
  };
}
