"""Translation of rmldnn's configurations, after a check against its documentation page."""

from __future__ import annotations

from mlpipe.dialects.rmldnn.translate import APPS as APPS
from mlpipe.dialects.rmldnn.translate import translate as translate

__all__ = ["APPS", "translate"]
