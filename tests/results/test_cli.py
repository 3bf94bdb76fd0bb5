"""`python -m results`: what it prints, writes and refuses."""

from __future__ import annotations

import csv
import json
import os
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import results
from results.__main__ import main, make_parser
from results.exports.snippet import export_schedule, torch_snippet
from results.options import as_options, names_of
from results.records.store import RunStore
from search_spaces import registry
from search_spaces.registry import allow_import
from tests.fakes.logs import write_log
from tests.fakes.results import make_recipe, make_trial, write_run, write_trial


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "run")


def test_a_home_is_found_after_an_equals_sign(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    _, commands = make_parser()
    assert as_options(["out=~/x", "~/run"], commands["report"]) == ["--out=/home/me/x", "~/run"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "encoding", ["ascii", *(pytest.param(e, marks=pytest.mark.full) for e in ("latin-1", "utf-8"))]
)
def test_names_that_the_terminal_lacks_are_printed_as_codes(tmp_path, encoding):
    run_dir = write_run(tmp_path / "\u4e2d" / "run", trials=2, seeds=1)
    done = subprocess.run(
        [sys.executable, "-m", "results", "report", str(run_dir)],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": encoding},
        check=True,
    )
    name = "\u4e2d" if encoding == "utf-8" else r"\u4e2d"
    assert done.stdout.decode(encoding) == f"{tmp_path}/{name}/run/report.html\n"


@pytest.mark.slow
def test_compare_prints_arms_verdict_and_figures(run_dir, capsys):
    assert main(["compare", str(run_dir)]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0].split()[:2] == ["arm", "n"]
    assert [line.split()[0] for line in lines[1:4]] == ["cosine", "poly", "your"]
    assert max(map(len, lines[:4])) <= 80
    assert max(map(len, lines[:9])) <= 100
    assert results.load(run_dir).compare().verdict in lines
    assert f"figures in {run_dir / 'plots'}: curves.png" in out
    assert (run_dir / "plots" / "differences.png").exists()


def test_a_of_the_decay_rates_is_handed_to_the_figures(tmp_path, monkeypatch):
    run_dir = write_run(tmp_path / "run", trials=1, seeds=1)
    asked = []
    monkeypatch.setattr(
        "results.plots.save_plots",
        lambda run, out, *kinds, radius_factor: asked.append(radius_factor) or [],
    )
    assert main(["compare", str(run_dir), "a=17.2"]) == 0
    assert main(["export", str(run_dir), "--figures", "png", "--a", "5"]) == 0
    assert main(["compare", str(run_dir)]) == 0
    assert asked == [17.2, 5.0, None]


def test_compare_without_plots_writes_nothing(tmp_path):
    run_dir = write_run(tmp_path / "run", trials=1, seeds=1)
    assert main(["compare", str(run_dir), "--no-plots"]) == 0
    assert not (run_dir / "plots").exists()


def test_show_fits_one_screen(run_dir, capsys):
    assert main(["show", str(run_dir)]) == 0
    out = capsys.readouterr().out
    assert "run run: completed" in out
    assert "best: " in out
    assert len(out.splitlines()) <= 24


def test_show_works_on_a_run_that_has_just_begun(tmp_path, capsys):
    with RunStore.create(tmp_path / "run", {"status": "running"}, "") as store:
        write_trial(store, make_trial(), status="running", epochs=1)
        store.flush()
        assert main(["show", str(tmp_path / "run")]) == 0
    assert "still running: 1 trials unfinished" in capsys.readouterr().out


def test_verify_is_strict_only_when_asked(tmp_path, capsys):
    run_dir = write_run(tmp_path / "run", trials=1, seeds=1)
    assert main(["verify", str(run_dir), "--strict"]) == 0
    (run_dir / "trials" / "00001.parquet").write_bytes(b"")
    assert main(["verify", str(run_dir)]) == 0
    assert main(["verify", str(run_dir), "--strict"]) == 1
    assert "00001.parquet was skipped" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "nowhere"],
        ["compare", "RUN", "--metric", "accuracy"],
        ["compare"],
        ["show", "nowhere"],
        ["verify", "nowhere"],
        ["export", "RUN", "--schedule", "zzz"],
        ["export", "RUN", "--schedule", ""],
        ["export", "RUN", "--schedule", "best", "--space", "pol"],
        ["export", "RUN"],
        ["compare", "RUN", "metrik=test_loss"],
        ["compare", "RUN", "a=1.4"],
        ["export", "RUN", "--figures", "png", "a=large"],
        ["export", "RUN", "steps=--"],
        ["compare", "RUN", "two\nlines"],
        ["explode"],
        ["reproduce", "RUN", "abc"],
        [],
    ],
)
def test_bad_input_is_one_line_and_code_2(run_dir, capsys, arguments):
    with pytest.raises(SystemExit) as left:
        sys.exit(main([str(run_dir) if a == "RUN" else a for a in arguments]))
    out, err = capsys.readouterr()
    assert left.value.code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_a_command_that_does_not_exist_is_told_with_the_nearest(capsys):
    assert main(["comparee", "nowhere"]) == 2
    assert "unknown command 'comparee'; did you mean 'compare'?" in capsys.readouterr().err


@pytest.mark.slow
def test_the_process_ends_with_code_2_and_no_traceback():
    done = command("compare", "nowhere")
    assert done.returncode == 2
    assert done.stderr.startswith("error: 'nowhere' does not exist")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_help_loads_nothing_heavy():
    code = (
        "import sys; from results.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'scipy', 'matplotlib', 'optuna', 'torch', 'ray', 'rich'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "compare" in done.stdout


def test_export_writes_table_and_snippet(run_dir, tmp_path, capsys):
    assert main(["export", str(run_dir), "--schedule", "best", "--out", str(tmp_path)]) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    names = ["schedule.csv", "schedule.json", "adapters.md", "torch_snippet.py"]
    assert [path.name for path in paths] == names
    table = results.load(run_dir).best().schedule
    rows = list(csv.DictReader(paths[0].read_text().splitlines()))
    assert [float(row["lr"]) for row in rows] == table.lr_S.tolist()
    assert [int(row["batch_size"]) for row in rows] == table.batch_size_S.tolist()
    content = json.loads(paths[1].read_text())
    assert [stage["delta"] for stage in content["stages"]] == table.delta_S.tolist()
    assert [stage["start_epoch"] for stage in content["stages"]] == (table.start_S / 1200).tolist()


def test_export_takes_the_beginning_of_a_trial_key(run_dir, tmp_path):
    row = results.load(run_dir).trials.to_pylist()[3]
    arguments = ["--schedule", row["trial_key"][:8], "--out", str(tmp_path)]
    assert main(["export", str(run_dir), *arguments]) == 0
    content = json.loads((tmp_path / "schedule.json").read_text())
    assert content["config_key"] == row["config_key"]


def test_stored_code_is_imported_only_when_named_again(tmp_path, capsys):
    trial = make_trial(params={"p": 2.0})
    mine = replace(trial, family="search_spaces.families.poly:curve")
    allow_import(mine.family)  # by whoever trained it
    with RunStore.create(tmp_path / "run", {}, "") as store:
        write_trial(store, mine)
    registry._allowed.clear()
    export = ["export", str(tmp_path / "run"), "--schedule", "best", "--out", str(tmp_path)]
    assert main(export) == 2
    assert "add --family search_spaces.families.poly:curve" in capsys.readouterr().err
    assert main([*export, "--family", "search_spaces.families.poly:curve"]) == 0
    assert main(["show", str(tmp_path / "run")]) == 0


TRIALS = {
    "poly": make_trial("poly", {"p": 2.0}),
    "batch": make_trial("batch", {"interval": 1, "factor": 0.7071, "split": 0.0}),
    "hybrid": make_trial("hybrid", {"interval": 2, "factor": 0.5, "split": 0.415}),
    "momentum": make_trial(
        "poly", {"p": 1.0, "momentum_share": 1.0}, recipe=make_recipe(momentum=0.9)
    ),
    "steps": make_trial(
        "poly",
        {"p": 1.0, "interval": 0, "split": 0.5},
        recipe=make_recipe(batch0=1, epochs=5, warmup_epochs=0.1, decay_after_warmup=True),
    ),
    "floor": make_trial("floor", {"interval": 1, "end": 0.1}),
    "wsd_sqrt": make_trial("wsd_sqrt", {"interval": 1, "f": 0.6, "q": 0.5, "end": 0.05}),
    "wsd_cosine": make_trial("wsd_cosine", {"interval": 2, "f": 0.7}),
    "power_cool": make_trial("power_cool", {"q": 3.0}),
    "seesaw": make_trial("seesaw", {"interval": 1, "split": 0.5}),
    "warmup": make_trial("cosine", recipe=make_recipe(warmup_epochs=1.5, batch_max=48)),
}


@pytest.mark.parametrize("trial", TRIALS.values(), ids=TRIALS)
def test_the_torch_snippet_is_the_schedule_step_by_step(trial, tmp_path):
    *_, path = export_schedule(trial, tmp_path)
    snippet = runpy.run_path(str(path))
    table = trial.schedule
    stages = [(s.stage, s.batch_size) for s in table.steps()]
    expected = [(float(table.lr_S[m]), b, float(table.momentum_S[m])) for m, b in stages]
    assert [(lr, len(index), beta) for lr, beta, index in snippet["steps"]()] == expected
    assert [snippet["settings_at"](s.first_sample) for s in table.steps()] == expected


def test_a_long_table_lies_in_the_csv_alone(tmp_path):
    csv_path, json_path, _, snippet = export_schedule(TRIALS["steps"], tmp_path)
    assert csv_path.read_text().count("\n") == 1 + 5 * 1200
    assert json.loads(json_path.read_text())["num_stages"] == 6000
    assert json.loads(json_path.read_text())["stages"] == []
    assert max(path.stat().st_size for path in (json_path, snippet)) < 5000


def test_the_torch_snippet_sets_momentum(tmp_path):
    trial = TRIALS["momentum"]
    *_, path = export_schedule(trial, tmp_path)
    snippet = runpy.run_path(str(path))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.5)
    _, _, momentum = snippet["settings_at"](trial.schedule.total_samples - 1)
    snippet["set_step"](optimizer, 0.25, momentum)
    assert optimizer.param_groups[0]["momentum"] == trial.schedule.momentum_S[-1] < 0.9
    assert optimizer.param_groups[0]["lr"] == 0.25


@pytest.mark.parametrize("interval", [1, 0])  # the stages in the snippet, and in the CSV
def test_the_torch_snippet_leaves_momentum_alone_where_the_schedule_has_none(interval, tmp_path):
    recipe = make_recipe(momentum=0.0, batch0=1)
    *_, path = export_schedule(make_trial(params={"interval": interval}, recipe=recipe), tmp_path)
    snippet = runpy.run_path(str(path))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.7)
    lr, _, momentum = snippet["settings_at"](0)
    snippet["set_step"](optimizer, lr, momentum)
    assert optimizer.param_groups[0]["momentum"] == 0.7
    assert optimizer.param_groups[0]["lr"] == lr


def test_the_torch_snippet_keeps_each_groups_share_of_the_lr(tmp_path):
    *_, path = export_schedule(TRIALS["poly"], tmp_path)
    set_step = runpy.run_path(str(path))["set_step"]
    first, second, third = (torch.nn.Parameter(torch.zeros(1)) for _ in range(3))
    groups = [
        {"params": [first]},
        {"params": [second], "lr": 0.01},
        {"params": [third], "lr_scale": 0.5},
    ]
    optimizer = torch.optim.SGD([dict(group) for group in groups], lr=0.1)
    for lr in (0.8, 0.4):  # a share of what it was made with, not of what was set before
        set_step(optimizer, lr, 0.0)
        lrs = [group["lr"] for group in optimizer.param_groups]
        assert lrs == pytest.approx([lr, 0.1 * lr, 0.5 * lr], rel=1e-12)
        assert lrs[0] == lr
    unclear = torch.optim.SGD([groups[0] | {"lr": 0.1}, groups[1]])
    with pytest.raises(ValueError, match="no group trains at the optimizer's lr"):
        set_step(unclear, 0.8, 0.0)
    alike = torch.optim.SGD([groups[0] | {"lr": 0.3}, groups[2] | {"lr": 0.3}])
    set_step(alike, 0.8, 0.0)
    assert [group["lr"] for group in alike.param_groups] == [0.8, 0.4]


def test_the_torch_snippet_trains(tmp_path):
    *_, path = export_schedule(make_trial(recipe=make_recipe(train_examples=64)), tmp_path)
    snippet = runpy.run_path(str(path))
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    images, labels = torch.randn(64, 4), torch.zeros(64, dtype=torch.long)
    loss = torch.nn.CrossEntropyLoss()
    before = loss(model(images), labels).item()
    snippet["train"](model, optimizer, loss, images, labels)
    assert loss(model(images), labels).item() < before
    lr, _, _ = snippet["settings_at"](64 * 6 - 1)
    assert optimizer.param_groups[0]["lr"] == lr


def test_each_epoch_of_the_snippet_sees_every_image_once(tmp_path):
    *_, path = export_schedule(TRIALS["batch"], tmp_path)
    steps = runpy.run_path(str(path))["steps"]
    stream = torch.cat([indices for _, _, indices in steps()])
    assert stream[:1200].sort().values.tolist() == list(range(1200))
    assert stream[1200:2400].sort().values.tolist() == list(range(1200))


def test_names_from_a_file_cannot_become_code():
    evil = make_recipe(model='x"""\nraise SystemExit(1)\n"""')
    source = torch_snippet(make_trial(recipe=evil))
    assert "\nraise" not in source
    compile(source, "snippet", "exec")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "results", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent.parent,
    )


@pytest.mark.slow
def test_judge_prints_a_verdict_and_writes_its_page(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_log(tmp_path / "mine.csv")
    words = ["judge", "mine.csv", "value=val_loss", "goal=min", "paired=false", "target=3.4"]
    assert main([*words, "arms=[cosine,wsd]", "reference=cosine", "min_effect=0.01"]) == 0
    out = capsys.readouterr().out
    assert "wsd beats cosine by 0.20 nats at step 100, 95% Welch interval" in out
    assert "note: seeds are not paired, as you say" in out
    assert out.splitlines()[-1] == "report: mine_report.html"
    assert "Welch interval" in (tmp_path / "mine_report.html").read_text()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("value=val_los", "value=val_los: mine.csv has no such column; did you mean 'val_loss'?"),
        ("vale=val_loss", "unknown key 'vale'; did you mean 'value'?"),
        ("target=low", "target=low: must be a number."),
        ("target=", "target=: must be a number."),
        ("target=1", "target=1: no arm's mean gets there (the best is 2.8, of wsd)."),
        ("at=7", "at=7: seed 0 of cosine has no value there; say at=100"),
        ("paired=perhaps", "paired=perhaps: must be true or false."),
        ("arms=[cosine]", "two arms or more are compared, but there is one (cosine)."),
        ("arms=[]", "arms=[]: write a list of names"),
        ("arms=[cosine,wds]", "arms=wds: unknown arm 'wds'; did you mean 'wsd'?"),
        ("reference=poly", "reference=poly: unknown arm 'poly'"),
        ("goal=max", "of 'val_loss' the min is best, not the max"),
    ],
)
def test_judge_refuses_in_one_line_and_writes_nothing(tmp_path, capsys, monkeypatch, word, said):
    monkeypatch.chdir(tmp_path)
    write_log(tmp_path / "mine.csv")
    assert main(["judge", "mine.csv", word]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"error: {said}")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]


def test_a_value_may_be_long_or_hold_an_equals_sign():
    parser, commands = make_parser()
    exclude = commands["exclude"]
    long = "why=" + "x" * 300
    assert as_options([long], exclude) == [f"--{long}"]
    for word in ("seed=3 crashed", "why=3"):
        for words in (["--why", word], [f"why={word}"], [f"--why={word}"], ["--wh", word]):
            args = parser.parse_args(["exclude", *as_options(["run", "3f9", *words], exclude)])
            assert args.why == word
    # A flag takes no value: what follows it is a key.
    words = ["run", "--no-plots", "reference=poly"]
    assert as_options(words, commands["compare"]) == ["run", "--no-plots", "--reference=poly"]
    with pytest.raises(ValueError, match="unknown key 'x' "):
        as_options(["--no-plots", "x=" + "y" * 5000], commands["compare"])


def test_a_key_is_an_option_unless_it_names_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    judge = make_parser()[1]["judge"]
    assert as_options(["a", "min_effect=2", "--x"], judge) == [
        "a",
        "--min-effect=2",
        "--x",
    ]
    (tmp_path / "lr=2").mkdir()
    assert as_options(["lr=2", "runs/lr=3"], judge) == ["lr=2", "runs/lr=3"]
    assert names_of("arms", "['poly p=1,interval=2', cosine]") == ["poly p=1,interval=2", "cosine"]
