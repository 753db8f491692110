/** The lowest finite float32: -(2 - 2^-23) * 2^127. */
export const LOWEST_FLOAT32 = -3.4028234663852886e38;
