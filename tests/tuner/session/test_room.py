"""Where does a run happen, and how much of it at once? Nodes come and go."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.tune.search import Searcher

from search_spaces.trial import TrialConfig
from tests.fakes.results import make_trial
from tuner.config.compose import compose
from tuner.config.schema import Config, ConfigError
from tuner.plan.checks import check_surroundings, check_values, cluster_address
from tuner.plan.plan import make_plan
from tuner.session import cluster, interrupts
from tuner.session.cluster import Room, Slots, lay_out, num_fitting, settle, sharing_note
from tuner.session.searcher import CampaignSearcher
from tuner.session.session import Session

POINT = {"p": 1.0, "interval": 1, "delta0": 0.1, "split": 1.0}


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `ray.nodes()` tells; to be changed by the test."""
    there: list[dict[str, Any]] = []
    monkeypatch.setattr(ray, "nodes", lambda: there)
    return there


def node(cpus: float, gpus: float = 0.0, *, alive: bool = True) -> dict[str, Any]:
    resources = {name: n for name, n in (("CPU", cpus), ("GPU", gpus)) if n}
    return {"Alive": alive, "Resources": resources}


def make_config(*words: str) -> Config:
    return compose(["space=poly", *words])


@pytest.mark.parametrize(
    ("variable", "words", "address"),
    [
        (None, [], None),
        ("", [], None),
        ("local", [], None),
        ("10.0.0.7:6379", [], "10.0.0.7:6379"),  # as Ray sets it for a job
        ("auto", [], "auto"),
        ("10.0.0.7:6379", ["cluster.address=10.0.0.8:6379"], "10.0.0.8:6379"),
        ("http://10.0.0.7:8265", [], None),  # a dashboard's, for `gradtune submit`
    ],
)
def test_a_job_uses_the_cluster_it_runs_on(
    variable: str | None,
    words: list[str],
    address: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if variable is not None:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    assert cluster_address(make_config(*words)) == address


def test_an_address_of_the_environment_is_named_in_the_refusal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ConfigError, match=r"^RAY_ADDRESS=127\.0\.0\.1:1: does not answer"):
        check_surroundings(make_config(f"runs_dir={tmp_path}"), None)


@pytest.mark.parametrize("runs_dir", ["runs", "./out", "absolute"])
def test_a_run_folder_that_goes_with_the_job_is_refused_before_it_is_made(
    runs_dir: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    session = tmp_path / "session_2026" / "runtime_resources" / "working_dir_files"
    copy = session / "_ray_pkg_0123456789abcdef"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    folder = str(copy / "deep") if runs_dir == "absolute" else runs_dir
    with pytest.raises(ConfigError, match=r"^runs_dir=.*goes with the job.*runs_dir=/shared/runs"):
        check_surroundings(make_config(f"runs_dir={folder}"), None)
    assert list(copy.iterdir()) == []


def test_a_trial_never_spans_two_nodes(nodes: list[dict[str, Any]]) -> None:
    # 3 + 3 CPUs hold one trial of 2 each, not three: floor(3/2) + floor(3/2) = 2.
    nodes[:] = [node(0), node(3), node(3), node(64, alive=False)]
    assert num_fitting(2, 0) == 2
    assert lay_out(make_config("resources.cpus_per_trial=2")).max_concurrent == 2


def test_gpus_and_cpus_both_have_to_be_there(nodes: list[dict[str, Any]]) -> None:
    nodes[:] = [node(8), node(4, 2)]
    assert num_fitting(1, 1) == 2  # by the GPUs of the second
    assert num_fitting(1, 0.25) == 4  # by its CPUs
    assert lay_out(make_config()).gpus_per_trial == 1.0


@pytest.mark.parametrize(
    ("gpus", "share", "at_once"),
    [
        (1, 0.4, 2),
        (2, 0.4, 4),
        (2, 0.3, 6),
        (2, 1, 2),
        (1, 0.1, 10),
        (0.5, 0.25, 2),
        (1.5, 0.5, 3),
    ],
)
def test_a_part_of_a_gpu_never_spans_two(
    gpus: float, share: float, at_once: int, nodes: list[dict[str, Any]]
) -> None:
    nodes[:] = [node(16, gpus)]
    slots = lay_out(make_config(f"resources.gpus_per_trial={share}"))
    assert slots.max_concurrent == at_once


@pytest.mark.parametrize(
    ("share", "runs", "is_told"), [(0.25, False, True), (0.25, True, False), (1, False, False)]
)
def test_that_trials_would_take_turns_on_a_gpu_is_told(
    share: float, runs: bool, is_told: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    if runs:
        (tmp_path / "control").touch()
    assert bool(sharing_note(share)) == is_told
    assert sharing_note(0) is None


def test_a_training_of_the_users_own_may_hold_several_gpus(nodes: list[dict[str, Any]]) -> None:
    nodes[:] = [node(16, 5)]
    assert num_fitting(1, 2) == 2  # 5 // 2
    words = ("trainable=tests.fakes.losses:descend", "dataset.train_examples=100", "epochs=2")
    config = compose([*words, "lr=0.1", "batch.initial=10", "resources.gpus_per_trial=2"])
    check_values(config)
    assert lay_out(config).max_concurrent == 2


@pytest.mark.parametrize(
    ("there", "words", "cpus", "at_once"),
    [
        ([node(2)], (), 1, 2),
        ([node(2)], ("max_concurrent=1",), 2, 1),
        ([node(8)], ("max_concurrent=3",), 2, 3),  # 8 // 3
        ([node(2)], ("max_concurrent=9",), 1, 2),
        ([node(8)], ("max_concurrent=1", "resources.cpus_per_trial=3"), 3, 1),  # as said
        ([node(16, 4)], (), 4, 4),  # a GPU each: 16 // 4
        ([node(16, 1)], ("resources.gpus_per_trial=0.5",), 8, 2),
        ([node(16, 1)], ("resources.gpus_per_trial=0", "max_concurrent=2"), 8, 2),
        ([node(8), node(4), node(0)], ("max_concurrent=1",), 4, 1),  # it may be on any of them
        # The nodes of a cluster come and go, and others may hold some of their CPUs.
        ([node(16, 4)], ("cluster.address=10.0.0.7:1",), 1, 4),
        ([node(16)], ("cluster.address=10.0.0.7:1", "max_concurrent=2"), 1, 2),
    ],
)
def test_the_trials_of_a_machine_share_its_cpus(
    there: list[dict[str, Any]],
    words: tuple[str, ...],
    cpus: float,
    at_once: int,
    nodes: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    nodes[:] = there
    slots = lay_out(make_config(*words))
    assert (slots.cpus_per_trial, slots.max_concurrent) == (cpus, at_once)


def test_a_known_function_leaves_cpus_to_others(nodes: list[dict[str, Any]]) -> None:
    nodes[:] = [node(8)]
    config = compose(["preset=aaai_functions_cpu", "max_concurrent=1"])
    assert lay_out(config).cpus_per_trial == 1


def test_threads_are_settled_once_and_are_the_trials_identity() -> None:
    plan = make_plan(make_config("workload=digits"))
    settled = settle(plan, "cpu", 2.0)
    assert settled.recipe.num_threads == 2
    # A resume keeps the threads and lays out anew: its machine may have other CPUs.
    assert settled.config.resources.cpus_per_trial is None
    assert settle(settled, "cpu").recipe.num_threads == 2
    said = make_plan(make_config("workload=digits", "resources.cpus_per_trial=3.5"))
    assert settle(said, "cpu", 1.0).recipe.num_threads == 3
    key = {n: settle(plan, "cpu", n).trial(plan.spaces[0], POINT).trial_key for n in (1.0, 2.0)}
    assert key[1.0] != key[2.0]


def test_what_no_node_can_hold_is_refused_with_the_largest(nodes: list[dict[str, Any]]) -> None:
    nodes[:] = [node(1), node(1)]
    match = r"^resources\.cpus_per_trial=2: the largest of 2 nodes has 1$"
    with pytest.raises(ConfigError, match=match):
        lay_out(make_config("resources.cpus_per_trial=2"))


class Wanted:
    """Stands for a placement group; a node comes with the third look."""

    def __init__(self, nodes: list[dict[str, Any]], comes: dict[str, Any] | None = None) -> None:
        self.nodes, self.comes, self.looks = nodes, comes or node(2), 0

    def wait(self, seconds: float) -> bool:
        self.looks += 1
        if self.looks == 3:
            self.nodes.append(self.comes)
        return self.looks == 3


def test_a_head_without_cpus_asks_for_a_node_and_waits(
    nodes: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    nodes[:] = [node(0)]
    asked: list[Any] = []
    wanted = Wanted(nodes)
    monkeypatch.setattr(
        "ray.util.placement_group", lambda bundles: asked.append(bundles) or wanted
    )
    monkeypatch.setattr("ray.util.remove_placement_group", asked.append)
    assert lay_out(make_config(), lambda: True).max_concurrent == 2
    assert asked == [[{"CPU": 1.0}], wanted]  # taken back once it is there
    assert capsys.readouterr().out.startswith("waiting for a node, for 15 min at most: ")


def test_the_gpus_of_a_node_that_was_waited_for_are_used(
    nodes: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes[:] = [node(0)]
    wanted = Wanted(nodes, comes=node(16, 4))
    monkeypatch.setattr("ray.util.placement_group", lambda bundles: wanted)
    monkeypatch.setattr("ray.util.remove_placement_group", lambda group: None)
    slots = lay_out(make_config(), lambda: True)
    assert (slots.gpus_per_trial, slots.max_concurrent, slots.device) == (1.0, 4, "cuda")


def test_waiting_for_a_node_ends_with_the_signal_that_stops_it(
    nodes: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = iter((True, True, False))
    monkeypatch.setattr("ray.util.placement_group", lambda bundles: Wanted([]))
    monkeypatch.setattr("ray.util.remove_placement_group", lambda group: None)
    with pytest.raises(ConfigError, match="cpus_per_trial=1"):
        lay_out(make_config(), lambda: next(goes_on))


def test_an_added_node_is_used_and_a_lost_one_is_not(
    nodes: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "ROOM_SECONDS", 0.0)
    told: list[int] = []
    slots = Slots(cpus_per_trial=1.0, gpus_per_trial=0.0, max_concurrent=1)
    room = Room(slots, told.append)
    seen = []
    for there in ([node(1)], [node(1), node(2)], [node(0)]):  # then none that can train
        nodes[:] = there
        seen.append(room())
    assert seen == [1, 3, 1]
    assert told == [3, 1]


def test_no_more_trials_are_handed_out_than_there_is_room_for() -> None:
    class Endless:
        finished = False

        class sharing:
            @staticmethod
            def orders(trial: TrialConfig) -> dict[str, Any]:
                return {}

        @staticmethod
        def next() -> TrialConfig:
            return make_trial()

    room = 1
    searcher = CampaignSearcher(Endless(), {}, lambda: False, room=lambda: room)  # type: ignore[arg-type]
    assert searcher.suggest("a")["share"] == {}
    assert searcher.suggest("b") is None
    room = 2
    assert searcher.suggest("b") not in (None, Searcher.FINISHED)
    assert searcher.suggest("c") is None


@pytest.mark.fault("32", "what a stopped job may take is less than what Ray waits")
@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, 6.0),
        ({"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}"}, 1.2),  # of Ray's 3 s
        ({"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}", "RAY_JOB_STOP_WAIT_TIME_S": "10"}, 4.0),
        ({"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}", "RAY_JOB_STOP_WAIT_TIME_S": "60"}, 6.0),
        ({"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}", "RAY_JOB_STOP_WAIT_TIME_S": "soon"}, 1.2),
        ({"RAY_JOB_STOP_WAIT_TIME_S": "1"}, 6.0),  # no job
    ],
)
def test_a_stopped_job_has_closed_its_books_before_ray_kills_it(
    environ: dict[str, str], seconds: float
) -> None:
    assert interrupts.patience_seconds(environ) == pytest.approx(seconds)
    assert 2 * interrupts.SHARE_OF_JOB < 1  # the loop, then Ray's shutdown


def test_the_patience_is_that_of_the_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    monkeypatch.setenv("RAY_JOB_STOP_WAIT_TIME_S", "0")
    left: list[bool] = []
    signals = interrupts.Interrupts()
    signals.leave = lambda: left.append(True)
    signals._handle(signal.SIGTERM, None)
    assert signals.watchdog is not None
    signals.watchdog.join(timeout=5)
    assert left == [True]


@pytest.mark.parametrize(
    ("address", "words", "number"),
    [
        (None, [], 1),  # what this machine holds, counted once
        (None, ["max_concurrent=5"], 1),
        ("10.0.0.7:6379", ["max_concurrent=5"], 5),  # an autoscaler brings the nodes
        ("10.0.0.7:6379", [], 3),  # what the nodes hold now
    ],
)
def test_on_a_cluster_as_many_are_handed_out_as_fit_or_were_asked_for(
    address: str | None,
    words: list[str],
    number: int,
    nodes: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "ROOM_SECONDS", 0.0)
    monkeypatch.setenv("RAY_ADDRESS", address or "")
    nodes[:] = [node(1), node(2)]
    slots = Slots(cpus_per_trial=1.0, gpus_per_trial=0.0, max_concurrent=1)
    told = SimpleNamespace(event=lambda *a, **k: None, say=lambda text: None)
    session: Any = SimpleNamespace(
        plan=SimpleNamespace(config=make_config(*words)),
        slots=slots,
        store=told,
        recorder=SimpleNamespace(display=told),
    )
    assert Session._room(session)() == number
