"""Jobs on a real cluster: submitted, watched, stopped; nodes come, and die.

Each node is `ray start` with processes of its own, token authentication is on, and everything
goes through the HTTP API, as from a laptop.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

import results
from tests.cluster.laptop import TRAIN, Laptop, load_whole, num_redone, read_journal
from tests.cluster.nodes import PATIENCE, RealCluster, wait_until
from tests.faults.counts import worst

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RealCluster]:
    """A head without CPUs and one node that has one."""
    with RealCluster() as made:
        made.add("a")
        yield made


def test_a_job_is_submitted_followed_and_told_from_the_laptop(
    cluster: RealCluster, laptop: Laptop
) -> None:
    laptop.write_training(0.1)
    at = f"address={cluster.dashboard}"
    (laptop.project / "nested").mkdir()
    done = cluster.run(
        *("submit", at, f"runs_dir={laptop.shared}", "name=first", *TRAIN, "trials=2", "epochs=2"),
        "follow=true",
        cwd=laptop.project,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(laptop.shared / "first") in done.stdout.splitlines()[-1]
    run = load_whole(laptop.shared / "first", trials=2, epochs=2)
    (manifest,) = run.manifests.values()
    assert manifest["slots"]["max_concurrent"] == 1
    assert manifest["versions"]["gradtune"]
    assert {line.node for line in read_journal(laptop.journal)} == {"a"}
    # Everything in one folder of this machine: read here. The job's log, through the head.
    told = cluster.run("status", at, "job=first", cwd=laptop.project)
    assert re.search(r"^job first-[0-9a-f]{4}: succeeded", told.stdout)
    assert re.search(r"poly +2/2 ", told.stdout)
    logged = cluster.run("logs", at, "job=first", cwd=laptop.project)
    assert "[2/2] poly search" in logged.stdout
    # Bad words never reach it; a name that is taken is found out there.
    taken = cluster.run(
        *("submit", at, f"runs_dir={laptop.shared}", "name=first", *TRAIN, "epochs=2"),
        "follow=true",
        cwd=laptop.project,
    )
    assert taken.returncode == 2
    assert taken.stdout.splitlines()[-1].startswith("error: name=first: ")


def test_records_that_only_the_cluster_has_are_read_there(
    cluster: RealCluster, laptop: Laptop
) -> None:
    laptop.write_training(0.1)
    job = laptop.submit(cluster, "apart", "trials=1", "epochs=1")
    at = f"address={cluster.dashboard}"
    back = cluster.run("logs", at, f"job={job}", "follow=true", cwd=laptop.project)
    assert back.returncode == 0, back.stdout
    # As seen from a laptop: its own file system has no such folder.
    hidden = laptop.shared.rename(laptop.shared.with_name("moved"))
    laptop.shared.mkdir()
    told = cluster.run("status", at, f"job={job}", cwd=laptop.project)
    assert told.returncode == 2
    assert "does not exist" in told.stdout  # said by the job that looked, where it looked
    laptop.shared.rmdir()
    hidden.rename(laptop.shared)


@pytest.mark.fault("32", "a real job left by Ctrl-C, stopped, resumed: 0 epochs lost or twice")
def test_ctrl_c_leaves_the_job_running_and_stop_keeps_everything(
    cluster: RealCluster, laptop: Laptop
) -> None:
    laptop.write_training(0.2, hang=3)
    at = f"address={cluster.dashboard}"
    following = cluster.gradtune(
        *("submit", at, f"runs_dir={laptop.shared}", "name=hung", *TRAIN, "trials=1", "epochs=4"),
        "follow=true",
        cwd=laptop.project,
    )
    wait_until(lambda: len(read_journal(laptop.journal)) == 2, PATIENCE, "epoch 2 of the training")
    following.send_signal(signal.SIGINT)
    _, said = following.communicate(timeout=20)
    assert following.returncode == 130
    assert "the job goes on. Come back with: gradtune logs" in said
    begun = time.monotonic()
    stopped = cluster.run("stop", at, "job=hung", cwd=laptop.project)
    assert stopped.returncode == 0, stopped.stderr
    assert time.monotonic() - begun < 20
    assert f"Go on with: gradtune submit {at} resume={laptop.shared}/hung" in stopped.stdout
    (manifest,) = results.load(laptop.shared / "hung").manifests.values()
    assert manifest["status"] == "interrupted"
    laptop.write_training(0.1)
    again = cluster.run(
        *("submit", at, f"resume={laptop.shared}/hung", "trainable=mine:train", "code=accept"),
        "follow=true",
        cwd=laptop.project,
    )
    assert again.returncode == 0, again.stdout + again.stderr
    load_whole(laptop.shared / "hung", trials=1, epochs=4)
    assert num_redone(read_journal(laptop.journal)) == 0


@pytest.mark.fault("32", "a hung job stopped: its books are closed before Ray kills it")
def test_a_hung_training_does_not_outlast_the_three_seconds_that_ray_waits(
    cluster: RealCluster, laptop: Laptop
) -> None:
    """Submitted by hand, without what `gradtune submit` asks Ray for."""
    laptop.write_training(0.2, hang=2)
    words = ["ray", "job", "submit", "--address", cluster.dashboard, "--no-wait"]
    words += ["--submission-id", "by-hand", "--working-dir", "."]
    words += ["--", "python", "-m", "tuner.run", f"runs_dir={laptop.shared}", "name=by-hand"]
    subprocess.run(
        [*words, *TRAIN, "trials=1", "epochs=4"],
        cwd=laptop.project,
        env=cluster.environment,
        check=True,
        capture_output=True,
    )
    wait_until(lambda: read_journal(laptop.journal), PATIENCE, "epoch 1 of the training")
    time.sleep(0.5)  # the hung epoch has begun
    stopped = cluster.run(
        "stop", f"address={cluster.dashboard}", "job=by-hand", cwd=laptop.project
    )
    assert stopped.returncode == 0, stopped.stderr
    (manifest,) = results.load(laptop.shared / "by-hand").manifests.values()
    assert manifest["status"] == "interrupted"


@pytest.mark.fault(
    "32", "a run folder that would go with its job: the job fails with that line, exit 1"
)
def test_a_default_run_folder_is_refused_by_the_job_itself(
    cluster: RealCluster, laptop: Laptop
) -> None:
    laptop.write_training(0.1)
    words = ["ray", "job", "submit", "--address", cluster.dashboard, "--working-dir", "."]
    done = subprocess.run(
        [*words, "--", "python", "-m", "tuner.run", *TRAIN, "epochs=2"],
        cwd=laptop.project,
        env=cluster.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1  # ray's own, of a job that failed
    assert "error: runs_dir=runs: lies in Ray's copy of your folder" in done.stdout


@pytest.mark.fault(
    "6", "a node killed: its training goes on elsewhere within 30 s, <= 1 epoch again"
)
def test_an_added_node_is_used_and_a_killed_one_costs_an_epoch_at_most(
    cluster: RealCluster, laptop: Laptop
) -> None:
    gate = laptop.shared / "gate"
    laptop.write_training(1.0, gate=str(gate))  # a state is saved after each: it pays
    laptop.submit(cluster, "moved", "trials=4", "epochs=6")
    laptop.add_node(cluster)
    killed_at = time.time()
    cluster.nodes["a"].kill()
    gate.touch()
    back = cluster.run(
        *("logs", f"address={cluster.dashboard}", "job=moved", "follow=true"), cwd=laptop.project
    )
    assert back.returncode == 0, back.stdout
    load_whole(laptop.shared / "moved", trials=4, epochs=6)
    lines = read_journal(laptop.journal)
    victims = {line.trial for line in lines if line.node == "a" and line.time <= killed_at}
    moved = [line for line in lines if line.node == "b" and line.trial in victims]
    assert moved, "its training went on elsewhere"
    seconds = min(line.time for line in moved) - killed_at
    worst("6", "until its training went on", seconds, "s")
    worst("6", "epochs trained again", num_redone(lines), f"of {len(lines)}")
    assert num_redone(lines) <= 1
    assert seconds <= 30
    events = [
        json.loads(line)
        for line in (laptop.shared / "moved" / "events.jsonl").read_text().splitlines()
    ]
    assert [e["max_concurrent"] for e in events if e["kind"] == "room"][:1] == [2]


@pytest.mark.fault("32", "a job that fails: its exit code is that of who follows")
def test_a_job_whose_trainings_fail_ends_with_their_exit_code(
    cluster: RealCluster, laptop: Laptop
) -> None:
    (laptop.project / "mine.py").write_text(
        "def train(schedule, seed, report):\n    raise ValueError('no such file')\n"
    )
    done = cluster.run(
        *("submit", f"address={cluster.dashboard}", f"runs_dir={laptop.shared}", "name=broken"),
        *(*TRAIN, "trials=1", "epochs=2", "follow=true"),
        cwd=laptop.project,
    )
    assert done.returncode == 1
    assert "ValueError: no such file" in done.stdout


@pytest.mark.fault(
    "29", "another token on a real cluster: refused within 25 s in one line with the cure"
)
@pytest.mark.parametrize("way", ["submit", "run"])
def test_another_token_is_refused_soon_with_the_cure(
    way: str, cluster: RealCluster, laptop: Laptop
) -> None:
    laptop.write_training(0.1)
    at = {
        "submit": f"address={cluster.dashboard}",
        "run": f"cluster.address=127.0.0.1:{cluster.port}",
    }[way]
    begun = time.monotonic()
    process = cluster.gradtune(
        *(way, at, f"runs_dir={laptop.shared}", *TRAIN, "epochs=2"),
        cwd=laptop.project,
        token="0" * 64,
    )
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert time.monotonic() - begun < 25 + 10  # ten for this machine's imports
    assert "auth_token" in said
    assert [path.name for path in laptop.shared.iterdir()] == []
