/**
 * Runs dist/serve.js for as long as app.py holds the other end of stdin. The server drains when app.py closes it, and when
 * the process of app.py ends, however it ends.
 */

process.stdin
  .once('end', () => process.kill(process.pid, 'SIGTERM'))
  .resume()
  .unref();

await import('../../dist/serve.js');
