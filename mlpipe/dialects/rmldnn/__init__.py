"""rmldnn's configurations: checked as its page describes them, then translated."""

from __future__ import annotations

from mlpipe.dialects.rmldnn.translate import APPS as APPS
from mlpipe.dialects.rmldnn.translate import translate as translate

__all__ = ["APPS", "translate"]
