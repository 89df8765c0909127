"""Translation of Barrage's configurations, after a check by its own rules."""

from __future__ import annotations

from mlpipe.dialects.barrage.translate import translate as translate

__all__ = ["translate"]
