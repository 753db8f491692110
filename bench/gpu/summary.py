"""Prints the numbers of measure.sh for people.

    python3 summary.py RESULTS_JSONL
"""

import json
import sys

MACHINE = ("copy", "matrix product", "launch", "load", "placement", "profile")
TOLERANCE = 1e-3  # Products in another order differ by less, and a wrong kernel by far more.


def without(row, *keys):
    return {key: value for key, value in row.items() if key not in keys}


def differs(row):
    return row.get("error") or row.get("tokensDiffer") or row.get("notComparable") or row.get("largest", 0) > TOLERANCE


def speed_cells(row):
    side = f"{row['side']} {row.get('provider', '')}".strip()
    checkpoint = row["checkpoint"].rsplit("/", 1)[-1]
    tf32 = row.get("tf32") and row.get("provider") == "cuda"
    dtype = row.get("dtype") or ("tf32" if tf32 else "float32")
    if row.get("error"):
        return [side, checkpoint, dtype, row["batch"], row["error"][:200], "", "", "", ""]
    numbers = [f"{row[key]:.1f}" for key in ("computeMs", "fastestMs", "captionsPerSecond")]
    return [side, checkpoint, dtype, row["batch"], *numbers, f"{row['firstMs']:.0f}", row["memoryMiB"] or ""]


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
    print("| side | checkpoint | dtype | batch | ms | fastest | captions/s | first ms | MiB |\n|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        if row["what"] == "speed":
            print("|", " | ".join(map(str, speed_cells(row))), "|")
    for row in rows:
        if row["what"] == "start":
            print({key: round(value) if isinstance(value, float) else value for key, value in without(row, "card", "what").items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
