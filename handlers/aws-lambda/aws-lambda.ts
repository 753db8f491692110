import { dismissEarlyThread, startThreadEarly } from '../../pipeline/workers/worker-thread.ts';

/**
 * The entry of function.ts: `dist/aws-lambda.handler`, or `.streamHandler` for streamed answers. A worker thread loads the
 * runtime while the function is imported, which takes about as long.
 */

startThreadEarly();

export const { createHandler, handler, streamHandler } = await import('./function.ts').finally(dismissEarlyThread);
