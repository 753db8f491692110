import { installFailure } from './install-failure.ts';
import type { PackageConnection, PackageFile } from './package-connection.ts';

/** Microsoft.ML.OnnxRuntime.Gpu.Linux on NuGet, which is built for CUDA 12. onnxruntime-node's installer takes it too. */

const PACKAGE = 'microsoft.ml.onnxruntime.gpu.linux';
export const defaultNugetFeed = 'https://api.nuget.org/v3/index.json';

/** Members of any object that JSON may be. */
type Members = Readonly<Record<string, unknown>>;

/**
 * Finds the package of a version.
 * Source: Microsoft's documentation of the NuGet server API, "Package content" and "Package metadata".
 * @throws HandlerError `PROVIDER_INSTALL_FAILED` when the feed does not have it.
 */
export async function findNugetPackage(
  connection: PackageConnection,
  feed: URL,
  version: string,
): Promise<PackageFile> {
  const resources = resourcesOf(await connection.json(feed));
  const content = resourceOfType(resources, 'PackageBaseAddress/3.0.0');
  if (content === undefined)
    throw installFailure(`${feed.host}: expected the index of a NuGet feed, got something else.`);
  const name = `${PACKAGE}.${version}.nupkg`;
  const url = new URL(`${PACKAGE}/${version}/${name}`, withSlash(content, feed));
  return { name, url, checksum: await findChecksum(connection, feed, resources, version) };
}

/** The checksum stands in the catalog, which mirrors may lack. */
async function findChecksum(
  connection: PackageConnection,
  feed: URL,
  resources: readonly Members[],
  version: string,
): Promise<PackageFile['checksum']> {
  const registrations = resourceOfType(resources, 'RegistrationsBaseUrl');
  if (registrations === undefined) return undefined;
  const leaf = new URL(`${PACKAGE}/${version}.json`, withSlash(registrations, feed));
  const { catalogEntry } = membersOf(await connection.json(leaf));
  if (typeof catalogEntry !== 'string') return undefined;
  const { packageHash, packageHashAlgorithm } = membersOf(await connection.json(new URL(catalogEntry, leaf)));
  if (typeof packageHash !== 'string' || packageHashAlgorithm !== 'SHA512') return undefined;
  return { algorithm: 'sha512', hex: Buffer.from(packageHash, 'base64').toString('hex') };
}

function membersOf(value: unknown): Members {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}

function resourcesOf(index: unknown): readonly Members[] {
  const { resources } = membersOf(index);
  return Array.isArray(resources) ? resources.map(membersOf) : [];
}

function resourceOfType(resources: readonly Members[], type: string): string | undefined {
  const resource = resources.find((each) => String(each['@type']).startsWith(type));
  return typeof resource?.['@id'] === 'string' ? resource['@id'] : undefined;
}

function withSlash(url: string, base: URL): URL {
  return new URL(url.endsWith('/') ? url : `${url}/`, base);
}
