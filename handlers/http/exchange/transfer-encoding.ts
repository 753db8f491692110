/**
 * The Content-Transfer-Encoding of a part of a form, which old clients and those made of mail libraries still write.
 * Source: RFC 2045, section 6. RFC 7578 does not want it any more.
 */

/** The bytes of a part; `undefined` for an encoding that is not known. */
export function decodeTransfer(bytes: Uint8Array, encoding: string): Uint8Array | undefined {
  switch (encoding.trim().toLowerCase()) {
    case '7bit':
    case '8bit':
    case 'binary':
    case '':
      return bytes;
    case 'base64':
      return Buffer.from(Buffer.from(bytes).toString('latin1'), 'base64');
    case 'quoted-printable':
      return decodeQuotedPrintable(bytes);
    default:
      return undefined;
  }
}

const EQUALS_SIGN = 0x3d;
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/** `=E9` is a byte, and `=` before a line end is nothing. All other bytes are themselves. */
function decodeQuotedPrintable(bytes: Uint8Array): Uint8Array {
  const decoded = new Uint8Array(bytes.length);
  let end = 0;
  for (let index = 0; index < bytes.length; index += 1) {
    const byte = bytes[index] ?? 0;
    const digits = byte === EQUALS_SIGN ? String.fromCharCode(bytes[index + 1] ?? 0, bytes[index + 2] ?? 0) : '';
    if (/^[0-9a-f]{2}$/i.test(digits)) {
      decoded[end] = Number.parseInt(digits, 16);
      end += 1;
      index += 2;
    } else if (byte === EQUALS_SIGN && bytes[index + 1] === CARRIAGE_RETURN && bytes[index + 2] === LINE_FEED) {
      index += 2;
    } else if (byte === EQUALS_SIGN && bytes[index + 1] === LINE_FEED) {
      index += 1;
    } else {
      decoded[end] = byte;
      end += 1;
    }
  }
  return decoded.subarray(0, end);
}
