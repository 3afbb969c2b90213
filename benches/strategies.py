#!/usr/bin/env python3
"""Writes docs/strategies-table.md: what every strategy and every comparison spends, over a grid.

usage: strategies.py LEXPR > docs/strategies-table.md
"""

import json
import subprocess
import sys

LEXPR = sys.argv[1]
# So many runs for so many items that the whole takes about a quarter of an hour.
RUNS = {20: 200, 100: 60, 1000: 3}
FAIL = [0, 1, 5, 10, 20]
CLASH_FLAKE = [(0, 0), (5, 0), (0, 2), (5, 2)]
WORKERS = [2, 8, 32, 64]
SHORT = {
    "batch, spend: time": "batch, time",
    "groups, spend: time": "groups, time",
    "prefix bisection": "prefix",
    "bors, batches of 16": "bors 16",
    "bors, batches of 8": "bors 8",
    "bors, all at once": "bors all",
    "one after another": "serial",
    "train, as Zuul's": "Zuul",
    "as SubmitQueue": "SubmitQueue",
}
GATE_SECONDS = 60


def simulate(items, workers, fail, clash, flake):
    options = {
        "--random": items,
        "--max-workers": workers,
        "--fail": fail,
        "--clash": clash,
        "--flake": flake,
        "--runs": RUNS[items],
        "--gate-seconds": GATE_SECONDS,
        "--format": "json",
    }
    arguments = [str(word) for option in options.items() for word in option]
    done = subprocess.run([LEXPR, "simulate", *arguments], capture_output=True, check=True)
    return json.loads(done.stdout)


def row(cells):
    print("| " + " | ".join(cells) + " |")


grid = {}
for items in RUNS:
    for workers in WORKERS:
        for fail in FAIL:
            for clash, flake in CLASH_FLAKE:
                grid[items, workers, fail, clash, flake] = simulate(items, workers, fail, clash, flake)
                print(items, workers, fail, clash, flake, file=sys.stderr, flush=True)

names = [one["name"] for one in next(iter(grid.values()))["strategies"]]
shown = [SHORT.get(name, name) for name in names]

print("# What every strategy spends")
print()
print("Written by `just strategies-table` from `lexpr simulate`; [strategies.md](strategies.md) says what it means and reads it.")
runs = ", ".join(f"{runs} for {items} items" for items, runs in RUNS.items())
print(f"Means of so many runs from seed 1: {runs}. Items do not depend on each other and share one gate.")
print()
print("*Gate runs* are those for each item that landed, second opinions apart; *time* is until all had landed, in gate runs;")
print("*wrong* are items of a hundred that were in order and did not land, where there were any. *At least* is the entropy of who fails,")
print("where nothing clashes. The least of each row is **bold**.")

MEASURES = [
    ("Gate runs", lambda one: one["gateRunsPerLandedItem"], "{:.2f}"),
    ("Time", lambda one: one["makespanSeconds"] / GATE_SECONDS, "{:.0f}"),
    ("Wrong", lambda one: one["wrongEjectionsPerHundredItems"], "{:.2f}"),
]
for items in RUNS:
    for workers in WORKERS:
        for title, measure, form in MEASURES:
            of_this = {key: value for key, value in grid.items() if key[:2] == (items, workers)}
            values = {key: [measure(one) for one in value["strategies"]] for key, value in of_this.items()}
            if title == "Wrong":
                values = {key: row_of for key, row_of in values.items() if any(row_of)}
            if not values:
                continue
            print(f"\n## {title}: {items} items, {workers} workers\n")
            has_bound = title == "Gate runs"
            row(["fail", "clash", "flake", *(["at least"] if has_bound else []), *shown])
            print("|" + "---|" * (3 + has_bound + len(shown)))
            for (_, _, fail, clash, flake), row_of in values.items():
                texts = [form.format(value) for value in row_of]
                least = form.format(min(row_of))
                if title != "Wrong":
                    texts = [f"**{text}**" if text == least else text for text in texts]
                bound = grid[items, workers, fail, clash, flake]["fewestGateRuns"]
                bounds = ["" if bound is None else f"{bound:.2f}"] if has_bound else []
                row([f"{fail} %", f"{clash} %", f"{flake} %", *bounds, *texts])
