"""Facts of masks: a class with a pixel is there, however large the mask."""

from __future__ import annotations

import math

import pytest

from mlpipe.data.sources.targets.mask_files import Mask, Values

VALUES = Values(("background", "lesion"), (0, 255), None)


@pytest.mark.parametrize(("pixels", "share"), [(0, 0.0), (1, 1e-6), (12, 3e-6), (4000, 0.001)])
def test_a_class_with_a_pixel_has_a_share(pixels: int, share: float) -> None:
    """One pixel of four million was rounded to none, and its image taken for one without a lesion."""
    shares = VALUES.shares(Mask("", {0: 4_000_000 - pixels, 255: pixels}, 2000, 2000))
    assert shares == pytest.approx((1 - pixels / 4_000_000, share), abs=1e-6)
    assert shares[1] == share


def test_without_pixels_that_count_there_are_no_shares() -> None:
    assert all(math.isnan(share) for share in VALUES.shares(Mask("", {7: 100}, 10, 10)))
