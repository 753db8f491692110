import { installFailure } from './install-failure.ts';
import type { PackageConnection, PackageFile } from './package-connection.ts';

/** onnxruntime-gpu on PyPI, which is built for CUDA 13. */

const PACKAGE = 'onnxruntime-gpu';
export const defaultPythonIndex = 'https://pypi.org/simple';

/** JSON is PEP 691, HTML is PEP 503, which mirrors have. */
const ACCEPT = 'application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1';

/** Wheels whose checksum was seen when their version was chosen, so that an index can be wrong without harm. */
const pinnedWheels: Readonly<Record<string, { readonly name: string; readonly sha256: string }>> = {
  '1.30.0': {
    name: 'onnxruntime_gpu-1.30.0-cp312-cp312-manylinux_2_28_x86_64.whl',
    sha256: '6acc0f4b3d5ac5f2984432faa59dd8fcce6775f8b43a7140afa0f322c7a703b1',
  },
};

/**
 * Finds the wheel of a version for Linux x64. Wheels for each version of Python have the same provider.
 * @throws HandlerError `PROVIDER_INSTALL_FAILED` when the index has none.
 */
export async function findWheel(connection: PackageConnection, index: URL, version: string): Promise<PackageFile> {
  const page = new URL(`${index.href.replace(/\/*$/, '')}/${PACKAGE}/`);
  const { text, contentType } = await connection.page(page, ACCEPT);
  const files = contentType.includes('json') ? filesOfJson(text, page) : filesOfHtml(text, page);
  const pinned = pinnedWheels[version];
  const wheels = files.filter(({ name }) => isWheelOf(name, version)).sort((a, b) => (a.name < b.name ? 1 : -1));
  const wheel = pinned === undefined ? wheels[0] : wheels.find(({ name }) => name === pinned.name);
  if (wheel === undefined)
    throw installFailure(`${page.host}: expected a wheel of ${PACKAGE} ${version} for Linux x64, got none.`);
  return pinned === undefined ? wheel : { ...wheel, checksum: { algorithm: 'sha256', hex: pinned.sha256 } };
}

function isWheelOf(name: string, version: string): boolean {
  return name.startsWith(`onnxruntime_gpu-${version}-`) && /manylinux.*_x86_64\.whl$/.test(name);
}

interface JsonFile {
  readonly filename?: unknown;
  readonly url?: unknown;
  readonly hashes?: { readonly sha256?: unknown };
}

function filesOfJson(text: string, page: URL): readonly PackageFile[] {
  const { files = [] } = JSON.parse(text) as { readonly files?: readonly JsonFile[] }; // Each member is checked below.
  return files.flatMap(({ filename, url, hashes }) =>
    typeof filename === 'string' && typeof url === 'string' ? [fileOf(filename, url, page, hashes?.sha256)] : [],
  );
}

/** Links whose text is the name of a file; a fragment may have its checksum. */
function filesOfHtml(text: string, page: URL): readonly PackageFile[] {
  return [...text.matchAll(/<a\b[^>]*\bhref="([^"]+)"[^>]*>\s*([^<\s]+)\s*<\/a>/gi)].map(([, href = '', name = '']) => {
    const url = href.replaceAll('&amp;', '&');
    return fileOf(name, url, page, /#sha256=([0-9a-f]{64})/i.exec(url)?.[1]);
  });
}

function fileOf(name: string, url: string, page: URL, sha256: unknown): PackageFile {
  const checksum = typeof sha256 === 'string' ? ({ algorithm: 'sha256', hex: sha256 } as const) : undefined;
  return { name, url: new URL(url, page), checksum };
}
