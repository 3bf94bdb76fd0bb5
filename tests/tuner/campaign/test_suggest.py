"""Suggestions: start-up points, the model's turn, and what is never suggested twice."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import optuna
import pytest
from scipy.stats import qmc

from results.study import make_study
from search_spaces.space import Range, SearchSpace
from search_spaces.trial import derive_seed
from tuner.campaign import suggest
from tuner.campaign.suggest import MAX_ATTEMPTS, MAX_SEEN, NUM_BEST, Params, Suggester

SPACE = SearchSpace(
    name="mine",
    family="poly",
    ranges={
        "p": Range(low=0.0, high=4.0),
        "interval": Range(low=1, high=4, integer=True),
        "delta0": Range(value=0.5),
        "split": Range(value=1.0),
    },
)
POINTS = SearchSpace(
    name="points",
    family="poly",
    ranges={"p": Range(choices=(1.0, 2.0)), "interval": Range(choices=(1, 3), integer=True)},
)
FIXED = {"delta0": 0.5, "split": 1.0}
SEED = 7


def suggester(sampler: str = "tpe", trials: int = 8, startup: int | None = None) -> Suggester:
    return Suggester(SPACE, seed=SEED, sampler=sampler, trials=trials, startup=startup)


def at(unit: np.ndarray) -> Params:
    """The parameters at this point of the unit square; interval comes before p."""
    interval, p = unit.tolist()
    return {**FIXED, "interval": 1 + int(4 * interval), "p": 4 * p}


@pytest.mark.parametrize(
    ("trials", "startup", "num"), [(8, None, 5), (20, None, 5), (24, None, 6), (8, 0, 0)]
)
def test_the_model_has_its_turn_after_the_start_up(
    trials: int, startup: int | None, num: int
) -> None:
    # Two free parameters: max(2*2+1, trials//4).
    made = suggester("tpe", trials, startup)
    assert made.num_startup == num
    assert [made.is_model_based(number) for number in (num - 1, num, num + 1)] == [
        *(False, True, True)
    ]


@pytest.mark.parametrize(
    ("sampler", "is_model"), [("gp", True), ("random", False), ("qmc", False)]
)
def test_only_tpe_and_gp_have_a_model(sampler: str, is_model: bool) -> None:
    assert suggester(sampler, startup=0).is_model_based(3) == is_model


@pytest.mark.parametrize("sampler", ["tpe", "qmc"])
def test_start_up_points_are_one_scrambled_sobol_sequence(sampler: str) -> None:
    points = qmc.Sobol(d=2, rng=derive_seed(SEED, "mine", "sobol")).random(4)
    made = suggester(sampler)
    assert [made.ask(number, lambda _: False) for number in range(4)] == [
        pytest.approx(at(point)) for point in points
    ]


def test_one_free_parameter_is_searched_along_one_sobol_sequence() -> None:
    line = SearchSpace(name="line", family="poly", ranges={"p": Range(low=0.0, high=4.0)})
    points = qmc.Sobol(d=1, rng=derive_seed(SEED, "line", "sobol")).random(4)
    made = Suggester(line, seed=SEED, sampler="qmc", trials=4, startup=None)
    asked = [made.ask(number, lambda _: False) for number in range(4)]
    assert asked == [{"p": pytest.approx(4 * u)} for u in points[:, 0]]


@pytest.mark.parametrize(("sampler", "first"), [("random", 0), ("qmc", 1)])
def test_what_was_tried_is_drawn_again_at_random(sampler: str, first: int) -> None:
    draws = [
        at(np.random.default_rng(derive_seed(SEED, "mine", 3, attempt)).random(2))
        for attempt in range(first, 3)
    ]
    refused: list[Params] = []

    def is_tried(params: Params) -> bool:
        refused.append(params)
        return len(refused) < 3

    assert suggester(sampler).ask(3, is_tried) == pytest.approx(draws[-1])
    assert refused[first:] == [pytest.approx(draw) for draw in draws]


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_space_without_new_configs_is_given_up_after_some_attempts(sampler: str) -> None:
    asked: list[Params] = []
    made = suggester(sampler, startup=0 if sampler == "tpe" else None)

    def is_tried(params: Params) -> bool:
        asked.append(params)
        return True

    assert made.ask(0, is_tried) is None
    assert len(asked) == MAX_ATTEMPTS


def test_a_grid_is_asked_point_by_point_whatever_the_number() -> None:
    made = Suggester(POINTS, seed=SEED, sampler="grid", trials=1, startup=None)
    points = [{"interval": i, "p": p} for i in (1, 3) for p in (1.0, 2.0)]
    assert list(made.grid()) == points
    assert made.ask(9, lambda _: False) == points[0]
    assert made.ask(0, points[:3].__contains__) == points[3]
    assert made.ask(0, points.__contains__) is None


def test_suggestions_hold_fixed_parameters_and_whole_numbers() -> None:
    params = suggester(startup=0).ask(0, lambda _: False)
    assert params is not None
    assert {name: params[name] for name in FIXED} == FIXED
    assert isinstance(params["interval"], int)
    assert isinstance(params["p"], float)


def test_a_config_is_running_pruned_complete_or_failed() -> None:
    made = suggester()
    for key in "ab":
        made.attach(key, {**FIXED, "p": 1.0, "interval": 2})
    assert (made.tried["a"].key, made.tried["a"].params) == ("a", {"p": 1.0, "interval": 2})
    assert made.tried["a"].kind == "running"
    made.tell("a", 100, 0.5, is_full=False)
    assert made.tried["a"].kind == "pruned"
    made.promote("a")
    assert made.tried["a"].kind == "running"
    made.tell("a", 300, None, is_full=True)  # lost: what it scored before stays
    assert made.tried["a"].kind == "pruned"
    made.tell("a", 300, 0.7, is_full=True)
    assert (made.tried["a"].kind, made.tried["a"].scores) == ("complete", {100: 0.5, 300: 0.7})
    made.tell("b", 100, None, is_full=False)
    assert (made.tried["b"].kind, made.tried["b"].scores) == ("fail", {})


def filled(num: int) -> Suggester:
    """Configs 0, 1, ...: every tenth failed, every seventh is on a rung, the last three run."""
    made = suggester(startup=0)
    rng = np.random.default_rng(0)
    for number, score in enumerate(rng.random(num).tolist()):
        made.attach(str(number), at(rng.random(2)))
        if number >= num - 3:
            continue
        is_lost, is_full = number % 10 == 0, number % 7 > 0
        made.tell(
            str(number), 300 if is_full else 100, None if is_lost else score, is_full=is_full
        )
    return made


def shown_to_the_model(
    made: Suggester, monkeypatch: pytest.MonkeyPatch
) -> list[optuna.trial.FrozenTrial]:
    """The trials of the study that the next ask makes."""
    ask, copies = optuna.Study.ask, list[list[optuna.trial.FrozenTrial]]()

    def note(study: optuna.Study, *args: object, **kwargs: object) -> optuna.Trial:
        copies.append(study.get_trials(deepcopy=False))
        return ask(study, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "ask", note)
        assert made.ask(9, lambda _: False) is not None
    return copies[0]


def test_the_model_sees_all_configs_as_a_study_rebuilt_has_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = filled(60)
    shown_to_the_model(made, monkeypatch)  # what changes after an ask is seen by the next
    made.promote("7")
    made.tell("57", 300, 2.0, is_full=True)
    seen = shown_to_the_model(made, monkeypatch)
    expected = make_study(SPACE, made.tried.values()).get_trials()
    told = ("state", "params", "values", "intermediate_values", "distributions")
    assert [[getattr(t, name) for name in told] for t in seen] == [
        [getattr(t, name) for name in told] for t in expected
    ]
    assert [t.number for t in seen] == [1 + t.number for t in expected]


def test_of_many_configs_the_model_sees_the_best_those_that_run_and_some_of_all_ages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = filled(3 * MAX_SEEN)
    made.promote("7")
    seen = shown_to_the_model(made, monkeypatch)
    numbers = [int(trial.user_attrs["config_key"]) for trial in seen]
    assert 0.8 * MAX_SEEN < len(seen) <= MAX_SEEN + 4
    assert numbers == sorted(numbers)
    ended = [c for c in made.tried.values() if c.kind == "complete"]
    best = sorted(ended, key=lambda c: -c.scores[300])[:NUM_BEST]
    running = [c for c in made.tried.values() if c.kind == "running"]
    assert len(running) == 4
    assert {int(c.key) for c in (*best, *running)} <= {*numbers}
    assert np.histogram(numbers, bins=10)[0].min() > 0.6 * MAX_SEEN / 10


def test_half_of_the_attempts_ask_the_model_and_the_rest_are_random() -> None:
    asked: list[Params] = []

    def is_tried(params: Params) -> bool:
        asked.append(params)
        return True

    suggester("tpe", startup=0).ask(0, is_tried)
    assert MAX_ATTEMPTS == 10
    draws = [
        at(np.random.default_rng(derive_seed(SEED, "mine", 0, attempt)).random(2))
        for attempt in range(10)
    ]
    is_random = [params == pytest.approx(d) for params, d in zip(asked, draws, strict=True)]
    assert is_random == [False] * 5 + [True] * 5


@pytest.mark.parametrize(
    ("sampler", "room", "made", "options"),
    [
        ("tpe", suggest, "TPE", {"multivariate": True, "constant_liar": True}),
        ("gp", optuna.samplers, "GPSampler", {}),
    ],
)
def test_the_model_is_optunas_seeded_by_the_ask(
    sampler: str,
    room: ModuleType,
    made: str,
    options: dict[str, bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[dict[str, object]] = []

    def make(**given: object) -> optuna.samplers.BaseSampler:
        calls.append(given)
        return optuna.samplers.RandomSampler(seed=0)

    monkeypatch.setattr(room, made, make)
    suggester(sampler, startup=0).ask(4, lambda _: False)
    seed = derive_seed(SEED, "mine", 4, 0)
    assert calls[-1:] == [{"seed": seed, "n_startup_trials": 1, **options}]


def test_tpe_suggests_what_optunas_own_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first ask on, with configs that run, that failed, that ended early."""

    def asked(kind: type[optuna.samplers.TPESampler]) -> list[Params | None]:
        monkeypatch.setattr(suggest, "TPE", kind)
        made, rng, params = suggester("tpe", startup=0), np.random.default_rng(3), []
        for number in range(30):
            params.append(made.ask(number, lambda _: False))
            made.attach(str(number), params[-1] or {})
            if number % 5:
                score = None if number % 7 == 0 else float(rng.random())
                made.tell(str(number), 1 + number % 3, score, is_full=number % 3 == 0)
        return params

    ours = asked(suggest.TPE)
    assert ours == asked(optuna.samplers.TPESampler)
    assert len({str(params) for params in ours}) > 20


def test_a_space_with_nothing_free_has_its_one_config() -> None:
    fixed = SearchSpace(name="one", family="poly", ranges={"p": Range(value=2.0)})
    made = Suggester(fixed, seed=SEED, sampler="qmc", trials=1, startup=None)
    assert made.ask(0, lambda _: False) == {"p": 2.0}
