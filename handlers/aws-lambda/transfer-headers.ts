/** Headers of one transfer: they describe a connection, or a body on its way, and every sender writes its own. */
const transferHeaders = ['connection', 'keep-alive', 'transfer-encoding', 'content-length'];

/** Whether a header holds for one transfer only, and not for the request or answer itself. */
export function isTransferHeader(name: string): boolean {
  return transferHeaders.includes(name.toLowerCase());
}
