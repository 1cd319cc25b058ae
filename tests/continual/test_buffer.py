"""The rehearsal buffer: a uniform sample of the stream, whatever the batches, that survives being saved."""

import io
from itertools import pairwise

import pytest
import torch
from scipy import stats
from torch import Tensor

from tlcl.continual.buffer import RehearsalBuffer, reservoir_slots

CUTS = {
    "odd batches": [0, 1, 8, 9, 12, 25, 30, 43, 60],
    "one by one": list(range(61)),
    "one batch": [0, 60],
}


def stream_of(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, labels and logits that all name their place in the stream."""
    places = torch.arange(count)
    return (
        places[:, None].float() + torch.tensor([0.0, 0.25]),
        places,
        places[:, None] * torch.tensor([1.0, -1.0, 0.5]),
    )


def filled(cuts: list[int], capacity: int, seed: int, logits: bool = False) -> RehearsalBuffer:
    buffer = RehearsalBuffer(capacity, (2,), torch.float32, num_logits=3 if logits else 0)
    random = torch.Generator().manual_seed(seed)
    inputs, labels, outputs = stream_of(cuts[-1])
    for start, stop in pairwise(cuts):
        buffer.add(inputs[start:stop], labels[start:stop], random, outputs[start:stop] if logits else None)
    return buffer


@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
def test_every_place_in_the_stream_is_kept_equally_often(cuts: list[int]) -> None:
    """Chi-squared over 1500 seeds.

    Without replacement the counts' covariance is that of a multinomial times (1 - 1/6) 60/59, which the statistic
    is divided by.
    """
    seeds, total, capacity = 1500, cuts[-1], 10
    kept = torch.zeros(total)
    for seed in range(seeds):
        labels = filled(cuts, capacity, seed).labels
        assert len(set(labels.tolist())) == capacity
        kept[labels] += 1
    expected = seeds * capacity / total
    statistic = float(((kept - expected) ** 2 / expected).sum()) / ((1 - capacity / total) * total / (total - 1))
    assert 1e-4 < stats.chi2.sf(statistic, total - 1) < 1 - 1e-4
    for part in (kept[:capacity], kept[capacity:30], kept[30:]):  # filled at first, and early and late arrivals
        assert float(part.mean()) == pytest.approx(expected, rel=0.05)


def test_a_slot_beyond_the_first_fill_is_taken_uniformly() -> None:
    """An example that replaces another takes each slot equally often: chi-squared over 4000 seeds."""
    taken = torch.zeros(8)
    for seed in range(4000):
        for slot in reservoir_slots(12, 1, 8, torch.Generator().manual_seed(seed)):
            taken[slot] += 1
    assert stats.chisquare(taken).pvalue > 1e-4
    assert int(taken.sum()) == pytest.approx(4000 * 8 / 13, rel=0.05)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("capacity", [1, 7, 59, 60, 100])
def test_batches_and_single_examples_fill_alike(seed: int, capacity: int) -> None:
    """The same draws, one for each example, give the same buffer however the stream is cut."""
    buffers = [filled(cuts, capacity, seed, logits=True) for cuts in CUTS.values()]
    for other in buffers[1:]:
        for name in ("inputs", "labels", "logits"):
            assert torch.equal(getattr(buffers[0], name), getattr(other, name))
        assert other.offered == buffers[0].offered == 60


def test_algorithm_r_written_out() -> None:
    """Against the algorithm one example at a time, in a batch that replaces some slots more than once."""
    for seed in range(50):
        draws = torch.rand(60, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()
        slots: list[int] = []
        for number, draw in enumerate(draws):
            if number < 5:
                slots.append(number)
            elif int(draw * (number + 1)) < 5:
                slots[int(draw * (number + 1))] = number
        assert filled([0, 60], 5, seed).labels.tolist() == slots


def test_a_short_stream_is_kept_whole_and_in_order() -> None:
    buffer = filled([0, 3, 4], capacity=10, seed=0)
    assert len(buffer) == 4
    assert buffer.labels[:4].tolist() == [0, 1, 2, 3]
    assert buffer.sample(10, torch.Generator()).labels.sort().values.tolist() == [0, 1, 2, 3]  # type: ignore[union-attr]


def test_an_empty_buffer_gives_nothing_and_draws_nothing() -> None:
    random = torch.Generator().manual_seed(3)
    before = random.get_state()
    assert RehearsalBuffer(4, (2,), torch.float32).sample(3, random) is None
    assert torch.equal(before, random.get_state())


@pytest.mark.parametrize("count", [1, 4, 9, 10])
def test_samples_are_different_examples(count: int) -> None:
    buffer, random = filled([0, 60], 10, seed=1), torch.Generator().manual_seed(2)
    for _ in range(50):
        stored = buffer.sample(count, random)
        assert stored is not None
        assert len(stored.inputs) == len(stored.labels) == count
        assert len(set(stored.labels.tolist())) == count
        assert set(stored.labels.tolist()) <= set(buffer.labels.tolist())


def test_samples_are_uniform() -> None:
    """Each of 10 examples is drawn equally often in 4000 samples of 3 (counts without replacement, see above)."""
    buffer, random = filled([0, 10], 10, seed=1), torch.Generator().manual_seed(2)
    drawn = torch.zeros(10)
    for _ in range(4000):
        drawn[buffer.sample(3, random).labels] += 1  # type: ignore[union-attr]
    statistic = float(((drawn - 1200) ** 2 / 1200).sum()) / (0.7 * 10 / 9)
    assert 1e-4 < stats.chi2.sf(statistic, 9) < 1 - 1e-4


def test_logits_and_labels_stay_with_their_example() -> None:
    buffer = filled(CUTS["odd batches"], 10, seed=4, logits=True)
    stored = buffer.sample(7, torch.Generator().manual_seed(0))
    assert stored is not None
    assert stored.logits is not None
    inputs, _, logits = stream_of(60)
    assert torch.equal(stored.inputs, inputs[stored.labels])
    assert torch.equal(stored.logits, logits[stored.labels])


def test_without_logits_none_are_given() -> None:
    stored = filled([0, 20], 10, seed=4).sample(3, torch.Generator())
    assert stored is not None
    assert stored.logits is None


def test_stored_examples_are_copies_and_images_stay_uint8() -> None:
    buffer = RehearsalBuffer(3, (1, 2, 2), torch.uint8)
    images = torch.full((3, 1, 2, 2), 200, dtype=torch.uint8)
    buffer.add(images, torch.zeros(3, dtype=torch.int64), torch.Generator())
    images.zero_()
    stored = buffer.sample(3, torch.Generator())
    assert stored is not None
    assert stored.inputs.dtype == torch.uint8
    assert bool((stored.inputs == 200).all())


def test_state_survives_saving() -> None:
    """Also `offered`: a buffer that forgot it would go on as if the stream had just begun."""
    buffer = filled([0, 40], 10, seed=5, logits=True)
    file = io.BytesIO()
    torch.save(buffer.state_dict(), file)
    file.seek(0)
    other = RehearsalBuffer(10, (2,), torch.float32, num_logits=3)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.offered == 40
    assert len(other) == 10
    inputs, labels, logits = (part + 100 for part in stream_of(20))
    for one in (buffer, other):
        one.add(inputs, labels, torch.Generator().manual_seed(6), logits)
    for name in ("inputs", "labels", "logits"):
        assert torch.equal(getattr(buffer, name), getattr(other, name))
    assert 0 < int((other.labels >= 100).sum()) < 10


def test_replace_holds_exactly_these() -> None:
    buffer = filled([0, 40], 10, seed=5)
    inputs, labels, _ = stream_of(4)
    buffer.replace(inputs, labels + 7)
    stored = buffer.sample(10, torch.Generator().manual_seed(0))
    assert stored is not None
    assert len(buffer) == 4
    order = stored.labels.argsort()
    assert stored.labels[order].tolist() == [7, 8, 9, 10]
    assert torch.equal(stored.inputs[order], inputs)
