"""Prints the numbers of measure.sh for people, and the tables for README.md and docs/explanation/speed.md.

    python3 summary.py RESULTS_JSONL
"""

import json
import sys

MACHINE = ("copy", "matrix product", "launch", "load", "placement", "profile")
TOLERANCE = 1e-3  # Products in another order differ by less, and a wrong kernel by far more.
TOKENS = 20  # Of a measured caption.


def without(row, *keys):
    return {key: value for key, value in row.items() if key not in keys}


def differs(row):
    return row.get("error") or row.get("tokensDiffer") or row.get("notComparable") or row.get("largest", 0) > TOLERANCE


def dtype_of(row):
    """float32 runs with TF32 unless that is off: products are then tf32's."""
    is_tf32 = row.get("tf32") and row.get("provider") == "cuda" and row.get("dtype") == "float32"
    return "tf32" if is_tf32 else row.get("dtype") or "float32"


def floor_ms(row, rows):
    """The time below which no kernel can come: products at the card's rate, weights at the rate of its memory."""
    rates = [each["teraflops"] for each in rows if each["what"] == "matrix product" and each["dtype"] == dtype_of(row)]
    copies = [each["terabytesPerSecond"] for each in rows if each["what"] == "copy"]
    if not rates or not copies or "imageTeraflops" not in row or row.get("provider") != "cuda":
        return None
    seconds = row["batch"] * row["imageTeraflops"] / rates[0] + TOKENS * row["tokenMegabytes"] / 1e6 / copies[0]
    return seconds * 1000


def speed_cells(row, rows):
    side = f"{row['side']} {row.get('provider', '')}".strip()
    checkpoint = row["checkpoint"].rsplit("/", 1)[-1]
    if row.get("error"):
        return [side, checkpoint, dtype_of(row), row["batch"], row["error"][:200], "", "", "", "", ""]
    floor = floor_ms(row, rows)
    numbers = [f"{row[key]:.1f}" for key in ("computeMs", "fastestMs", "captionsPerSecond")]
    return [side, checkpoint, dtype_of(row), row["batch"], *numbers, "" if floor is None else f"{floor:.1f}", f"{row['firstMs']:.0f}", row["memoryMiB"] or ""]


def percent(row):
    return f"{row['equalPercent']:.1f}" if "equalPercent" in row else ""


def table(head, lines):
    print("|", " | ".join(head), "|")
    print("|" + "---|" * len(head))
    for line in lines:
        print("|", " | ".join(map(str, line)), "|")


def is_ours(row, dtype):
    return row.get("side") == "blip-handler" and row.get("provider") == "cuda" and dtype_of(row) == dtype


def print_targets(rows):
    """The figures that this package wants to reach, each with what was measured."""
    fp32 = [row for row in rows if row["what"] == "parity" and row["precision"] == "float32" and not row["tf32"]]
    wrong = sum(bool(differs(row)) for row in fp32)
    print(f"parity in float32 without TF32: {len(fp32) - wrong} of {len(fp32)} requests as on the CPU (wanted: all)")
    scenes = {(row["checkpoint"], row.get("provider"), row.get("precision")): row for row in rows if row["what"] == "scenes"}
    for (checkpoint, provider, precision), row in scenes.items():
        if provider != "cuda" or precision == "float32" or row.get("error"):
            continue
        cpu = scenes.get((checkpoint, "cpu", "float32"), {}).get("figures", {})
        # Names in brackets are parts of a figure, of few scenes.
        whole = {name: value for name, value in row["figures"].items() if "(" not in name and None not in (value, cpu.get(name))}
        worst = min((value - cpu[name] for name, value in whole.items()), default=0)
        equal = f"{row['equalPercent']:.1f} % of {row['scenes']} as on the CPU (wanted: 95), " if "equalPercent" in row else ""
        print(f"{checkpoint} in {precision}: {equal}worst figure {worst:+.1f} points (wanted: -0.5)")
    speeds = [row for row in rows if row["what"] == "speed" and not row.get("error")]
    for batch, wanted in ((1, 5), (32, 1.5)):
        ours = [row for row in speeds if is_ours(row, "float16") and row["batch"] == batch]
        torch = [row for row in speeds if row["side"] == "torch" and row["dtype"] == "float16" and row["batch"] == batch and ours and row["checkpoint"] == ours[0]["checkpoint"]]
        if ours and torch:
            print(f"batch {batch} in float16: {torch[0]['computeMs'] / ours[0]['computeMs']:.2f} x torch eager (wanted: {wanted})")
    loads = [row["modelLoadMs"] for row in rows if row["what"] == "start" and is_ours(row, "float16") and "modelLoadMs" in row]
    if loads:
        print(f"load in float16: {sorted(loads)[len(loads) // 2] / 1000:.2f} s (wanted: 3)")


def main(path):
    with open(path) as file:
        rows = [json.loads(line) for line in file if line.startswith("{")]
    for row in rows:
        if row["what"] in MACHINE:
            print(without(row, "card"))
    parity = [row for row in rows if row["what"] == "parity"]
    bad = [row for row in parity if differs(row)]
    print(f"parity: {len(parity)} requests, {len(bad)} that differ")
    for row in bad:
        print("  ", without(row, "card", "what"))
    print("\nDrawn scenes:\n")
    table(
        ["checkpoint", "provider", "precision", "as on the CPU, %", "largest difference", "right, %"],
        [
            [row["checkpoint"], row["provider"], row["precision"], percent(row), f"{row['largest']:.2g}", ", ".join(f"{name} {value:.1f}" for name, value in row["figures"].items() if value is not None)]
            for row in rows
            if row["what"] == "scenes" and not row.get("error")
        ],
    )
    print("\nCaptions of 20 tokens:\n")
    speeds = [speed_cells(row, rows) for row in rows if row["what"] == "speed"]
    table(["side", "checkpoint", "dtype", "batch", "ms", "fastest", "captions/s", "floor, ms", "first, ms", "MiB"], speeds)
    print("\nStarts:\n")
    for row in rows:
        if row["what"] == "start":
            print({key: round(value) if isinstance(value, float) else value for key, value in without(row, "card", "what").items()})
    print("\nTargets:\n")
    print_targets(rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
