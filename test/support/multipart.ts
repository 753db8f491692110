/** A part of a form: a file where it has a file name. */
export interface FormPart {
  readonly name: string;
  readonly value: string | Uint8Array;
  readonly filename?: string;
  readonly 'content-type'?: string;
}

const boundary = '------------------------d74496d66958873e';

/** A form as curl and browsers send it. */
export function multipart(parts: readonly FormPart[]): {
  readonly body: Buffer;
  readonly contentType: string;
  readonly boundary: string;
} {
  const chunks = parts.flatMap(({ name, value, filename, 'content-type': type }) => {
    const disposition = `form-data; name="${name}"${filename === undefined ? '' : `; filename="${filename}"`}`;
    const lines = [`--${boundary}`, `Content-Disposition: ${disposition}`, ...(type ? [`Content-Type: ${type}`] : [])];
    return [Buffer.from(`${lines.join('\r\n')}\r\n\r\n`), Buffer.from(value), Buffer.from('\r\n')];
  });
  const body = Buffer.concat([...chunks, Buffer.from(`--${boundary}--\r\n`)]);
  return { body, contentType: `multipart/form-data; boundary=${boundary}`, boundary };
}
