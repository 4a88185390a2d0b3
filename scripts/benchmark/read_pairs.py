"""Reading and tokenising many pairs: seconds of the processor and memory, by parts."""

import argparse
import json
import os
import random
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from csv_rows import append_row

from prefrl.runtime.rundir import RunDirectory
from prefrl.text.data.intake import bring_in
from prefrl.text.nets.models import load_model
from prefrl.text.presets import ALIGN_PRESETS
from prefrl.text.start import data_of

WORDS = (
    "the of and to in is you that it he was for on are as with his they be at one have this from or"
    " had by hot word but what some we can out other were all there when up use your how said each"
    " she which do their time if will way about many then them write would like so these her long"
    " make thing see him two has look more day could go come did number sound no most people my"
    " over know water than call first who may down side been now find any new work part take get"
).split()


def text(rng, mean):
    return " ".join(rng.choices(WORDS, k=max(1, round(rng.gauss(mean, mean / 3)))))


def write_pairs(path, n):
    """Transcripts as those of HH-RLHF: some 55 tokens of prompt, 40 of each response."""
    rng = random.Random(0)
    with path.open("w") as file:
        for number in range(n):
            begun = f"\n\nHuman: {text(rng, 20)}?\n\nAssistant: {text(rng, 12)}.\n\nHuman: "
            begun += f"{text(rng, 12)} {number}?\n\nAssistant:"
            sides = {name: f"{begun} {text(rng, 38)}." for name in ("chosen", "rejected")}
            file.write(json.dumps(sides) + "\n")


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def spent():
    """Seconds of the processor, of this process and of those that it has waited for."""
    told = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in told)


def measured(n, model):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.jsonl"
        write_pairs(path, n)
        language = load_model(model)
        language.tokenizer("warm")
        preset = replace(ALIGN_PRESETS["default"], model=model, method="dpo", labels=0)
        config = replace(preset, data=path, run=Path(folder) / "run")
        before, cpu, clock = peak(), spent(), time.perf_counter()
        items, told = data_of(config, language)
        read_cpu, read_clock = spent() - cpu, time.perf_counter() - clock
        bring_in(items, RunDirectory.create(config.run))
        row = {"pairs": n, "model": model, "read_seconds": f"{read_clock:.1f}"}
        row |= {"read_cpu_seconds": f"{read_cpu:.1f}"}
        row |= {"all_seconds": f"{time.perf_counter() - clock:.1f}"}
        row |= {"all_cpu_seconds": f"{spent() - cpu:.1f}", "memory_mib": f"{peak() - before:.0f}"}
        return row | {"load": f"{os.getloadavg()[0]:.2f}", "told": told.splitlines()[0][-60:]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=160_000)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    found = measured(options.pairs, options.model)
    if options.output:
        append_row(options.output, found)
    print(found)
