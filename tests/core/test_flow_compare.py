"""Comparing probes: what is measured, when a model departs, and what is odd in its outputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, ortho_group
from weightwalk.core.errors import CheckpointError, SettingsError
from weightwalk.core.flow.compare import Comparison, compare, first_nonfinite, massive
from weightwalk.core.flow.departure import allowed, prompts_needed, sign_test
from weightwalk.core.flow.probe import Output, Probe, ProbeInfo, Prompt

Array = npt.NDArray[np.float64]
LAYERS, PROMPTS, FEATURES = 12, 16, 48


def probe_of(
    states: Sequence[Sequence[npt.ArrayLike]] | Array, output: Output = "hidden", label: str = "a"
) -> Probe:
    """Return a probe of states [prompt][layer] of shape (features,) or (tokens, features)."""
    kept = [[np.atleast_2d(np.asarray(s, np.float32)) for s in layers] for layers in states]
    counts = [len(layers[0]) for layers in kept]
    prompts = [
        Prompt(f"prompt {i}", "", tuple("abcdefgh"[: n + 1]), tuple(range(1, n + 1)))
        for i, n in enumerate(counts)
    ]
    names = tuple(f"layers.{i}" for i in range(len(kept[0])))
    info = ProbeInfo(label, "", "llama", "Llama", "float32", "cpu", names, tuple(prompts))
    return Probe(info, {(i, output): tuple(layers) for i, layers in enumerate(kept)})


def states(seed: int = 0, prompts: int = PROMPTS, layers: int = LAYERS) -> Array:
    """Return states as a model's are: features of different spread about a middle of their own."""
    rng = np.random.default_rng(seed)
    middle, spread = rng.standard_normal((2, 1, layers, FEATURES))
    return middle + np.exp(spread) * rng.standard_normal((prompts, layers, FEATURES))


def shifted(h: Array, size: float, layer: int, seed: int = 1) -> Array:
    """Move all prompts from a layer on by so many standard deviations of theirs, in one way."""
    way = np.random.default_rng(seed).standard_normal(h.shape[1:])
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    spread = np.einsum("plf,lf->pl", h, way).std(axis=0, ddof=1)
    g = h.copy()
    g[:, layer:] += (size * spread[:, None] * way)[layer:]
    return g


def against(g: Array, h: Array) -> Comparison:
    return compare(probe_of(g), probe_of(h))


@pytest.mark.parametrize("layer", [0, 7, LAYERS - 1])
def test_departs_where_the_prompts_begin_to_move_together(layer: int) -> None:
    h = states()
    found = against(shifted(h, 5.0, layer), h)
    assert found.departs == layer
    assert found.said.startswith(f"departs at layer {layer} (layers.{layer}): there 16 of 16")
    assert found.p[layer] == 2.0**-16 < found.needed == 0.05 / LAYERS
    np.testing.assert_allclose(np.median(found.shift, axis=0)[layer:], 5.0, rtol=0.1)


def test_stays_where_they_move_by_less_than_their_spread() -> None:
    h = states()
    assert against(shifted(h, 1.5, 3), h).departs is None


def test_prompts_beyond_two_standard_deviations_are_counted() -> None:
    h = states()
    found = against(shifted(h, 2.0, 0), h)
    shift = np.array(found.shift)
    assert ((shift > 1.9) & (shift < 2.0)).any()  # else this would show nothing
    beyond = (shift > 2.0).sum(axis=0)
    expected = [binomtest(int(n), PROMPTS, 0.5, "greater").pvalue for n in beyond]
    np.testing.assert_allclose(found.p, expected)


def test_a_model_does_not_depart_from_itself() -> None:
    found = against(states(), states())
    assert found.departs is None
    assert found.said.startswith("does not depart: at no layer")
    for table in (found.relative, found.angle, found.norm, found.shift):
        assert table == ((0.0,) * LAYERS,) * PROMPTS


@pytest.mark.parametrize("noise", [0.01, 0.1, 0.3])
def test_noise_does_not_depart(noise: float) -> None:
    rng = np.random.default_rng(5)
    for seed in range(20):
        h = states(seed)
        length = np.linalg.norm(h, axis=2, keepdims=True) / FEATURES**0.5
        assert against(h + noise * length * rng.standard_normal(h.shape), h).departs is None


def test_a_collapse_to_one_point_departs() -> None:
    h = states()
    assert against(np.broadcast_to(states(9)[0], h.shape), h).departs == 0


def test_falling_together_is_no_moving_together() -> None:
    """As `departure` says: what is drawn to its own middle has not moved with the others."""
    h = states()
    middle = h.mean(axis=0)
    found = against(middle + 0.1 * (h - middle), h)
    assert found.departs is None
    assert np.median(found.relative) > 0.5


def test_massive_activations_of_a_few_do_not_hide_the_others() -> None:
    """With a mean of changes as they are, these four would be the direction of all."""
    h = states()
    g = shifted(h, 5.0, 4)
    g[:4, 6:, 3] += 1e5 * np.array([1.0, -0.4, 0.7, 0.3])[:, None]
    found = against(g, h)
    assert found.departs == 4
    assert (np.array(found.shift)[:, 4:] > 2.0).sum(axis=0).min() >= 12


def test_the_shift_is_what_it_is_said_to_be() -> None:
    h = states(2)
    g = states(3)
    found = against(g, h)
    g32, h32 = g.astype(np.float32).astype(float), h.astype(np.float32).astype(float)
    for layer, i in ((0, 0), (5, 7), (11, 15)):
        a, b = g32[:, layer], h32[:, layer]
        others = [j for j in range(PROMPTS) if j != i]
        way = sum((a[j] - b[j]) / np.linalg.norm(a[j] - b[j]) for j in others)
        way /= np.linalg.norm(way)
        expected = (a[i] - b[i]) @ way / np.std([b[j] @ way for j in others], ddof=1)
        assert found.shift[i][layer] == pytest.approx(expected, rel=1e-9)
        cosine = a[i] @ b[i] / np.linalg.norm(a[i]) / np.linalg.norm(b[i])
        length = np.linalg.norm(b[i])
        assert found.relative[i][layer] == pytest.approx(np.linalg.norm(a[i] - b[i]) / length)
        assert found.angle[i][layer] == pytest.approx(1 - cosine)
        assert found.norm[i][layer] == pytest.approx(np.linalg.norm(a[i]) / length - 1)


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_sign_test_is_exact(beyond: int, more: int) -> None:
    tested = beyond + more
    chance = 1.0 if not tested else binomtest(beyond, tested, alternative="greater").pvalue
    assert sign_test(beyond, tested) == pytest.approx(chance)


@pytest.mark.parametrize("layers", [1, 12, 30, 200])
def test_so_many_prompts_are_needed(layers: int) -> None:
    needed = prompts_needed(layers)
    h = states(prompts=needed, layers=layers)
    assert 0.5**needed < allowed(layers) <= 0.5 ** (needed - 1)
    assert against(shifted(h, 50.0, 0), h).departs == 0
    few = against(shifted(h, 50.0, 0)[1:], h[1:])
    assert few.departs is None
    assert few.said == (
        f"{needed - 1} prompts are too few to tell departing from the prompts' own spread; "
        f"{needed} would do"
    )


@pytest.mark.parametrize("prompts", [1, 2])
def test_without_others_there_is_no_shift(prompts: int) -> None:
    h = states(prompts=prompts)
    found = against(2 * h, h)
    assert found.shift == ()
    assert found.departs is None
    assert np.allclose(found.relative, 1.0)


def test_a_prompt_with_nan_is_left_out_where_it_has_it() -> None:
    h = states()
    g = shifted(h, 5.0, 3)
    g[2, 5:, 0], h[4, 8, 1] = np.nan, np.inf
    found = against(g, h)
    assert found.departs == 3
    assert found.said.endswith(
        "prompts with NaN or infinite values are left out at 7 layers from layer 5 (layers.5) on"
    )
    missing = np.isnan(found.shift)
    assert missing[2, 5:].all()
    assert missing[4, 8]
    assert missing.sum() == np.isnan(found.relative).sum() == LAYERS - 5 + 1
    assert found.p[8] == 2.0**-14


def test_where_all_is_nan_nothing_is_claimed() -> None:
    h = states()
    g = h.copy()
    g[:, 5:] = np.nan
    said = against(g, h).said
    assert said.startswith("does not depart where it can be tested: ")
    assert "too few prompts are left to test 7 layers from layer 5 (layers.5) on" in said
    assert against(g * np.nan, h).said.startswith("cannot be tested: ")


def test_states_that_are_all_alike_have_no_spread_to_depart_from() -> None:
    h = np.broadcast_to(states()[0], (PROMPTS, LAYERS, FEATURES))
    assert against(h, h).departs is None
    moved = against(h + 1.0, h)
    assert moved.departs is None
    assert "prompts whose reference states are alike are left out" in moved.said


def test_states_of_length_zero() -> None:
    zero, h = np.zeros((PROMPTS, LAYERS, FEATURES)), states()
    assert against(zero, zero).relative == ((0.0,) * LAYERS,) * PROMPTS
    assert np.isnan(against(h, zero).relative).all()
    assert np.allclose(against(zero, h).norm, -1.0)


def test_layers_of_different_sizes() -> None:
    sizes = [(4, 8), (2, 16), (1, 32)]
    rng = np.random.default_rng(0)
    h = [[rng.standard_normal(size) for size in sizes] for _ in range(PROMPTS)]
    g = [[a + 3.0 * (layer > 0) for layer, a in enumerate(layers)] for layers in h]
    assert compare(probe_of(g), probe_of(h)).departs == 1


def test_what_cannot_be_compared() -> None:
    h = states()
    for other, why in (
        (probe_of(h[:, 1:], label="b"), "a and b cannot be compared: 12 layers and 11 layers"),
        (probe_of(h[1:]), "16 prompts and 15 prompts"),
        (probe_of(h[..., 1:]), "48 and 47 features at layer 0"),
    ):
        with pytest.raises(CheckpointError, match=why):
            compare(probe_of(h), other)
    with pytest.raises(SettingsError, match="prompt 1 has 1 kept tokens at layer 0, and none"):
        compare(probe_of(h), probe_of(h), token=3)
    with pytest.raises(CheckpointError, match="there is no mlp of prompt 1"):
        compare(probe_of(h), probe_of(h), "mlp")
    with pytest.raises(SettingsError, match="have no distance"):
        compare(probe_of(h, "router"), probe_of(h, "router"), "router")


@given(st.integers(0, 1000), st.floats(0.0, 6.0))
def test_what_changes_nothing(seed: int, size: float) -> None:
    """The order of prompts, the unit of both models, and the choice of axes."""
    h = states(seed, prompts=10, layers=4)
    g = shifted(h, size, 1, seed) + 0.01 * states(seed + 1, prompts=10, layers=4)
    g, h = g.astype(np.float32).astype(float), h.astype(np.float32).astype(float)
    found = against(g, h)
    order = np.random.default_rng(seed).permutation(10)
    permuted = against(g[order], h[order])
    scaled = against(g * 2.0**20, h * 2.0**20)
    turn = ortho_group.rvs(FEATURES, random_state=seed)
    turned = against(g @ turn, h @ turn)
    for name in ("relative", "angle", "norm", "shift"):
        table = np.array(getattr(found, name))
        np.testing.assert_allclose(getattr(permuted, name), table[order], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(getattr(scaled, name), table, rtol=1e-9, atol=1e-12)
        # Turned states are rounded to float32.
        np.testing.assert_allclose(getattr(turned, name), table, rtol=1e-3, atol=1e-4)
    assert found.departs == permuted.departs == scaled.departs


def test_massive_activations_are_found_where_they_are() -> None:
    rng = np.random.default_rng(0)
    h = rng.standard_normal((2, 3, 4, 200))  # prompt, layer, token, feature
    h[1, 2, 3, 17], h[0, 1, 0, 5] = -900.0, 300.0
    first, second = massive(probe_of(h))
    assert (first.prompt, first.layer, first.token, first.feature) == (1, 2, 4, 17)
    assert (first.text, first.value) == ("e", -900.0)
    assert first.ratio == pytest.approx(900 / np.median(np.abs(h[1, 2])), rel=1e-6)
    assert (second.prompt, second.layer, second.token, second.feature) == (0, 1, 1, 5)


@given(st.integers(0, 10**6), st.floats(0.0, 3.0), st.booleans())
def test_massive_activations_are_those_above_a_hundred_medians(
    seed: int, tail: float, odd: bool
) -> None:
    rng = np.random.default_rng(seed)
    values = (np.exp(tail * rng.standard_normal((3, 21 + odd)))).astype(np.float32)
    values[rng.random(values.shape) < 0.05] = rng.choice([np.nan, np.inf, 0.0])
    known = np.abs(values[np.isfinite(values)])
    expected = known[known > np.float32(100.0 * np.median(known))]
    found = massive(probe_of([[values]]))
    assert sorted(m.value for m in found) == sorted(expected.tolist())
    assert [m.ratio for m in found] == sorted((m.ratio for m in found), reverse=True)


def test_without_a_median_nothing_is_massive() -> None:
    values = np.zeros((1, 1, 100))
    values[..., 3] = 5.0
    assert massive(probe_of(values)) == ()
    assert massive(probe_of(values * np.nan)) == ()


def test_where_values_that_are_not_finite_begin() -> None:
    h = states(prompts=3)
    assert first_nonfinite(probe_of(h)) is None
    h[1, 4, 7] = np.inf
    assert first_nonfinite(probe_of(h)) == "infinite values in layers.4 (prompt 2)"
    h[1:, 3:, 5] = np.nan
    said = "NaN from layers.3 on (2 of 3 prompts, the first is prompt 2)"
    assert first_nonfinite(probe_of(h)) == said
    assert first_nonfinite(probe_of(h[1:2])) == "NaN from layers.3 on"
