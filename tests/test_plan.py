import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from infoprune.errors import InputError
from infoprune.plan import VOCABULARY, Plan

# The run-time type checker draws which items of a collection it looks at.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")

GOOD = {
    "version": 2,
    "model_type": "bert",
    "units": {"layers.0.ffn": 8, "layers.0.heads": 2},
    "kept": {"layers.0.ffn": [0, 3, 7], "layers.0.heads": [1]},
    "criterion": "information",
    "seed": 0,
    "nats_lost": 0.25,
}
TOKENS = GOOD | {"units": {VOCABULARY: 4}, "kept": {VOCABULARY: [0, 2]}, "token_map": [0, 2, 2, 0]}

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(scalars, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(max_size=3), v, max_size=4))


@st.composite
def plans(seed_run):
    units = seed_run(st.dictionaries(st.text(min_size=1, max_size=8), st.integers(1, 50), max_size=4))
    kept = {site: tuple(sorted(seed_run(st.sets(st.integers(0, n - 1))))) for site, n in units.items()}
    nats = seed_run(st.none() | st.floats(0, 1e6))
    token_map = None
    if seed_run(st.booleans()):
        tokens = seed_run(st.integers(1, 20))
        units[VOCABULARY] = tokens
        kept[VOCABULARY] = tuple(sorted(seed_run(st.sets(st.integers(0, tokens - 1), min_size=1))))
        rows = seed_run(st.lists(st.sampled_from(kept[VOCABULARY]), min_size=tokens, max_size=tokens))
        token_map = tuple(token if token in kept[VOCABULARY] else row for token, row in enumerate(rows))
    return Plan(seed_run(st.text()), units, kept, seed_run(st.text()), seed_run(st.integers()), nats, token_map)


@given(plans())
def test_round_trip(plan):
    assert Plan.from_json(plan.to_json()) == plan


@settings(max_examples=300, deadline=None)
@given(values)
@example([])
@example({"version": 2})
def test_nothing_but_input_errors(value):
    with pytest.raises(InputError):
        Plan.from_json(json.dumps(value))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([GOOD, TOKENS]), st.sampled_from(sorted(TOKENS)), values)
def test_one_strange_field(good, key, value):
    try:
        plan = Plan.from_json(json.dumps(good | {key: value}))
    except InputError:
        return
    else:
        assert Plan.from_json(plan.to_json()) == plan


@settings(max_examples=200, deadline=None)
@given(st.text() | st.text(alphabet='{}[]",:0123e.-n '))
@example("[" * 100_000)
@example('{"a":' * 100_000)
@example("1" * 5000)
def test_any_text(text):
    with pytest.raises(InputError):
        Plan.from_json(text)


def changed(**fields):
    return json.dumps(GOOD | fields)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (changed(kept={"layers.0.ffn": [0, 3, 3], "layers.0.heads": [1]}), r"layers\.0\.ffn.*distinct"),
        (changed(kept={"layers.0.ffn": [3, 0], "layers.0.heads": [1]}), r"layers\.0\.ffn.*ascending"),
        (changed(kept={"layers.0.ffn": [-1, 0], "layers.0.heads": [1]}), r"within 0\.\.7"),
        (changed(kept={"layers.0.ffn": [0, 8], "layers.0.heads": [1]}), r"within 0\.\.7"),
        (changed(units={"vocabulary": 8}, kept={"vocabulary": []}), "vocabulary keeps none of its 8"),
        (changed(kept={"layers.0.ffn": [False, True], "layers.0.heads": [1]}), "lists of integers"),
        (changed(kept={"layers.0.ffn": [0.0, 1.0], "layers.0.heads": [1]}), "lists of integers"),
        (changed(kept={"layers.0.ffn": "012", "layers.0.heads": [1]}), "lists of integers"),
        (changed(kept={"layers.0.ffn": [0]}), "different sites"),
        (changed(units={"layers.0.ffn": True, "layers.0.heads": 2}), "'units' must hold integers"),
        (changed(units={"layers.0.ffn": 10**12, "layers.0.heads": 2}), "1000000000000 units"),
        (changed(units={"layers.0.ffn": 0, "layers.0.heads": 2}), "0 units"),
        (changed(units=[8, 2]), "'units' must be an object"),
        (changed(seed=True), "'seed' must be an integer"),
        (changed(nats_lost="0"), "'nats_lost' a number"),
        (changed(nats_lost=True), "'nats_lost' a number"),
        (changed(nats_lost=float("nan")), "'nats_lost' a number"),
        (changed(model_type=None), "must be texts"),
        (json.dumps(TOKENS | {"token_map": [0, 2, 2]}), "3 entries for 4 tokens"),
        (json.dumps(TOKENS | {"token_map": [0, 1, 2, 0]}), "names a token that is not kept"),
        (json.dumps(TOKENS | {"token_map": [0, 2, 2, 4]}), "names a token that is not kept"),
        (json.dumps(TOKENS | {"token_map": [0, 2, 2, -1]}), "names a token that is not kept"),
        (json.dumps(TOKENS | {"token_map": [2, 2, 2, 2]}), "maps a kept one to another"),
        (json.dumps(TOKENS | {"token_map": [0, 2, 2, False]}), "'token_map' must be a list of integers or null"),
        (json.dumps(TOKENS | {"token_map": "0220"}), "'token_map' must be a list of integers or null"),
        (changed(token_map=[0]), "1 entries for 0 tokens"),
        (changed(version=3), "version 2"),
        (changed(version=True), "version 2"),
        (json.dumps({key: value for key, value in GOOD.items() if key != "kept"}), "'kept' must be an object"),
        ("[" * 100_000, "not JSON"),
        ("", "not JSON"),
    ],
)
def test_what_is_refused(text, words):
    with pytest.raises(InputError, match=words):
        Plan.from_json(text)


def test_a_list_of_units_takes_a_line():
    plan = Plan("bert", {"layers.0.ffn": 5000}, {"layers.0.ffn": tuple(range(0, 5000, 3))}, "information", 0)
    lines = plan.to_json().splitlines()
    assert len(lines) < 15
    assert json.loads(plan.to_json())["kept"]["layers.0.ffn"] == list(range(0, 5000, 3))


def test_counts():
    assert Plan.from_json(json.dumps(GOOD)).counts == {"layers.0.ffn": (3, 8), "layers.0.heads": (1, 2)}


@given(plans(), st.randoms(use_true_random=False))
def test_one_cut_after_another(plan, random):
    later = {
        site: tuple(sorted(random.sample(range(len(k)), random.randint(0, len(k)))))
        for site, k in plan.kept.items()
        if k  # what is gone is no site any more
    }
    units = {site: len(plan.kept[site]) for site in later}
    rows = None
    if plan.token_map is not None:
        later[VOCABULARY] = later[VOCABULARY] or (0,)
        rows = tuple(
            i if i in later[VOCABULARY] else random.choice(later[VOCABULARY]) for i in range(units[VOCABULARY])
        )
    both = plan.then(Plan(plan.model_type, units, later, "magnitude", 1, None, rows))
    if rows is not None:
        once = [plan.kept[VOCABULARY].index(token) for token in plan.token_map]
        twice = [rows[row] for row in once]
        assert both.token_map == tuple(plan.kept[VOCABULARY][row] for row in twice)
        assert both.rows == tuple(later[VOCABULARY].index(row) for row in twice)
    assert both.units == plan.units
    for site, chosen in both.kept.items():
        everything = list(range(plan.units[site]))
        once = [everything[i] for i in plan.kept[site]]
        assert list(chosen) == [once[i] for i in later.get(site, ())]


def test_a_plan_of_the_first_version_is_read():
    old = {**TOKENS, "version": 1, "units": TOKENS["units"] | {"layers.1.width": 3, "width": 5}}
    old["kept"] = TOKENS["kept"] | {"layers.1.width": [0, 1], "width": [4]}
    old["stand_ins"] = old.pop("token_map")
    plan = Plan.from_json(json.dumps(old))
    assert plan.counts == {VOCABULARY: (2, 4), "layers.1.hidden-size": (2, 3), "hidden-size": (1, 5)}
    assert plan.token_map == (0, 2, 2, 0)
    assert Plan.from_json(plan.to_json()) == plan
