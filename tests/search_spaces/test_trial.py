"""What a training is made of, and the text its keys are hashed from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from search_spaces.families import FAMILIES
from search_spaces.noise_law import NoiseLaw
from search_spaces.schedule import make_schedule
from search_spaces.trial import Recipe, TrialConfig, canonical_json, derive_seed, sample_word

RECIPE = Recipe(
    workload="digits", dataset="digits", dataset_path="/data", data_fingerprint="f00d",
    pool_examples=1437, train_examples=1200, num_classes=10, model="mlp", width=32,
    optimizer="sgd", momentum=0.9, nesterov=False, weight_decay=5e-4, clip_norm=None,
    label_smoothing=0.0, epochs=6, warmup_epochs=1.0, batch0=32, batch_max=512, c2=7.0, k=2.0,
)  # fmt: skip
# What a network's training under a scale-free law depends on: neither path nor labels of delta.
IDENTITY = {
    "workload": "digits", "dataset": "digits", "data_fingerprint": "f00d", "pool_examples": 1437,
    "train_examples": 1200, "num_classes": 10, "model": "mlp", "width": 32, "optimizer": "sgd",
    "momentum": 0.9, "nesterov": False, "weight_decay": 5e-4, "clip_norm": None,
    "label_smoothing": 0.0, "epochs": 6, "warmup_epochs": 1.0, "batch0": 32, "batch_max": 512,
    "noise_law": "sgd", "precision": "fp32", "num_threads": 1, "micro_batch": None,
    "code_digest": "",
}  # fmt: skip
PARAMS = {"interval": 2, "delta0": 0.3, "split": 0.5, "p": 0.7}


def make_trial(**changes: object) -> TrialConfig:
    fields = {
        "space": "poly", "family": "poly", "params": PARAMS, "lr0": 0.05, "recipe": RECIPE,
        "role": "confirm", "replicate": 2, "seed": 11, "horizon": 1.0,
    }  # fmt: skip
    return TrialConfig(**fields | changes)


def hashed(identity: dict[str, object]) -> str:
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_json_is_sorted_compact_and_refuses_what_is_no_number() -> None:
    assert canonical_json({"b": [1, 2.5], "a": None}) == '{"a":null,"b":[1,2.5]}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": float("nan")})


def test_a_seed_is_31_bits_of_the_hash_of_all_parts() -> None:
    digest = hashlib.sha256(b'["0", "confirm", "2"]').hexdigest()
    assert derive_seed(0, "confirm", 2) == int(digest[:8], 16) // 2
    assert derive_seed(0, "confirm", 2) != derive_seed(0, "confirm", 3)


@pytest.mark.parametrize(
    ("changes", "identity"),
    [
        ({}, {}),
        ({"dataset_path": None, "c2": 1.0, "k": 0.0, "c2_source": "measured"}, {}),
        # Under a law with K the constants shape lr; for a function they are its smoothing.
        ({"noise_law": "shb"}, {"noise_law": "shb", "c2": 7.0, "k": 2.0}),
        ({"noise_law": "nshb_b"}, {"noise_law": "nshb_b"}),
        ({"trainer": "function"}, {"trainer": "function", "c2": 7.0, "k": 2.0}),
        ({"trainer": "user"}, {"trainer": "user", "c2": 7.0, "k": 2.0}),
        ({"smoothing": "gaussian"}, {"smoothing": "gaussian"}),
        ({"measurements": {"noise": {"pairs": 2}}}, {}),
        (
            {"measurements": {"noise": {"pairs": 2}, "critical": {"epsilon": [1.0]}}},
            {"measurements": {"critical": {"epsilon": [1.0]}}},
        ),
    ],
)
def test_a_recipe_is_identified_by_what_a_training_depends_on(
    changes: dict[str, object], identity: dict[str, object]
) -> None:
    assert replace(RECIPE, **changes).identity() == IDENTITY | identity


def test_a_recipe_tells_its_title_its_chance_and_its_law() -> None:
    assert RECIPE.title == "mlp on digits"
    assert replace(RECIPE, model="none").title == "digits"
    assert RECIPE.chance == pytest.approx(0.1)
    assert replace(RECIPE, num_classes=0).chance == 0.0
    assert RECIPE.law == NoiseLaw(name="sgd", c2=7.0, k=2.0, momentum=0.9)


def test_keys_are_hashes_of_all_that_a_training_depends_on() -> None:
    config = {
        "space": "poly", "family": "poly", "curve_digest": "", "lr0": 0.05, "recipe": IDENTITY,
        "params": {"interval": 2, "split": 0.5, "p": 0.7},
    }  # fmt: skip
    repetition = {"role": "confirm", "replicate": 2, "seed": 11, "horizon": 1.0}
    trial = make_trial(until=3)  # how far it goes for now is no part of it
    assert trial.config_key == hashed(config)
    assert trial.trial_key == hashed(config | repetition)


def test_delta0_is_part_of_a_training_that_depends_on_it() -> None:
    recipe = replace(RECIPE, noise_law="shb")
    identity = recipe.identity()
    config = {
        "space": "mine", "family": "a:b", "curve_digest": "abc", "lr0": 0.05, "params": PARAMS,
        "recipe": identity,
    }  # fmt: skip
    trial = make_trial(space="mine", family="a:b", curve_digest="abc", recipe=recipe)
    assert trial.config_key == hashed(config)


def test_what_is_left_out_is_a_full_search_training_in_units_of_c() -> None:
    trial = TrialConfig(space="poly", family="poly", params=PARAMS, lr0=0.05, recipe=RECIPE)
    assert (trial.role, trial.replicate, trial.seed, trial.horizon) == ("search", 0, 0, 1.0)
    fields = {f.name: getattr(RECIPE, f.name) for f in dataclasses.fields(Recipe)}
    del fields["c2"], fields["k"]
    plain = Recipe(**fields)
    assert (plain.c2, plain.k, plain.c2_source) == (1.0, 0.0, "unit")


def test_a_trial_survives_json() -> None:
    trial = make_trial(until=3, curve_digest="abc")
    plain = json.loads(canonical_json(trial.to_dict()))
    assert TrialConfig.from_dict(plain) == trial
    assert plain["params"] == PARAMS
    assert plain["recipe"]["c2"] == 7.0


def test_a_number_of_the_training_is_no_parameter_of_the_curve() -> None:
    params = PARAMS | {"beta2": 0.98, "weight_decay": 0.1}
    trial = make_trial(params=params, training=("beta2", "weight_decay"))
    assert trial.curve_params == {"p": 0.7}
    assert trial.training_params == {"beta2": 0.98, "weight_decay": 0.1}
    plain = json.loads(canonical_json(trial.to_dict()))
    assert plain["training"] == ["beta2", "weight_decay"]
    assert TrialConfig.from_dict(plain) == trial
    np.testing.assert_array_equal(trial.schedule.lr_S, make_trial().schedule.lr_S)


def test_configs_with_one_table_and_other_numbers_of_the_training_are_two() -> None:
    def trial(beta2: float) -> TrialConfig:
        return make_trial(params=PARAMS | {"beta2": beta2}, training=("beta2",))

    keys = {make_trial().table_key, trial(0.9).table_key, trial(0.98).table_key}
    assert len(keys) == 3
    assert len({make_trial().config_key, trial(0.9).config_key, trial(0.98).config_key}) == 3


def test_a_trial_without_them_is_written_as_before() -> None:
    assert "training" not in make_trial().to_dict()


@pytest.mark.parametrize(
    ("changes", "num_reports", "is_full"),
    [
        ({}, 6, True),
        ({"horizon": 0.5}, 3, False),
        ({"horizon": 0.51}, 4, False),
        ({"horizon": 0.5 + 1e-12}, 3, False),  # a rounding is no epoch
        ({"until": 2}, 2, False),
        ({"until": 9}, 6, False),
        ({"horizon": 0.5, "until": 4}, 3, False),
        ({"recipe": replace(RECIPE, reports=20)}, 20, True),
        ({"recipe": replace(RECIPE, reports=20), "horizon": 1 / 9}, 3, False),  # 2.2, rounded up
        ({"recipe": replace(RECIPE, reports=4), "horizon": 0.1}, 1, False),
    ],
)
def test_how_many_reports_a_training_has(
    changes: dict[str, object], num_reports: int, is_full: bool
) -> None:
    trial = make_trial(**changes)
    assert (trial.num_reports, trial.is_full) == (num_reports, is_full)


def test_a_trial_has_its_own_first_batch_or_the_recipes() -> None:
    assert make_trial().batch0 == 32
    assert make_trial(params=PARAMS | {"batch0": 8.0}).batch0 == 8
    assert make_trial().interval == 2


def test_a_curve_gets_its_own_parameters_alone() -> None:
    extra = {"momentum_share": 0.5, "batch0": 8, "lr0": 0.1, "radius0": 1.0, "end": 0.1}
    assert make_trial(params=PARAMS | extra).curve_params == {"p": 0.7}
    assert make_trial().curve_params == {"p": 0.7}


def test_a_factor_per_stage_is_an_end_ratio() -> None:
    params = {"interval": 2, "delta0": 0.3, "split": 1.0, "factor": 0.5}
    trial = make_trial(family="exp", params=params)
    assert trial.curve_params == {"end_ratio": 0.125}  # 6 epochs in 3 stages
    assert trial.params == params


def test_the_schedule_is_made_of_trial_and_recipe() -> None:
    params = PARAMS | {"batch0": 16, "momentum_share": 0.25, "end": 0.1}
    poly = FAMILIES["poly"].curve
    expected = make_schedule(
        lambda u: poly(u, p=0.7), epochs=6, train_examples=1200, interval=2, lr0=0.05, batch0=16,
        split=0.5, momentum_share=0.25, end=0.1, batch_max=512, law=RECIPE.law, warmup_epochs=1.0,
        after_warmup=False, horizon=0.5,
    )  # fmt: skip
    table = make_trial(params=params, horizon=0.5).schedule
    for name in ("start_S", "progress_S", "lr_S", "batch_size_S", "momentum_S", "delta_S"):
        np.testing.assert_array_equal(getattr(table, name), getattr(expected, name))
    assert table.total_samples == expected.total_samples == 3600
    plain = make_trial().schedule
    assert set(plain.momentum_S) == {0.9}
    assert plain.batch_size_S[0] == 32


def test_a_ladder_of_batches_is_the_trials_identity_and_older_records_have_none() -> None:
    plain = make_trial(params=PARAMS | {"split": 0.0})
    trial = make_trial(params=plain.params, recipe=replace(RECIPE, batch_ladder=2))
    assert trial.trial_key != plain.trial_key
    assert "batch_ladder" not in plain.to_dict()["recipe"]
    again = TrialConfig.from_dict(json.loads(canonical_json(trial.to_dict())))
    assert (again, again.trial_key) == (trial, trial.trial_key)
    # Targets 32, 56.5, 149.0 (d^-2 of (1-u)^0.7) on 32 * 2^(j/2): 32, 64 and 8 * round(128 / 8).
    assert plain.schedule.batch_size_S[-3:].tolist() == [32, 56, 149]
    assert again.schedule.batch_size_S[-3:].tolist() == [32, 64, 128]
    np.testing.assert_allclose(again.schedule.delta_S, plain.schedule.delta_S, rtol=1e-14)


def test_a_batch_without_a_limit_grows_to_the_training_images() -> None:
    params = {"interval": 5, "delta0": 0.3, "split": 0.0, "p": 4.0}
    recipe = replace(RECIPE, batch_max=None, warmup_epochs=0.0)
    assert make_trial(params=params, recipe=recipe).schedule.batch_size_S.tolist() == [32, 1200]
    capped = replace(recipe, batch_max=512)
    assert make_trial(params=params, recipe=capped).schedule.batch_size_S.tolist() == [32, 512]


@pytest.mark.parametrize(
    ("family", "params", "decays"),
    [
        # 6 epochs every 2: the last stage begins at 2/3, so a cooldown must be longer than 1/3.
        ("wsd", {"f": 1 / 3, "p": 1.0}, False),
        ("wsd", {"f": 0.34, "p": 1.0}, True),
        ("wsd_cosine", {"f": 0.2}, False),
        ("wsd_power_cool", {"f": 0.2, "q": 0.5}, False),
        ("wsd", {"f": 0.2, "p": 1.0, "interval": 1}, True),
        # Every 4: the last of two stages begins at 2/3 too.
        ("wsd", {"f": 0.3, "p": 1.0, "interval": 4}, False),
        ("poly", {"p": 0.1}, True),
        ("constant", {}, True),
        ("poly", {"p": 1.0, "interval": 6}, True),  # one stage: nothing else was asked for
    ],
)
def test_a_cooldown_after_the_last_stage_has_begun_is_none(
    family: str, params: dict[str, float], decays: bool
) -> None:
    known = {"interval": 2, "delta0": 0.3, "split": 1.0}
    recipe = replace(RECIPE, warmup_epochs=0.0)
    trial = make_trial(family=family, params=known | params, recipe=recipe)
    assert trial.decays == decays
    if trial.interval < 6 and family != "constant":
        assert (trial.schedule.delta_S[-1] < trial.schedule.delta_S[0]) == decays


def test_samples_are_called_as_the_user_does_or_the_images_of_a_network() -> None:
    assert sample_word("tokens", "network") == sample_word("tokens", "user") == "tokens"
    assert sample_word(None, "network") == "images"
    assert sample_word(None, "user") == "samples"
