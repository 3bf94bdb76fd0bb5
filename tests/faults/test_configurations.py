"""A thousand broken configurations: each is a plan, or one line that says what is wrong."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.faults.counts import tries
from tests.faults.mutations import COMMANDS, FILES, mutated_file, mutated_words
from tuner.config.schema import KEYS, ConfigError
from tuner.run import main, make_request, read_command

SEED = 12
MAX_CHARACTERS = 2000  # of a refusal; some list every known name
MAX_SECONDS = 1.5  # of CPU, for one configuration
GROUPS, EACH = 5, 100  # x 2 kinds = 1,000


def outcome(words: Sequence[str]) -> str:
    """ "plan", or the refusal's sentence."""
    try:
        command = read_command(list(words))
        make_request(command.given, command.config_dir).make_plan()
    except ConfigError as error:
        return str(error)
    return "plan"


def check(words: Sequence[str], what: object) -> str:
    """The outcome, which is a plan or one line that is not endless, in time."""
    started = time.process_time()
    said = outcome(words)
    assert time.process_time() - started < MAX_SECONDS, what
    assert said.isprintable(), what
    assert 0 < len(said) < MAX_CHARACTERS, what
    return "plan" if said == "plan" else "refused"


def words_of(rng: random.Random, folder: Path) -> tuple[list[str], object]:
    words = mutated_words(rng)
    return words, words


def file_of(rng: random.Random, folder: Path) -> tuple[list[str], object]:
    kind, text = mutated_file(rng)
    path = folder / kind / "mine.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, errors="surrogatepass", newline="")
    return [f"{kind}=mine", "--config-dir", str(folder)], text


@pytest.mark.parametrize("words", COMMANDS)
def test_the_commands_are_plans_before_they_are_broken(words: str) -> None:
    assert outcome(words.split()) == "plan"


@pytest.mark.parametrize("kind", FILES)
def test_the_files_are_plans_before_they_are_broken(kind: str, tmp_path: Path) -> None:
    (tmp_path / kind).mkdir()
    (tmp_path / kind / "mine.yaml").write_text(FILES[kind])
    assert outcome([f"{kind}=mine", "--config-dir", str(tmp_path)]) == "plan"


@pytest.mark.fault("20")
@pytest.mark.slow
@pytest.mark.parametrize("group", range(GROUPS))
@pytest.mark.parametrize("make", [words_of, file_of])
def test_a_broken_configuration_is_a_plan_or_one_line(
    make: Callable[[random.Random, Path], tuple[list[str], object]], group: int, tmp_path: Path
) -> None:
    rng = random.Random(f"{SEED} {make.__name__} {group}")
    ends: Counter[str] = Counter()
    with tries() as once:
        for _ in range(EACH):
            words, what = make(rng, tmp_path)
            with once("20", "mutated configurations: a plan or one line, no traceback"):
                ends[check(words, what)] += 1
    assert ends["plan"] > 0
    assert ends["refused"] > EACH / 3, "most of what is broken is broken"


@pytest.mark.fault("20")
@pytest.mark.slow
@pytest.mark.parametrize("group", range(3))
def test_as_processes_they_end_with_code_2_and_one_line(group: int, tmp_path: Path) -> None:
    rng = random.Random(f"{SEED} processes {group}")
    with tries() as once:
        for number in range(6):
            words = []
            while "\0" in "".join(words) or outcome(words) == "plan":
                words, _ = (words_of, file_of)[number % 2](rng, tmp_path)
            with once("20", "refused ones as processes: exit code 2, one line"):
                done = subprocess.run(
                    [
                        sys.executable,
                        "-m",
                        "tuner.run",
                        *(w.encode(errors="ignore") for w in words),
                    ],
                    cwd=ROOT,
                    capture_output=True,
                    text=True,
                )
                assert done.returncode == 2, done.stderr
                assert done.stdout == ""
                assert done.stderr.startswith("error: ")
                assert done.stderr.count("\n") == 1


FINISHED = ROOT / "tests" / "data" / "runs" / "ordinary"
# Of each kind of mistake one; the sentences are in tests/tuner/config.
MISTAKES = {
    "unknown key": "trails=3",
    "unknown name": "space=poli",
    "no number": "seed=abc",
    "low above high": "spaces.poly.p.low=5",
    "logarithm of 0": "spaces.poly.p.low=0",
    "batch of 0": "batch.initial=0",
    "negative batch": "batch.initial=-8",
    "half a batch": "batch.initial=8.5",
    "no trials": "trials=0",
    "no choice": "spaces.poly.p.choices=[]",
    "no number as a bound": "spaces.poly.p.high=nan",
    "endless bound": "spaces.poly.p.high=inf",
}
BAD_FILES = {
    "key twice": "lr: 1\nlr: 2\n",
    "tag of Python": "lr: !!python/object/apply:os.system [ls]\n",
    "50 MB": "# " + "x" * 50_000_000,
    "bomb of aliases": "a: &a [x]\n"
    + "".join(
        f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n"
        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "500 levels": "[" * 500,
}


def check_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends with code 2 and one line, in time, before Ray is started."""
    started = time.process_time()
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert time.process_time() - started < MAX_SECONDS


@pytest.mark.fault("20")
def test_each_kind_of_mistake_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = f"runs_dir={tmp_path / 'runs'}"
    (tmp_path / "workload").mkdir()
    mine, where = tmp_path / "workload" / "mine.yaml", ["--config-dir", str(tmp_path)]
    with tries() as once:
        for word in MISTAKES.values():
            with once("20", "kinds of mistakes: exit code 2, one line, below 1.5 s"):
                check_refused([word, runs], capsys)
        for text in BAD_FILES.values():
            mine.write_text(text)
            with once("20", "kinds of bad files: exit code 2, one line, below 1.5 s"):
                check_refused(["workload=mine", runs, *where], capsys)
        mine.write_text("lr: 1e-3\n")
        with once("20", "1e-3 in YAML: a number"):
            assert outcome(["workload=mine", *where]).startswith("dataset")
    assert not (tmp_path / "runs").exists()


NAMES = ("../x", "/abs", "..", "a/b", "", "x" * 300, "a\0b", "a\nb", "-a", ".a", "~a", "a\\b")


@pytest.mark.fault("21")
def test_a_run_is_named_only_by_what_is_a_folder_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "deep" / "runs"
    with tries() as once:
        for name in NAMES:
            with once("21", "odd run names: refused in one line, nothing written"):
                check_refused([f"name={name}", f"runs_dir={runs}"], capsys)
                assert list(tmp_path.rglob("*")) == []


CHANGED = ("space=cosine", "objective=val_loss", "seed=7", "model=resnet20", "lr=0.3", "epochs=9")


@pytest.mark.fault("17")
def test_a_run_does_not_become_another_when_it_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = shutil.copytree(FINISHED, tmp_path / "run")
    with tries() as once:
        for word in CHANGED:
            with once(
                "17", "resumed with another space, metric, seed, network, lr, epochs: refused"
            ):
                check_refused([f"resume={run_dir}", word], capsys)


# As Tune's and Optuna's own searches would take them.
POINTS = (
    "points_to_evaluate=[{p:9}]",
    "search.points_to_evaluate=[{q:1}]",
    "spaces.poly.points=[{}]",
)


@pytest.mark.fault("22")
def test_no_key_takes_points_that_could_lie_out_of_range(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A space is ranges or lists of values, whose checks are those of row 20."""
    with tries() as once:
        for word in POINTS:
            with once("22", "impossible: words that give points are unknown keys, exit 2"):
                check_refused([word], capsys)
    assert not [key for key in KEYS if "points" in key]
