from __future__ import annotations

import pytest

import small_clip
from wordbrush.metrics.clip import Clip


@pytest.fixture(scope="session")
def clip() -> Clip:
    return small_clip.clip()
