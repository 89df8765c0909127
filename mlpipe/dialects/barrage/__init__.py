"""Barrage's configurations: checked by its own rules, then translated."""

from __future__ import annotations

from mlpipe.dialects.barrage.translate import translate as translate

__all__ = ["translate"]
