"""Barrage's configurations: checked by its own rules, then translated."""

from __future__ import annotations
