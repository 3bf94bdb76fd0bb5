"""What a machine allows: CPUs by every way to allot them, and a folder where Ray can live."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from tuner.config.schema import ConfigError
from tuner.plan import host
from tuner.plan.host import find_ray_folder, num_cpus, settle_home, settle_temporary, settle_token

# The files of a control group by its version: of 3.5 CPUs, of 0.5, of no limit.
QUOTAS = {
    "v2": {3.5: {"cpu.max": "350000 100000\n"}, 0.5: {"cpu.max": "50000 100000\n"}},
    "v1": {
        3.5: {"cpu.cfs_quota_us": "350000\n", "cpu.cfs_period_us": "100000\n"},
        0.5: {"cpu.cfs_quota_us": "25000\n", "cpu.cfs_period_us": "50000\n"},
    },
}
UNLIMITED = {
    "cpu.max": "max 100000\n",
    "cpu.cfs_quota_us": "-1\n",
    "cpu.cfs_period_us": "100000\n",
}


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a machine without any allotment."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for name in (*host.JOBS, *host.JOBS.values(), *host.WISHES):
        monkeypatch.delenv(name, raising=False)


def counted(tmp_path: Path, own: str, groups: dict[str, dict[str, str]]) -> int:
    """CPUs of a process whose groups are `own`, as the kernel lists them."""
    (tmp_path / "own").write_text(own)
    for place, files in groups.items():
        (tmp_path / "sys" / place).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (tmp_path / "sys" / place / name).write_text(text)
    return num_cpus(tmp_path / "sys", tmp_path / "own")


@pytest.mark.parametrize("quota", [3.5, 0.5])
@pytest.mark.parametrize(
    ("version", "own", "place"),
    [
        ("v2", "0::/user.slice/job.scope\n", "user.slice/job.scope"),
        ("v2", "0::/user.slice/job.scope\n", "user.slice"),  # of the group around
        ("v2", "0::/\n", "."),  # a container with a name space of its own
        ("v2", "0::/docker/0123\n", "."),  # and without: the path is the host's
        ("v2", "1:cpu:/\n0::/a\n", "unified/a"),
        ("v1", "4:memory:/x\n2:cpu,cpuacct:/docker/0123\n", "cpu,cpuacct/docker/0123"),
        ("v1", "2:cpuacct,cpu:/slurm/job_1\n", "cpu/slurm"),
        ("v1", "2:cpu:/docker/0123\n", "cpu"),
    ],
)
def test_a_quota_counts_whatever_group_around_the_process_has_it(
    quota: float, version: str, own: str, place: str, tmp_path: Path
) -> None:
    assert counted(tmp_path, own, {place: QUOTAS[version][quota]}) == max(1, int(quota))


@pytest.mark.parametrize("own", ["0::/a\n", "2:cpu:/a\n1:name=systemd:/\n", ""])
def test_no_quota_leaves_the_affinity(own: str, tmp_path: Path) -> None:
    assert counted(tmp_path, own, {"a": UNLIMITED, "cpu/a": UNLIMITED}) == 8


def test_the_smallest_of_all_allotments_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = {"a/b": {"cpu.max": "600000 100000"}, "a": {"cpu.max": "500000 100000"}}
    assert counted(tmp_path, "0::/a/b\n", groups) == 5
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    assert num_cpus(tmp_path / "sys", tmp_path / "own") == 2


@pytest.mark.parametrize(("job", "count"), host.JOBS.items())
def test_a_batch_job_uses_what_it_was_given(
    job: str, count: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(count, "3")
    assert counted(tmp_path, "", {}) == 8  # a variable of that name, but no job
    monkeypatch.setenv(job, "17")
    assert num_cpus(tmp_path / "sys", tmp_path / "own") == 3
    monkeypatch.setenv(count, "3(x2)")
    assert num_cpus(tmp_path / "sys", tmp_path / "own") == 8


def test_damaged_quotas_are_none(tmp_path: Path) -> None:
    for number, text in enumerate(("", "max", "5", "1 0", "x y", "1 2 3", "\0")):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert counted(folder, "0::/a\n", {"a": {"cpu.max": text}}) == 8


def where(monkeypatch: pytest.MonkeyPatch, *places: Path | str, **wishes: Path | str) -> None:
    monkeypatch.setattr(host, "PLACES", tuple(map(str, places)))
    for name, root in wishes.items():
        monkeypatch.setenv(name, str(root))


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose path a socket may begin with; pytest's are too long for it."""
    folder = Path(tempfile.mkdtemp(prefix="h", dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", tempfile.tempdir)
    yield folder  # type: ignore[misc]
    shutil.rmtree(folder)


def test_rays_folder_is_where_it_is_wished(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        (short / name).mkdir()
    where(monkeypatch, short / "a")
    assert find_ray_folder() == (short / "a" / "ray", [])
    where(monkeypatch, short / "a", TMPDIR=short / "b")
    assert find_ray_folder() == (short / "b" / "ray", [])
    where(monkeypatch, short / "a", TMPDIR=short / "b", RAY_TMPDIR=short / "c")
    assert find_ray_folder() == (short / "c" / "ray", [])
    where(monkeypatch, short / "a", TMPDIR="", RAY_TMPDIR="")  # as if not given
    assert find_ray_folder() == (short / "a" / "ray", [])


def test_a_path_too_long_for_a_socket_is_told_and_another_taken(
    short: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    most = 107 - host.RAY_BYTES - len("/ray")
    fits = short / ("x" * (most - len(str(short)) - 1))
    long = short / ("x" * (most - len(str(short))))
    fits.mkdir()
    long.mkdir()
    where(monkeypatch, short, TMPDIR=fits)
    assert settle_temporary() == fits / "ray"
    assert capsys.readouterr().err == ""
    where(monkeypatch, short, TMPDIR=long)
    assert settle_temporary() == short / "ray"
    assert capsys.readouterr().err == (
        f"note: TMPDIR={long}: its path is too long for a socket: Ray's sockets and logs go to "
        f"{short / 'ray'}\n"
    )
    assert os.environ["TMPDIR"] == str(long), "still good for files"
    deep = short / ("x" * 80)
    deep.mkdir()
    where(monkeypatch, short, TMPDIR=deep)
    settle_temporary()
    assert os.environ["TMPDIR"] == str(short), "no process could make a socket there"


def test_a_folder_that_cannot_be_used_is_told_and_another_taken(
    short: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (short / "file").touch()
    for root, why in (("/proc", "No such file or directory"), (short / "file", "Not a directory")):
        where(monkeypatch, short, TMPDIR=root)
        assert settle_temporary() == short / "ray"
        assert f"note: TMPDIR={root}: {why}: Ray's" in capsys.readouterr().err
        assert os.environ["TMPDIR"] == str(short)
        assert tempfile.gettempdir() == str(short)


def test_a_full_disk_is_told_with_what_is_left(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (short / "full").mkdir()

    def usage(folder: Path) -> SimpleNamespace:
        return SimpleNamespace(free=3_400_000 if "full" in str(folder) else 10**12)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    where(monkeypatch, short, TMPDIR=short / "full")
    assert find_ray_folder() == (
        short / "ray",
        [f"TMPDIR={short / 'full'}: only 3 MB are free"],
    )


def test_where_no_folder_is_any_good_one_line_names_each_reason_and_the_cure(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where(monkeypatch, "/proc", short / "nowhere", TMPDIR=short / ("x" * 50))
    with pytest.raises(ConfigError) as caught:
        find_ray_folder()
    assert str(caught.value) == (
        f"no folder for Ray's sockets and logs (TMPDIR={short}/{'x' * 50}: its path is too long "
        f"for a socket; /proc: No such file or directory; {short}/nowhere: No such file or "
        "directory); set RAY_TMPDIR to a writable one whose path has at most "
        f"{107 - host.RAY_BYTES - 4} bytes"
    )


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_the_folder_of_another_user_is_not_entered(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (short / "ray").mkdir(mode=0o777)
    (short / "ray").chmod(0o777)  # as Ray makes it
    os.chown(short / "ray", 12345, 12345)
    where(monkeypatch, short)
    assert find_ray_folder() == (short / "ray-0", [])
    (short / "ray-0").rmdir()
    (short / "ray-0").symlink_to(short / "ray")  # a trap
    os.lchown(short / "ray-0", 12345, 12345)
    with pytest.raises(ConfigError, match="ray-0 is another user's"):
        find_ray_folder()


def test_a_user_whom_the_machine_does_not_know_has_no_home_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settle_home()
    before = os.environ.get("HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.setenv("HOME", "")
    settle_home()
    assert os.environ["HOME"] == "/nonexistent" != before


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    return tmp_path


def token_path() -> str | None:
    settle_token(Path(tempfile.gettempdir()))
    return os.environ.get("RAY_AUTH_TOKEN_PATH")


def test_ray_keeps_its_token_in_a_home_that_can_be_written(home: Path) -> None:
    assert token_path() is None
    (home / ".ray" / "auth_token").write_text("x")
    assert token_path() is None


def test_a_token_that_is_given_stays(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/proc")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "x")
    assert token_path() is None


@pytest.mark.parametrize("bad", ["/proc", "/dev/null", "/nowhere/at/all"])
def test_without_a_home_the_token_is_in_a_file_of_ones_own(
    bad: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", bad)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "")
    path = Path(token_path() or "none")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(bytes.fromhex(path.read_text())) == 32
    path.unlink()
