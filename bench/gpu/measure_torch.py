"""Measures transformers on torch on the same card, eager, with scaled_dot_product_attention where the model has it.

    python3 measure_torch.py ceilings                  the best rates of the card: copies, matrix products, launches
    python3 measure_torch.py speed CHECKPOINT [BATCHES] [SECONDS] [DTYPES]
    python3 measure_torch.py start CHECKPOINT DTYPE    load time and first caption, in this process

Prints one line of JSON for each number.
"""

import json
import os
import statistics
import sys
import time

BEGIN = time.perf_counter()
import torch  # noqa: E402

CARD = torch.cuda.get_device_name() if torch.cuda.is_available() else None
DTYPES = {"float32": torch.float32, "tf32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def report(**values):
    print(json.dumps(dict(card=CARD, **values)), flush=True)


def tf32(on):
    torch.backends.cuda.matmul.allow_tf32 = on
    torch.backends.cudnn.allow_tf32 = on


def milliseconds(work, repeats=20):
    work()
    torch.cuda.synchronize()
    times = []
    for _ in range(repeats):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        work()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def ceilings():
    source = torch.randn(256 << 20, device="cuda")
    target = torch.empty_like(source)
    ms = milliseconds(lambda: target.copy_(source))
    report(what="copy", terabytesPerSecond=2 * source.numel() * 4 / ms / 1e9)
    for name in DTYPES:
        tf32(name == "tf32")
        a, b = (torch.randn(8192, 8192, device="cuda", dtype=DTYPES[name]) for _ in range(2))
        report(what="matrix product", dtype=name, teraflops=2 * 8192**3 / milliseconds(lambda: a @ b, 5) / 1e9)
    small = torch.randn(64, device="cuda")
    count = 2000
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(count):
        small.add_(1.0)
    torch.cuda.synchronize()
    report(what="launch", microseconds=(time.perf_counter() - start) / count * 1e6)


def load(checkpoint, name):
    from transformers import BlipForConditionalGeneration

    tf32(name == "tf32")
    options = dict(dtype=DTYPES[name])
    try:
        model = BlipForConditionalGeneration.from_pretrained(checkpoint, attn_implementation="sdpa", **options)
        attention = "sdpa"
    except (ValueError, ImportError) as error:
        print(f"no sdpa: {error}", file=sys.stderr)
        model = BlipForConditionalGeneration.from_pretrained(checkpoint, **options)
        attention = "default"
    return model.eval().to("cuda"), attention


def caption(model, pixels, name):
    """Goes from pixels in the host's memory to token ids there, as measure.ts does."""
    with torch.no_grad():
        ids = model.generate(pixel_values=pixels.to("cuda", DTYPES[name]), max_new_tokens=20, min_new_tokens=20, do_sample=False, num_beams=1)
    return ids.cpu()


def speed(checkpoint, batches="1,8,32", seconds="5", dtypes="float32,tf32,float16,bfloat16"):
    for name in dtypes.split(","):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        model, attention = load(checkpoint, name)
        report(what="load", side="torch", dtype=name, attention=attention, ms=(time.perf_counter() - start) * 1000)
        for batch in map(int, batches.split(",")):
            pixels = torch.randn(batch, 3, 384, 384)
            first = time.perf_counter()
            caption(model, pixels, name)
            first = (time.perf_counter() - first) * 1000
            caption(model, pixels, name)
            times, end = [], time.perf_counter() + float(seconds)
            while len(times) < 5 or (time.perf_counter() < end and len(times) < 50):
                begin = time.perf_counter()
                caption(model, pixels, name)
                times.append((time.perf_counter() - begin) * 1000)
            ms = statistics.median(times)
            report(what="speed", side="torch", dtype=name, attention=attention, checkpoint=checkpoint, batch=batch, runs=len(times), computeMs=ms,
                   fastestMs=min(times), firstMs=first, captionsPerSecond=1000 * batch / ms, memoryMiB=torch.cuda.max_memory_reserved() >> 20)
        del model


def start(checkpoint, name):
    model, _ = load(checkpoint, name)
    loaded = time.perf_counter()
    caption(model, torch.randn(1, 3, 384, 384), name)
    report(what="start", side="torch", dtype=name, checkpoint=checkpoint, loadMs=(loaded - BEGIN) * 1000, firstCaptionMs=(time.perf_counter() - BEGIN) * 1000)


if __name__ == "__main__":
    dict(ceilings=ceilings, speed=speed, start=start)[sys.argv[1]](*sys.argv[2:])
