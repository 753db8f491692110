"""Measures the rates of this machine that bound a caption, with torch on two threads.

    python bench/machine.py
"""

import time

import torch

THREADS = 2
SECONDS = 2.0


def best_rate(work, amount):
    """The best rate of many runs, because other work on the machine can only slow one down."""
    best, end = 0.0, time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        work()
        best = max(best, amount / (time.perf_counter() - start))
    return best / 1e9


torch.set_num_threads(THREADS)
size = 2048
a, b = torch.randn(size, size), torch.randn(size, size)
print(f"matrix products: {best_rate(lambda: a @ b, 2 * size**3):.0f} GFLOP/s")
numbers = torch.randn(128_000_000)
print(f"reading memory: {best_rate(numbers.sum, numbers.numel() * 4):.0f} GB/s")
