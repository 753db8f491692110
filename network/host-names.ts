/** In lower case, without the brackets of IPv6 and the dot at the end. */
export function plainHost(host: string): string {
  return host
    .toLowerCase()
    .replace(/^\[|\]$/g, '')
    .replace(/\.$/, '');
}

/** Whether a name is this machine by rule: RFC 6761, 6.3. */
export function isLocalhost(host: string): boolean {
  return /(?:^|\.)localhost$/.test(plainHost(host));
}
