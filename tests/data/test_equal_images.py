"""Equal images, against a comparison of every pair."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.data.conftest import CLASSES
from tlcl.data.equal_images import digests, equal_groups
from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.jobs.outcome import duplicates


def pictures(kinds: list[int]) -> torch.Tensor:
    """An image a number, equal where these are: that many pixels are set, one channel after the other."""
    images = torch.zeros(len(kinds), 3, 2, 2, dtype=torch.uint8)
    for image, kind in zip(images, kinds, strict=True):
        image.view(-1)[:kind] = 255
    return images


KINDS = st.lists(st.integers(0, 12), min_size=1, max_size=20)


@given(KINDS, st.booleans())
def test_groups_are_those_of_all_pairs(kinds: list[int], turned: bool) -> None:
    images = pictures(kinds)
    if turned:  # the same images, their memory in another order
        images = images.to(memory_format=torch.channels_last)
    known = digests(images)
    for i, one in enumerate(images):
        for j, other in enumerate(images):
            assert (known[i] == known[j]) == torch.equal(one, other)
    groups = equal_groups(known)
    inside = [index for group in groups for index in group]
    assert len(inside) == len(set(inside))
    assert set(inside) == {index for index, kind in enumerate(kinds) if kinds.count(kind) > 1}
    assert all(len({kinds[index] for index in group}) == 1 < len(group) for group in groups)
    assert len({kinds[group[0]] for group in groups}) == len(groups)
    assert groups == sorted(map(sorted, groups))


@given(KINDS, KINDS)
def test_duplicates_count_test_images_that_are_in_the_pool(pool: list[int], test: list[int]) -> None:
    parts = (
        ImageTensors(pictures(kinds), torch.zeros(len(kinds), dtype=torch.long), CLASSES) for kinds in (pool, test)
    )
    assert duplicates(Source(*parts)) == sum(kind in pool for kind in test)
