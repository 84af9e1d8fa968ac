"""Generators do to data what they say, to the share of rows that was asked, and mark it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from vallum.attack import GENERATORS, Poisoned
from vallum.attack.poison import (
    blend,
    clean_label,
    feature_collision,
    flip_labels,
    flip_targeted,
    patch,
    sinusoid,
    warp,
)
from vallum.base import InputError

Images = tuple[NDArray[np.float64], NDArray[np.intp]]
CLEAN_LABEL = ("clean-label", "feature-collision", "sinusoid")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def images() -> Images:
    x = rng(1).uniform(0, 1, (400, 8, 8))
    return x, np.arange(400) % 4


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("shape", [(400, 8, 8), (400, 12, 10, 3), (400, 6)])
def test_the_share_is_poisoned_and_marked(name: str, shape: tuple[int, ...]) -> None:
    if name == "wanet" and len(shape) == 2:
        pytest.skip("a table cannot be bent")
    x, y = rng(1).uniform(0, 1, shape), np.arange(400) % 4
    made = GENERATORS[name](x, y, rate=0.05, rng=rng())
    assert made.mask.sum() == 20
    changed = (made.x != x).reshape(400, -1).any(axis=1) | (made.y != y)
    assert not changed[~made.mask].any(), "a row that is not marked was changed"
    assert changed[made.mask].mean() > 0.9
    assert ((made.y != y).any()) == (name not in CLEAN_LABEL)
    if name != "sinusoid" or len(shape) > 2:
        assert made.x.min() >= x.min()
        assert made.x.max() <= x.max()


@pytest.mark.parametrize("name", GENERATORS)
def test_the_same_generator_state_makes_the_same_poison(name: str, images: Images) -> None:
    def make(seed: int) -> Poisoned:
        return GENERATORS[name](*images, rate=0.1, rng=rng(seed))

    one, two, three = make(3), make(3), make(4)
    assert (one.x == two.x).all()
    assert (one.y == two.y).all()
    assert (one.mask == two.mask).all()
    assert (one.mask != three.mask).any()


def test_the_given_arrays_are_left_alone(images: Images) -> None:
    x, y = images[0].copy(), images[1].copy()
    for make in GENERATORS.values():
        make(x, y, rate=0.1, rng=rng())
    assert (x == images[0]).all()
    assert (y == images[1]).all()


def test_a_random_flip_never_keeps_the_label(images: Images) -> None:
    made = flip_labels(*images, rate=0.25, rng=rng())
    assert (made.y[made.mask] != images[1][made.mask]).all()
    assert set(made.y[made.mask]) == {0, 1, 2, 3}


def test_a_targeted_flip_goes_from_source_to_target_and_leaves_half_the_class() -> None:
    x, y = np.zeros((100, 2)), np.repeat(["a", "b"], 50)
    made = flip_targeted(x, y, rate=0.9, rng=rng(), source="a", target="b")
    assert made.mask.sum() == 25
    assert (y[made.mask] == "a").all()
    assert (made.y[made.mask] == "b").all()


def test_a_patch_lies_where_it_was_asked(images: Images) -> None:
    made = patch(*images, rate=0.05, rng=rng(), target=2, size=3, corner=(5, 0), value=1.0)
    assert (made.x[made.mask, 5:8, 0:3] == 1.0).all()
    assert (made.x[made.mask, :5] == images[0][made.mask, :5]).all()
    assert (made.y[made.mask] == 2).all()
    assert (images[1][made.mask] != 2).all()


def test_a_blend_mixes_in_one_pattern(images: Images) -> None:
    pattern = np.ones((8, 8))
    made = blend(*images, rate=0.05, rng=rng(), target=1, strength=0.25, pattern=pattern)
    expected = 0.75 * images[0][made.mask] + 0.25
    np.testing.assert_allclose(made.x[made.mask], expected)


def test_clean_labels_stay_within_their_class(images: Images) -> None:
    for make in (clean_label, feature_collision, sinusoid):
        made = make(*images, rate=0.9, rng=rng(), target=3)
        assert made.mask.sum() == 50, "half of the class at most"
        assert (images[1][made.mask] == 3).all()


def test_a_collision_draws_towards_one_row(images: Images) -> None:
    made = feature_collision(*images, rate=0.05, rng=rng(), target=0, strength=0.5)
    towards = 2 * made.x[made.mask] - images[0][made.mask]
    np.testing.assert_allclose(towards, np.broadcast_to(towards[0], towards.shape), atol=1e-12)


def test_a_warp_moves_by_about_the_pixels_that_were_asked() -> None:
    ramp = np.broadcast_to(np.arange(16.0), (40, 16, 16)).copy()
    made = warp(ramp, np.arange(40) % 2, rate=0.2, rng=rng(), target=0, strength=1.0)
    moved = np.abs(made.x[made.mask] - ramp[made.mask])[:, 4:12, 4:12].mean()
    assert 0.3 < moved < 2.5
    assert (made.x[made.mask] == made.x[made.mask][0]).all(), "one field for all"


@pytest.mark.parametrize(
    ("x", "y", "rate", "code"),
    [
        (np.zeros((4, 2)), np.array([0, 1, 0]), 0.5, "attack.poison.shape"),
        (np.zeros(4), np.array([0, 1, 0, 1]), 0.5, "attack.poison.shape"),
        (np.full((4, 2), np.nan), np.array([0, 1, 0, 1]), 0.5, "attack.poison.finite"),
        (np.zeros((4, 2)), np.array([0, 1, 0, 1]), 1.0, "attack.poison.rate"),
        (np.zeros((4, 2)), np.zeros(4), 0.5, "attack.poison.classes"),
    ],
)
def test_unusable_input_is_refused(
    x: NDArray[np.float64], y: NDArray[np.intp], rate: float, code: str
) -> None:
    with pytest.raises(InputError) as caught:
        flip_labels(x, y, rate=rate, rng=rng())
    assert caught.value.code == code


def test_an_unknown_class_and_a_bent_table_are_refused() -> None:
    x, y = np.zeros((10, 3)), np.arange(10) % 2
    with pytest.raises(InputError, match="no row has the class `7`"):
        patch(x, y, rate=0.2, rng=rng(), target=7)
    with pytest.raises(InputError, match="same class"):
        flip_targeted(x, y, rate=0.2, rng=rng(), source=1, target=1)
    with pytest.raises(InputError, match="only images"):
        warp(x, y, rate=0.2, rng=rng())
