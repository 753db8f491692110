import net, { type AddressInfo, type Server, type Socket } from 'node:net';
import type { ConnectionInjector } from '@grpc/grpc-js';
import { addressesOf } from '../service/addresses.ts';
import type { ConnectionTable } from '../service/connection-table.ts';
import { listenFailure } from '../service/listen-failure.ts';

/** Time for a client to send the beginning of HTTP/2 or TLS. */
const PREFACE_TIMEOUT_MS = 15_000;
/** Every client sends more at once: HTTP/2's preface and its settings have 33 bytes. */
const MIN_PREFACE_BYTES = 24;

/** Accepts connections for a server of grpc-js, which neither counts them nor ends silent ones soon. */
export class Acceptor {
  readonly #injector: Pick<ConnectionInjector, 'injectConnection'>;
  readonly #connections: Pick<ConnectionTable, 'add'>;
  readonly #servers: Server[] = [];

  constructor(injector: Pick<ConnectionInjector, 'injectConnection'>, connections: Pick<ConnectionTable, 'add'>) {
    this.#injector = injector;
    this.#connections = connections;
  }

  /**
   * Listens on every address of a host.
   * @returns the port, which is another one where `port` is 0.
   * @throws HandlerError `SETTINGS_INVALID` when the first address is not free.
   */
  async listen(host: string, port: number): Promise<number> {
    const [first = host, ...others] = await addressesOf(host);
    try {
      const boundPort = await this.#listenOn(first, port);
      for (const address of others) await this.#listenOn(address, boundPort).catch(() => undefined);
      return boundPort;
    } catch (cause) {
      throw listenFailure(host, port, 'BLIP_GRPC_PORT', cause);
    }
  }

  /** Accepts no more. Connections that are open stay so. */
  close(): void {
    for (const server of this.#servers) server.close();
  }

  async #listenOn(address: string, port: number): Promise<number> {
    const server = net.createServer((socket) => this.#accept(socket));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: address, port }, resolve);
    });
    this.#servers.push(server);
    return (server.address() as AddressInfo).port; // It listens on a port.
  }

  #accept(socket: Socket): void {
    socket.setNoDelay();
    this.#connections.add(socket);
    if (socket.destroyed) return;
    const timer = setTimeout(() => {
      if (socket.bytesRead < MIN_PREFACE_BYTES) socket.destroy();
    }, PREFACE_TIMEOUT_MS).unref();
    socket.once('close', () => clearTimeout(timer));
    this.#injector.injectConnection(socket);
  }
}
