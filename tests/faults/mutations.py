"""Configurations as people and accidents break them: command lines and YAML files, from a seed."""

from __future__ import annotations

import random

from search_spaces import SPACES
from tests.conftest import ROOT
from trainables import DATASETS, MODELS
from tuner.config.presets import PRESETS
from tuner.config.schema import KEYS, RANGE_KEYS, SHORTHANDS
from tuner.config.workloads import WORKLOADS

# What is typed; each is a plan as it stands.
COMMANDS = (
    "space=poly trials=4",
    "space=[poly,cosine,exp] trials=8 confirm.seeds=3 seed=7",
    "workload=cifar10_resnet20 space=wsd epochs=30 search.fidelity=squeezed",
    "spaces.poly.p.low=0.5 spaces.poly.p.high=3 spaces.poly.interval.choices=[1,2,step]",
    "space=exp split=0.5 batch.max=256 lr=0.05 warmup_epochs=1",
    "space=constant baseline=tuned optimizer.weight_decay=1e-4 label_smoothing=0.1",
    "workload=synthetic space=linear epochs=2 reports=3 search.budget=100000",
    "preset=p1_schedules_cpu seed=3",
    "trainable=tests.fakes.losses:fall dataset.train_examples=64 lr=0.1 batch.initial=8 epochs=6",
    "space=cosine recipe.family=poly recipe.p=2 recipe.end=0.1 baseline.name=mine",
    "space=poly noise.law=sgd noise.c2=4 min_effect=0.01 objective=val_loss",
    "space=momentum optimizer=shb optimizer.momentum=0.9 optimizer.nesterov=false",
    f"resume={ROOT}/tests/data/runs/ordinary trials=+3 confirm.seeds=4 code=same",
)
FILES = {
    "workload": """\
dataset: {name: digits, val_fraction: 0.2}
model: {name: resnet8, width: 4}
lr: 1e-2
batch: {initial: 8, max: 64}
epochs: 4
recipe:
  family: wsd
  p: 1
  f: 0.5
""",
    "preset": """\
workload: synthetic
space: [poly, cosine]
spaces: {poly: {p: {high: 2}, interval: {choices: [1, step]}}}
epochs: 3
confirm: {seeds: 3, until: decided}
search: {sampler: random, hours: 0.5}
""",
    "space": """\
family: wsd
p: {low: 0.5, high: 2, log: true}
f: {choices: [0.25, 0.5]}
interval: step
delta0: &d {low: 0.1, high: 10, log: true}
weight_decay: 1e-4
""",
}
# Values that some reader, somewhere, has stumbled over.
VALUES = (
    *("", " ", "null", "None", "~", "true", "yes", "nan", "inf", "-inf", "-0", "0", "1", "-1"),
    *("1e-3", "1e309", "1e-400", "0x10", "0o7", "010", "1_000", "1,5", "1:30", "9" * 5000),
    *("[]", "[[]]", "[,]", "[a", "{a: 1}", "'", '"', "''", "'a", "[1,2,3]", "[nan]", "step"),
    *("${x}", "${oc.env:HOME}", "{{x}}", "%s", "%(x)s", "$(id)", "`id`", "!!python/none", "*a"),
    *("../..", "/", ".", "-", "--", "=", "==", "#", "\\", "a\\", "\t", "a\nb", "\0", "\x1b[31m"),
    *(
        "\ud800",
        "\u202e",
        "\u00e9",
        "\u4e2d\u6587",
        "\U0001f600",
        "\ufeff",
        9_000 * "a",
        500 * "[",
    ),
    *("os:system", "os.path:join", ":", "a:b:c", "nosuch.py:x", "tests.fakes.losses:fall", "?"),
)
NAMES = (*SPACES, *WORKLOADS, *PRESETS, *DATASETS, *MODELS)
PARTS = ("", *"spaces poly p interval low recipe batch . a __class__ 0".split())
MARKS = ":-[]{},#&*!|>'\"%@`?=+~$\\. \n\t\r\0\x7f\x85\u2028\ufeff\ud800"


def mutated_words(rng: random.Random) -> list[str]:
    """A command line with one to four things wrong, or odd, in it."""
    words = rng.choice(COMMANDS).split()
    for _ in range(rng.randint(1, 4)):
        number = rng.randrange(len(words))
        key, _, value = words[number].partition("=")
        change = rng.randrange(9)
        if change == 0:
            words[number] = f"{key}={rng.choice(VALUES)}"
        elif change == 1:
            words[number] = f"{key}={rng.choice(NAMES)}"
        elif change == 2:
            words.append(
                f"{rng.choice((*KEYS, *SHORTHANDS))}={rng.choice((*VALUES, *NAMES, value))}"
            )
        elif change == 3:
            words[number] = f"{_broken(key, rng)}={value}"
        elif change == 4:
            words[number] = f"{key}={_broken(value, rng)}"
        elif change == 5:
            words[number] = _broken(words[number], rng)
        elif change == 6:
            space, attribute = rng.choice(list(SPACES)), rng.choice(list(RANGE_KEYS))
            param = rng.choice(
                ("p", "interval", "delta0", "split", "f", "weight_decay", "momentum")
            )
            words.append(f"spaces.{space}.{param}.{attribute}={rng.choice((*VALUES, '0.5', '2'))}")
        elif change == 7:
            words.append(f"{'.'.join(rng.choices(PARTS, k=rng.randint(1, 5)))}={value}")
        elif len(words) > 1:
            del words[number]
    return words


def mutated_file(rng: random.Random) -> tuple[str, str]:
    """A kind of file (a folder of --config-dir), and a text of this kind with something wrong."""
    kind = rng.choice(list(FILES))
    text = FILES[kind]
    for _ in range(rng.randint(1, 4)):
        lines = text.splitlines()
        number = rng.randrange(len(lines)) if lines else 0
        change = rng.randrange(6)
        if change == 0 and ": " in "".join(lines[number : number + 1]):
            lines[number] = f"{lines[number].split(': ')[0]}: {rng.choice((*VALUES, *NAMES))}"
        elif change == 1:
            lines.insert(number, f"{rng.choice((*KEYS, *PARTS))}: {rng.choice((*VALUES, *NAMES))}")
        elif change == 2 and lines:
            lines.insert(number, rng.choice(lines))
        elif change == 3 and lines:
            lines[number] = " " * rng.randint(0, 5) + lines[number].strip()
        elif change == 4 and lines:
            lines[number] = _broken(lines[number], rng)
        elif lines:
            del lines[number]
        text = "\n".join(lines) + "\n"
    return kind, text


def _broken(text: str, rng: random.Random) -> str:
    """With one character gone, doubled, replaced or put in, or cut, or repeated."""
    place, mark = rng.randint(0, len(text)), rng.choice(MARKS)
    return rng.choice(
        (
            text[:place] + text[place + 1 :],
            text[:place] + text[place : place + 1] * 2 + text[place + 1 :],
            text[:place] + mark + text[place + 1 :],
            text[:place] + mark + text[place:],
            text[:place],
            text * rng.choice((0, 2, 300)),
        )
    )
