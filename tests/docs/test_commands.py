"""Does every command line of the documentation still do something? Each in its smallest form.

Runs are dry (a plan, and one epoch for its clock), on few images; workloads whose data would be
downloaded are only planned; results are read of a small run of tests/data.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from results import __main__ as results_command
from tests.benchmarks.test_scripts import SCRIPTS
from tests.conftest import ROOT
from tests.docs.text import blocks, commands
from tests.fakes.images import encode, random_images, write_parquet
from tests.fakes.logs import drawn, write_events, write_log
from tests.fakes.results import make_recipe, write_run
from tests.fakes.storage.bucket import use_bucket
from tuner import command as gradtune
from tuner import reproduce as reproduce_command
from tuner import run as run_command
from tuner import submit as submit_command
from tuner.config.compose import compose
from tuner.measure import __main__ as measure_command
from tuner.plan.plan import make_plan

OLD_RUN = ROOT / "tests" / "data" / "runs" / "ordinary"
OLD_TRIAL = "e758dda4"  # of a confirm trial there
# What stands for a run of the reader's, and for a workload.
RUN_NAME = re.compile(r"(/shared/|\b)runs/(<id>|NAME|readme|papers/p1_schedules)|\bRUN\b")
HEAD = "http://localhost:8265"  # where nobody listens while a test runs
FEW = "dataset.train_examples=300"
OF_OTHERS = ("cifar", "imagenet")  # their data would be downloaded


def run(words: list[str]) -> None:
    """Plan it, and train one epoch where the data are at hand."""
    assert run_command.main(as_dry_run(words)) == 0


def measure(words: list[str]) -> None:
    """The same through the command that measures; the formulas are told as they are."""
    if words[0] == "theory":
        assert measure_command.main(words) == 0
        return
    assert measure_command.main(as_dry_run(words)) == 0


def as_dry_run(words: list[str]) -> list[str]:
    """Only planned where the data are others'; on few images where no preset says how many."""
    keys = [
        word for word in words if "=" in word and not word.startswith(("resume=", "functions"))
    ]
    config = compose(keys)
    if config.dataset.name.startswith(OF_OTHERS):
        if config.dataset.name != "imagenet":  # a folder of 150 GB
            assert make_plan(config).num_trials > 0
        return [*words, "--cfg"]
    is_plain = config.dataset.name == "digits"
    is_fixed = any(word.startswith(("resume=", "preset=", "functions=")) for word in words)
    return [*words, "dry_run=true", *([FEW] if is_plain and not is_fixed else [])]


def read(words: list[str]) -> None:
    """Of one run, or of two workloads; an export of nothing lists what there is."""
    expected = results_command.BAD_INPUT if words == ["export", "runs/a"] else 0
    assert results_command.main(words) == expected


def train_again(words: list[str]) -> None:
    """On another kind of CPU the last digits may differ."""
    assert reproduce_command.main(words) in (0, 1)


def tell(words: list[str]) -> None:
    """--version, --help."""
    assert gradtune.main(words) == 0


def submit(words: list[str]) -> None:
    """Checked and packed; nothing is sent."""
    assert submit_command.main([*words, "dry_run=true"]) == 0


def ask(words: list[str]) -> None:
    """Of runs here; of a cluster, that is not there, in one line."""
    is_far = any(word.startswith("address=") for word in words[1:])
    assert gradtune.main(words) == (2 if is_far else 0)


def make(words: list[str]) -> None:
    """A target of the Makefile."""
    for target in words:
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)


def is_tested(words: list[str]) -> None:
    """A benchmark, which tests/benchmarks/test_scripts.py runs."""
    assert words[0] in SCRIPTS


def describe_data(words: list[str]) -> None:
    """docs/data.md is compared by tests/trainables/data/encoded/test_zoo.py."""
    assert words == [">", "docs/data.md"]


def describe_keys(words: list[str]) -> None:
    """docs/keys.md is compared by tests/tuner/config."""
    assert words == [">", "docs/keys.md"]


# How a command line begins -> what is done with the words after it; the first that fits counts.
RULES: dict[str, Callable[[list[str]], None]] = {
    "gradtune run ": run,
    "gradtune measure ": measure,
    "gradtune results ": read,
    "gradtune submit ": submit,
    "gradtune status ": lambda words: ask(["status", *words]),
    "gradtune logs ": lambda words: ask(["logs", *words]),
    "gradtune stop ": lambda words: ask(["stop", *words]),
    "gradtune ": tell,
    "python -m tuner.run ": run,
    "tuner.run ": run,
    "python -m tuner.measure ": measure,
    "tuner.measure ": measure,
    "python -m tuner.reproduce ": train_again,
    "python -m results ": read,
    "results ": read,
    "python -m tuner.config.help": describe_keys,
    "python -m tests.data_zoo": describe_data,
    "python -m ": is_tested,
    "make ": make,
}
NO_COMMANDS = re.compile(r"python -m \.\.\.|gradtune \w+")  # only named
# Figures; measurements; longer epochs; a first epoch that imports torch.
SLOW = re.compile(
    r"results|measure|reproduce|preset=[^ ]*_cpu|trainable=|"
    r"space=\[poly,cosine,exp\]' trials=8$"
)


def smallest(command: str) -> str:
    """With the reader's own folders for its placeholders, and without variables before it."""
    line = re.sub(r"^(\w+=\S+ )+", "", command.removesuffix(" ..."))
    line = RUN_NAME.sub("runs/a", line.replace("RUN RUN", "runs/a runs/b"))
    line = line.replace('--reference "poly p=1"', "--reference poly").replace("=NAME", "=digits")
    line = line.replace("functions=all", "functions=ackley,rastrigin")
    line = line.replace(" TRIAL", f" {OLD_TRIAL}").replace(HEAD, "http://127.0.0.1:1")
    return line.replace("python -m results", "results")


LINES = dict.fromkeys(smallest(c) for c in commands() if not NO_COMMANDS.fullmatch(c))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader's folder: runs of two workloads, images of ten classes, the page's `mine.py`."""
    path = tmp_path_factory.mktemp("reader")
    shutil.copytree(OLD_RUN, path / "runs" / "a")
    for name, arms in (("b", ("poly", "cosine")), ("c", ("exp",))):
        write_run(path / "runs" / name, arms=arms, recipe=make_recipe(workload="another"))
    for seed, part in enumerate(("train", "test")):
        encoded = [encode(image) for image in random_images(200, size=32, seed=seed)]
        labels = [number % 10 for number in range(200)]
        write_parquet(path / "DIR" / f"{part}-00000-of-00001.parquet", encoded, labels)
    write_log(path / "logs.csv", drawn(0, {"cosine": 3.27, "wsd": 3.2}, 5, sd=0.01))
    write_log(path / "speedrun_losses.csv", drawn(0, {"cosine": 3.27, "wsd": 3.2}, 5, sd=0.01))
    snippet = next(block.text for block in blocks() if block.kind == "python")
    (path / "mine.py").write_text(snippet)
    return path


def touch(figure: Figure, place: object, **options: object) -> None:
    """An empty picture: what they look like is tested where they are drawn."""
    if not isinstance(place, Path):
        return save(figure, place, **options)
    place.touch()
    return None


save = Figure.savefig


@pytest.mark.parametrize(
    "line",
    [pytest.param(line, marks=pytest.mark.slow if SLOW.search(line) else ()) for line in LINES],
)
def test_every_documented_command_works(
    line: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Figure, "savefig", touch)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # examples/ is named from the project's folder
    if "s3://" in line:  # the bucket of docs/storage.md holds the same run
        use_bucket(monkeypatch, folder / "cache").upload(OLD_RUN, "team/runs/a")
    if " tb " in line:
        pytest.importorskip("tensorboard")
        write_events(folder / "tb")
    beginning = next((rule for rule in RULES if line.startswith(rule)), None)
    assert beginning is not None, f"no rule of this test covers `{line}`: add one"
    RULES[beginning](shlex.split(line.removeprefix(beginning)))
