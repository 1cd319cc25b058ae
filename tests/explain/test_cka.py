"""Centred kernel alignment: against its definitions, its invariances, and between a network before and after."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tlcl.explain.cka import block_similarities, copy_before_training, linear_cka, similarities_on
from tlcl.models.build import build_model
from tlcl.models.resnet18 import ResNet18Config
from tlcl.reports.plots.cka import cka_bars

CPU = torch.device("cpu")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def hsic_by_counting(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
    """HSIC = E k(x,x') l(y,y') + E k(x,x') E l(y,y') - 2 E k(x,x') l(y,y'') over all tuples of different images."""
    n = len(k)
    pairs = np.mean([k[i, j] * l[i, j] for i, j in itertools.permutations(range(n), 2)])
    fours = np.mean([k[i, j] * l[q, r] for i, j, q, r in itertools.permutations(range(n), 4)])
    threes = np.mean([k[i, j] * l[i, q] for i, j, q in itertools.permutations(range(n), 3)])
    return float(pairs + fours - 2 * threes)


def test_equals_the_unbiased_definition_counted_out() -> None:
    x, y = normal(7, 3).double(), normal(7, 3).double() + normal(7, 3, seed=1).double()
    k, l = (x @ x.T).numpy(), (y @ y.T).numpy()  # noqa: E741
    expected = hsic_by_counting(k, l) / math.sqrt(hsic_by_counting(k, k) * hsic_by_counting(l, l))
    assert linear_cka(x, y) == pytest.approx(expected, abs=1e-5)


def test_tends_to_the_papers_own_for_many_images() -> None:
    """Kornblith et al. 2019: ||Y^T X||_F^2 / (||X^T X||_F ||Y^T Y||_F) of centred columns, and by tr(KHLH)."""
    x = normal(1000, 6)
    y = x[:, :4] @ normal(4, 5, seed=1) + normal(1000, 5, seed=2)
    a, b = (part.double() - part.double().mean(0) for part in (x, y))
    by_columns = float((b.T @ a).norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm()))
    h = torch.eye(1000, dtype=torch.float64) - 1 / 1000
    k, l = x.double() @ x.double().T, y.double() @ y.double().T  # noqa: E741
    kh, lh = k @ h, l @ h
    by_grams = float((kh * lh.T).sum() / torch.sqrt((kh * kh.T).sum() * (lh * lh.T).sum()))
    assert by_grams == pytest.approx(by_columns, rel=1e-9)
    assert linear_cka(x, y) == pytest.approx(by_columns, abs=5e-3)
    assert 0.2 < by_columns < 0.9


def test_invariances() -> None:
    """Same for rotated, mirrored, scaled and shifted outputs; not for a stretch of one direction; symmetric."""
    x, y = normal(40, 8), normal(40, 3, seed=1) + normal(40, 8)[:, :3]
    rotation = torch.linalg.qr(normal(8, 8, seed=2))[0]
    value = linear_cka(x, y)
    assert linear_cka(y, x) == pytest.approx(value, abs=1e-6)
    for same in (x @ rotation, -3.5 * x, x + 100 * normal(8, seed=3), torch.cat([x, torch.zeros(40, 5)], 1)):
        assert linear_cka(same, y) == pytest.approx(value, abs=1e-4)
        assert linear_cka(same, x) == pytest.approx(1, abs=1e-4)
    stretched = x * torch.tensor([10.0] + [1.0] * 7)
    assert linear_cka(stretched, x) < 0.8
    images = normal(40, 2, 2, 2, seed=4)
    assert linear_cka(images, y) == linear_cka(images.flatten(1), y)


def test_unrelated_outputs_have_zero_on_average_however_many_there_are() -> None:
    """Where the biased estimator says nearly 1: 30 images, 2,000 outputs."""
    values = [linear_cka(normal(30, 2000, seed=2 * i), normal(30, 2000, seed=2 * i + 1)) for i in range(40)]
    assert abs(np.mean(values)) < 0.03
    assert min(values) < 0 < max(values)


def test_degenerate_input() -> None:
    assert math.isnan(linear_cka(torch.zeros(9, 3), normal(9, 3)))
    with pytest.raises(ValueError, match="4 images"):
        linear_cka(normal(3, 2), normal(3, 2))
    with pytest.raises(ValueError, match="not 5 and 6"):
        linear_cka(normal(5, 2), normal(6, 2))


def test_blocks_before_the_first_change_are_exactly_alike() -> None:
    """And the shortcut for them gives what the whole networks give."""
    before, _ = build_model(ResNet18Config("resnet18", "none", 32), 10, seed=0)
    after = copy.deepcopy(before)
    with torch.no_grad():
        for parameter in after.block("layer3").parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5))
    images = torch.randint(0, 256, (24, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(6))
    values = block_similarities(before, after, images, CPU, "32-true")
    assert list(values) == ["stem", "layer1", "layer2", "layer3", "layer4"]
    assert [values[name] for name in ("stem", "layer1", "layer2")] == [1.0, 1.0, 1.0]
    with torch.no_grad():
        for name in values:
            whole = linear_cka(before.eval()(images, stop=name), after.eval()(images, stop=name))
            assert values[name] == pytest.approx(whole, abs=1e-6)
    assert values["layer3"] is not None
    assert values["layer3"] < 0.999
    again = copy.deepcopy(before)
    again.block("stem").bn1.running_mean += 1  # type: ignore[union-attr,operator]
    assert block_similarities(before, again, images, CPU, "32-true")["stem"] != 1  # statistics count as weights


def test_the_copy_shares_what_is_frozen_and_keeps_what_is_not() -> None:
    net, _ = build_model(ResNet18Config("resnet18", "none", 32), 10, seed=0)
    kept = copy_before_training(net, {"layer4", "head"})
    for name in net.names:
        assert (kept.block(name) is net.block(name)) == (name not in ("layer4", "head"))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with torch.no_grad():
        for name in ("layer4", "head"):
            for parameter in net.block(name).parameters():
                parameter += 1
    assert all(torch.equal(value, before[name]) for name, value in kept.state_dict().items())


def test_the_images_are_the_same_in_every_run_and_few_images_give_nothing() -> None:
    net, _ = build_model(ResNet18Config("resnet18", "none", 32), 10, seed=0)
    images = torch.randint(0, 256, (300, 1, 8, 8), dtype=torch.uint8)
    found = similarities_on(images, net, copy.deepcopy(net), CPU, "32-true")
    assert found == {"images": 256, "blocks": dict.fromkeys(net.names[:-1], 1.0)}
    assert similarities_on(images[:3], net, net, CPU, "32-true") is None


def test_the_images_are_drawn_by_what_they_are_not_by_their_place() -> None:
    """Files that are sorted by class in one folder and by date in another give the same figure, to the bit."""
    before, _ = build_model(ResNet18Config("resnet18", "none", 32), 10, seed=0)
    after, _ = build_model(ResNet18Config("resnet18", "none", 32), 10, seed=1)
    images = torch.randint(0, 256, (400, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(400, generator=torch.Generator().manual_seed(1))
    found = [similarities_on(one, before, after, CPU, "32-true") for one in (images, images[order])]
    assert found[0] == found[1]


def test_the_picture_says_what_was_frozen_and_what_has_no_value() -> None:
    blocks = {"stem": 1.0, "layer1": 0.5, "layer2": None, "layer3": -0.02}
    axes = cka_bars(blocks, ["layer1", "layer2", "layer3", "head"], 20).axes[0]
    assert [text.get_text() for text in axes.texts] == ["1.00, frozen", "0.500", "–", "-0.0200"]
    assert [bar.get_width() for bar in axes.patches] == [1.0, 0.5, 0, 0]  # type: ignore[attr-defined]
    assert len({bar.get_facecolor() for bar in axes.patches}) == 2
    assert [label.get_text() for label in axes.get_yticklabels()] == list(blocks)
    assert "20 test images" in axes.get_xlabel()
