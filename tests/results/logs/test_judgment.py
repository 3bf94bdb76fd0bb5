"""A verdict on logs: numbers by independent code, decisions told, bad input refused."""

from __future__ import annotations

import html
import itertools
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from results.__main__ import main
from results.logs import judge, paragraph_of
from results.logs.judgment_page import render_judgment, write_judgment
from results.plots.arms.differences import DIFFERENCES, compared_info
from results.statistics.unpaired import welch_coverage, welch_difference
from tests.fakes.logs import ENDS, drawn, rows, write_csv, write_log


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write_log(tmp_path / "logs.csv")


def test_equal_seeds_in_all_arms_are_pairs_and_that_is_told(log: Path) -> None:
    judgment = judge(log)
    claim = judgment.comparison.claims[0]
    a, b = (np.array(own) for own in ENDS.values())
    expected = stats.ttest_rel(a, b)
    assert claim.difference.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert (claim.difference.low, claim.difference.high) == pytest.approx(
        tuple(expected.confidence_interval())
    )
    assert judgment.verdict.startswith(
        # Differences .2, .2, .2, .19, .21: half = 2.776 * 0.00707 / sqrt(5) = 0.0088.
        "wsd beats cosine by 0.2000 nats at step 100, 95% t-interval [0.1912, 0.2088], n=5 paired"
    )
    rho = stats.spearmanr(a, b).statistic
    assert judgment.pairing.startswith(
        "seeds are paired: every arm has the same ones (0, 1, 2, ..., 4), "
        f"rank correlation {rho:.2f}"
    )
    assert judgment.coverage == ()


def test_seeds_that_are_not_paired_are_compared_by_welch(log: Path) -> None:
    judgment = judge(log, paired=False)
    expected = stats.ttest_ind(*ENDS.values(), equal_var=False)
    assert judgment.comparison.claims[0].difference.p_value == pytest.approx(expected.pvalue)
    assert "not paired, as you say" in judgment.pairing
    assert len(judgment.coverage) == 1
    assert "Welch's intervals hold in" in judgment.notes[0]


def test_different_seeds_are_not_paired_unless_asked_for(tmp_path: Path) -> None:
    lines = [row for row in rows() if row[:2] != ("wsd", 4)]
    path = write_csv(tmp_path / "logs.csv", lines, "arm,seed,step,val_loss")
    assert "the arms have different ones" in judge(path).pairing
    paired = judge(path, paired=True)
    assert paired.pairing.startswith("seeds are paired, as you say")
    expected = stats.ttest_rel(ENDS["cosine"][:4], ENDS["wsd"][:4])
    found = paired.comparison.claims[0].difference
    assert (found.n, found.num_unpaired) == (4, 1)
    assert found.p_value == pytest.approx(expected.pvalue)


def test_arms_of_unequal_seeds_are_ranked_by_the_means_that_are_compared(tmp_path: Path) -> None:
    """Mean of B 2.7 over its six seeds, 3.1 over its first two, which put it behind A and C."""
    ends = {"A": [3.0, 3.0], "B": [3.1, 3.1, 2.5, 2.5, 2.5, 2.5], "C": [3.05, 3.05]}
    path = write_log(tmp_path / "logs.csv", ends)
    assert judge(path, paired=False).verdict.startswith("undecided: A minus B = 0.30 nats ")
    against = judge(path, paired=False, reference="C").verdict
    assert against.startswith("undecided: B minus C = -0.35 nats ")
    # Taken one by one only the first two of each are compared, and so they are ranked.
    looked = judge(path, paired=False, looks=True).verdict
    assert looked.startswith("undecided: A minus C = ")


def test_welch_coverage_is_that_of_one_redraw_after_the_other() -> None:
    own = drawn(3, {"a": 0.0, "b": 0.4}, 7)
    a_R, b_R = (np.array(values) for values in own.values())
    rng, draws, held = np.random.default_rng(0), 2000, 0
    drawn_a, drawn_b = rng.choice(a_R, (draws, 7)), rng.choice(b_R, (draws, 7))
    for x, y in zip(drawn_a, drawn_b, strict=True):
        d = welch_difference(dict(enumerate(x)), dict(enumerate(y)))
        truth = a_R.mean() - b_R.mean()
        held += d.low is not None and d.high is not None and d.low <= truth <= d.high
    assert welch_coverage(a_R, b_R, draws) == pytest.approx(held / draws, abs=1e-12)
    assert welch_coverage(a_R[:4], b_R) is None


def test_looks_are_decided_when_the_e_value_says_so(tmp_path: Path) -> None:
    path = write_log(tmp_path / "logs.csv", drawn(0, {"a": 3.0, "b": 2.0}, 12))
    look = judge(path).looks[0]
    ends = drawn(0, {"a": 3.0, "b": 2.0}, 12)
    d_R = np.array(ends["a"]) - np.array(ends["b"])

    def e_value(x_R: np.ndarray) -> float:
        """The formula of docs/statistics.md, c = 1."""
        n = len(x_R)
        t2 = n * x_R.mean() ** 2 / x_R.var(ddof=1)
        ratio = (1 + t2 / (n - 1)) / (1 + t2 / ((n + 1) * (n - 1)))
        return float((1 / (n + 1)) ** 0.5 * ratio ** (n / 2))

    assert look.evidence == pytest.approx(e_value(d_R))
    assert look.needed == pytest.approx(20)
    expected = next(n for n in range(3, 13) if e_value(d_R[:n]) >= 20)
    assert look.decided_at == expected
    assert judge(path, looks=True).verdict.endswith("(valid under repeated looks).")
    assert "one by one, in their order" in judge(path, looks=True, paired=False).pairing


def test_seeds_taken_one_by_one_are_nowhere_told_as_pairs(log: Path) -> None:
    judgment = judge(log, looks=True, paired=False)
    assert "n=5 seeds of each, taken one by one" in judgment.verdict
    # The numbers of pairs, but no seeds won: one seed 3 has nothing to do with the other.
    as_pairs = judge(log, looks=True, paired=True).comparison.claims[0]
    difference = judgment.comparison.claims[0].difference
    assert (difference.low, difference.p_value) == (
        as_pairs.difference.low,
        as_pairs.difference.p_value,
    )
    assert difference.prob_better is None
    info = compared_info(judgment.comparison)
    captions = [table.caption for table in judgment.tables().values()]
    captions += [DIFFERENCES.caption(info), DIFFERENCES.table(info).caption]
    for told in (judgment.verdict, *captions):
        assert "paired seed" not in told
        assert "paired by seed" not in told
        assert "on the same seed" not in told
    assert "taken one by one" in DIFFERENCES.caption(info)
    assert len(info.arms[0].seed_R) == 5
    unequal = judge(log, looks=True, paired=True).verdict
    assert "n=5 paired seeds" in unequal


def test_steps_to_a_target_stand_in_the_table_fewest_first(log: Path) -> None:
    judgment = judge(log, target=3.4)
    table = judgment.tables()["steps"]
    assert [row[0] for row in table.rows] == ["wsd", "cosine"]
    # Straight from 4 to the mean at step 100.
    assert judgment.arrivals["wsd"].step == pytest.approx(50.0)
    assert judgment.arrivals["cosine"].step == pytest.approx(60.0)
    assert table.rows[1][2].startswith("10 [")


def test_an_arm_that_never_gets_there_is_told_so(log: Path) -> None:
    rows = judge(log, target=2.9).tables()["steps"].rows
    assert rows[1][1] == "never"
    with pytest.raises(ValueError, match=r"target=1: no arm's mean gets there \(the best is 2.8,"):
        judge(log, target=1.0)


def test_trainings_that_share_no_step_have_no_steps_to_a_target(tmp_path: Path) -> None:
    apart = [(a, s, t + (a == "wsd") * s, v) for a, s, t, v in rows() if t]
    path = write_csv(tmp_path / "logs.csv", apart, "arm,seed,step,val_loss")
    with pytest.raises(ValueError, match=r"^target=3.4: the trainings of wsd share no step\.$"):
        judge(path, at="end", target=3.4)
    assert judge(path, at="end").verdict.startswith("wsd beats cosine")


def test_values_that_scatter_are_told_to_make_steps_too_few(tmp_path: Path) -> None:
    noisy = [(a, s, t + i, v + 0.3 * (i % 2)) for a, s, t, v in rows() for i in range(4)]
    path = write_csv(tmp_path / "logs.csv", noisy, "arm,seed,step,val_loss")
    (warning,) = judge(path, target=3.5).warnings
    assert warning.startswith("the mean of cosine, wsd crosses 3.5 more than once")


def test_arms_are_picked_by_name_and_make_one_comparison(tmp_path: Path) -> None:
    path = write_log(tmp_path / "logs.csv", drawn(1, {n: 3.0 for n in "abcdef"}, 5))
    assert len(judge(path).comparison.claims) == 15
    picked = judge(path, arms=["a", "d"])
    (claim,) = picked.comparison.claims
    assert claim.p_holm == claim.difference.p_value
    with pytest.raises(ValueError, match="arms=g: unknown arm 'g'"):
        judge(path, arms=["a", "g"])


def test_an_arm_called_baseline_stays_what_it_is_called(tmp_path: Path) -> None:
    path = write_log(tmp_path / "logs.csv", drawn(1, {"baseline": 3.0, "b": 2.0}, 5))
    verdict = judge(path, reference="baseline").verdict
    assert verdict.startswith("b beats 'baseline' by ")
    assert "default" not in verdict


def test_an_accuracy_in_percent_is_a_number_like_any_other(tmp_path: Path) -> None:
    for scale, unit in ((1.0, "points"), (100.0, "")):
        lines = [(a, s, t, scale * (1 - v / 10)) for a, s, t, v in rows()]
        path = write_csv(tmp_path / "logs.csv", lines, "arm,seed,step,accuracy")
        assert judge(path).metric.unit == unit


def uneven(tmp_path: Path) -> Path:
    """Seed 1 of cosine stopped half way."""
    lines = [row for row in rows() if row[:3] != ("cosine", 1, 100)]
    return write_csv(tmp_path / "logs.csv", lines, "arm,seed,step,val_loss")


def test_trainings_of_an_arm_that_end_apart_are_refused_until_somebody_says_where(
    tmp_path: Path,
) -> None:
    path = uneven(tmp_path)
    with pytest.raises(ValueError, match=r"seed 1 at 50, .* say at=50, the last step that all"):
        judge(path)
    assert judge(path, at=50).at == "at step 50"
    assert "unequal steps: cosine 100" not in judge(path, at=50).warnings
    assert judge(path, at="end").scores["cosine"][1] == pytest.approx(4 - (4 - 3.1) / 2)
    with pytest.raises(ValueError, match=r"at=100: seed 1 of cosine has no value there"):
        judge(path, at=100)


def test_arms_that_end_apart_are_compared_and_that_is_told(tmp_path: Path) -> None:
    lines = [row for row in rows() if row[0] != "cosine" or row[2] < 100]
    path = write_csv(tmp_path / "logs.csv", lines, "arm,seed,step,val_loss")
    judgment = judge(path)
    assert judgment.warnings == (
        "the arms end at unequal steps: cosine 50, wsd 100; at=50 compares all at one step.",
    )
    assert judgment.at == "at the end of each"


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ({"a": [1.0, 2.0]}, r"two arms or more are compared, but there is one \(a\)"),
        ({"a": [1.0, 2.0], "b": [1.0]}, r"arm b has one seed \(0\): without a second one"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    tmp_path: Path, ends: dict[str, list[float]], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        judge(write_log(tmp_path / "logs.csv", ends))


def test_a_value_that_does_not_tell_which_way_is_better_asks(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "logs.csv", rows(), "arm,seed,step,bleu score")
    with pytest.raises(ValueError, match="goal=: is a lower or a higher bleu score better"):
        judge(path)
    assert judge(path, goal="max").verdict.startswith("cosine beats wsd by 0.2000 at")
    with pytest.raises(ValueError, match=r"^goal=up: min or max\.$"):
        judge(path, goal="up")


def test_pairs_need_seeds_in_common(tmp_path: Path) -> None:
    lines = [(a, f"{a}{s}", t, v) for a, s, t, v in rows()]
    path = write_csv(tmp_path / "logs.csv", lines, "arm,seed,step,val_loss")
    with pytest.raises(ValueError, match="fewer than 2 seeds in common"):
        judge(path, paired=True)


@pytest.mark.slow
def test_more_arms_keep_the_promise_of_one_wrong_claim_in_twenty(tmp_path: Path) -> None:
    """Equal arms, not paired: any of the three pairs called different in 5 % of logs at most."""
    wrong, draws = 0, 200
    for seed in range(draws):
        path = write_log(tmp_path / "logs.csv", drawn(seed, {"a": 3.0, "b": 3.0, "c": 3.0}, 4))
        claims = judge(path, paired=False).comparison.claims
        wrong += any(claim.winner for claim in claims)
    assert wrong / draws <= 0.05 + 2 * (0.05 * 0.95 / draws) ** 0.5


@pytest.mark.slow
def test_the_page_holds_verdict_tables_figures_and_what_was_read(
    log: Path, tmp_path: Path
) -> None:
    judgment = judge(log, target=3.4, paired=False)
    page = write_judgment(judgment, tmp_path / "out" / "page.html").read_text()
    for told in (
        judgment.verdict,
        "Seeds are not paired, as you say",
        "Steps until the mean over the seeds reaches 3.4",
        "Looking after every seed",
        'id="figure-differences"',
        'id="figure-curves"',
        "Differences of the means",
        "val_loss, min is best, at step 100",
        "2 arms &middot; 10 trials",
    ):
        assert told in page
    assert "<script" not in page
    assert "confirm seeds" not in page


def test_names_in_a_log_cannot_become_markup(tmp_path: Path) -> None:
    path = write_log(tmp_path / "logs.csv", drawn(1, {"<b>x</b>": 3.0, "y": 2.0}, 3))
    assert "<b>" not in render_judgment(judge(path))


def test_all_pairs_have_a_look(tmp_path: Path) -> None:
    path = write_log(tmp_path / "logs.csv", drawn(1, {"a": 3.0, "b": 2.0, "c": 1.0}, 3))
    looks = judge(path, paired=False).looks
    assert [(look.a, look.b) for look in looks] == list(itertools.combinations("abc", 2))
    assert judge(path)._repr_html_().count("<table>") >= 3


def test_the_paragraph_tells_arms_n_interval_and_a_command_that_gives_the_same(
    log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(log.parent)
    judgment = judge(log.name, target=3.4, min_effect=0.5, paired=False, arms=["wsd", "cosine"])
    text, metric = paragraph_of(judgment).text(), judgment.value
    assert text.startswith(
        f"Trainings compared by {metric} (lower is better) at step 100, as logged in logs.csv: "
        "wsd, cosine."
    )
    # Standard deviations of .0, .1, -.1, .05, -.05: sqrt(.025 / 4) = 0.079; of wsd 0.082.
    assert "(5 seeds an arm): wsd 2.800 +- 0.082; cosine 3.000 +- 0.079." in text
    assert f". {judgment.verdict[0].upper()}{judgment.verdict[1:]} " in text
    assert "Intervals: 95% Welch intervals of differences of means" in text
    assert "Steps until the mean over the seeds reaches 3.4, with 95% interval: wsd 50 [" in text
    (line,) = paragraph_of(judgment).commands
    assert line.startswith("python -m results judge logs.csv ")
    assert main(shlex.split(line)[3:]) == 0
    printed = capsys.readouterr().out
    assert f"\nfor a pull request or a paper:\n{text}\n" in printed
    assert html.escape(text, quote=False) in html.unescape(Path("logs_report.html").read_text())


def test_the_paragraph_holds_warnings_and_no_word_to_the_owner(tmp_path: Path) -> None:
    path = write_log(tmp_path / "logs.csv", {"a": [3.0, 3.1], "baseline": [2.9, 2.95]})
    text = paragraph_of(judge(path, reference="baseline")).text()
    assert "Note: only 2 seeds of an arm: intervals are wide, take 5." in text
    assert "you" not in text
    assert "\nfor" not in text
    never = paragraph_of(judge(path, target=2.93)).text()
    assert re.search(r"'baseline' \d+ \[.*\]; a never\.", never)


@pytest.mark.slow
def test_a_log_of_one_step_or_of_steps_far_from_zero_is_drawn(tmp_path: Path) -> None:
    for steps in ((0,), (-20, -10, 0), (1_000_000, 1_000_010)):
        lines = [(arm, seed, step, end) for arm, own in ENDS.items()
                 for seed, end in enumerate(own) for step in steps]  # fmt: skip
        path = write_csv(tmp_path / "logs.csv", lines, "arm,seed,step,val_loss")
        assert "<svg" in render_judgment(judge(path))  # warnings are errors


@pytest.mark.parametrize(("factor", "word"), [(1e-12, "small"), (1e300, "large")])
def test_values_beyond_rounding_and_squares_are_refused(
    tmp_path: Path, factor: float, word: str
) -> None:
    ends = {arm: [factor * end for end in own] for arm, own in ENDS.items()}
    lines = [(arm, seed, 1, end) for arm, own in ends.items() for seed, end in enumerate(own)]
    path = write_csv(tmp_path / "logs.csv", lines, "arm,seed,step,val_loss")
    with pytest.raises(
        ValueError, match=f"at most, too {word} to compare: log it in another unit"
    ):
        judge(path)


def test_names_of_runs_that_tell_other_arms_than_meant_are_told(tmp_path: Path) -> None:
    header = "Step,dainty-sun-12 - val_loss,icy-moon-13 - val_loss"
    path = write_csv(tmp_path / "w.csv", [(0, 1.0, 1.1)], header)
    with pytest.raises(ValueError, match=r"one seed .* is arm dainty-sun, seed 12; runs=P"):
        judge(path)
