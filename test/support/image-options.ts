import type { ImageOptions } from '../../pipeline/images/image-source.ts';

/** For small images, with time for a machine that is busy; no host may have a private address, and no refusal waits. */
export const imageOptions: ImageOptions = {
  timeoutMs: 30_000,
  maxBytes: 1_000_000,
  maxRedirects: 3,
  maxPixels: 1_000_000,
  maxSide: 10_000,
  applyExif: true,
  httpsOnly: false,
  allowedHosts: [],
  privateHosts: [],
  silenceMs: 0,
};
