from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infoprune.budgets.lagrange import Curve, least_loss

pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")

steps = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=4)


def curve(steps, convex):
    """Costs that grow by the first numbers and losses that fall by the second."""
    if convex:
        steps = sorted(steps, key=lambda step: -step[1] / step[0])
    costs, losses = [1.0], [float(sum(loss for _, loss in steps))]
    for cost, loss in steps:
        costs.append(costs[-1] + cost)
        losses.append(losses[-1] - loss)
    return Curve(tuple(costs), tuple(losses))


def spent(curves, chosen):
    return sum(c.costs[i] for c, i in zip(curves, chosen, strict=True))


def lost(curves, chosen):
    return sum(c.losses[i] for c, i in zip(curves, chosen, strict=True))


def best(curves, room):
    """The least loss of all choices that fit, by trying them all."""
    choices = product(*(range(len(c.costs)) for c in curves))
    return min(lost(curves, chosen) for chosen in choices if spent(curves, chosen) <= room)


@settings(deadline=None)
@given(st.lists(steps, min_size=1, max_size=4), st.booleans(), st.integers(0, 60))
def test_the_room_is_used_up_but_for_less_than_a_step(shapes, convex, extra):
    curves = [curve(shape, convex) for shape in shapes]
    room = len(curves) + extra
    chosen = least_loss(curves, room)
    assert spent(curves, chosen) <= room
    for c, i in zip(curves, chosen, strict=True):
        assert i + 1 == len(c.costs) or spent(curves, chosen) + c.costs[i + 1] - c.costs[i] > room


@settings(deadline=None)
@given(st.lists(steps, min_size=1, max_size=4), st.booleans(), st.integers(0, 60))
def test_the_loss_is_within_one_step_of_the_least(shapes, convex, extra):
    curves = [curve(shape, convex) for shape in shapes]
    room = len(curves) + extra
    most = max(c.losses[0] - c.losses[-1] for c in curves)  # a step between two corners saves no more
    assert best(curves, room) <= lost(curves, least_loss(curves, room)) <= best(curves, room) + most


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), min_size=1, max_size=4), st.integers(0, 16))
def test_equal_convex_steps_are_solved_exactly(falls, extra):
    curves = [curve([(1, fall) for fall in fall_list], convex=True) for fall_list in falls]
    room = len(curves) + extra
    assert lost(curves, least_loss(curves, room)) == best(curves, room)


def test_a_site_whose_last_units_are_worth_nothing_alone_is_cut_through():
    hump = Curve((1, 2, 3), (9, 9, 0))  # the second unit saves nothing without the third
    plain = Curve((1, 2, 3), (9, 6, 3))
    assert least_loss([hump, plain], 4) == [2, 0]
    assert least_loss([hump, plain], 3) == [0, 1]


def test_what_cannot_fit():
    assert least_loss([Curve((2, 3), (1, 0)), Curve((2, 3), (1, 0))], 3.5) is None
    assert least_loss([Curve((2, 3), (1, 0)), Curve((2, 3), (1, 0))], 4) == [0, 0]


def test_what_is_free_is_taken():
    assert least_loss([Curve((2, 2, 3), (5, 1, 0)), Curve((0, 0), (0, 0))], 2) == [1, 1]
