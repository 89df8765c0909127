"""The class that is looked for must be one of the task's, and the task one of classes or labels."""

from __future__ import annotations

from dataclasses import replace

from mlpipe.post import kind as post_kind
from mlpipe.post.decision_options import DecisionOptions, positive_problems


def test_the_class_that_is_looked_for() -> None:
    assert positive_problems(None, "regression", ["n"]) == []
    assert positive_problems("ill", "classification", ["healthy", "ill"]) == []
    assert positive_problems(1, "multilabel", ["1", "2"]) == []
    (near,) = positive_problems("il", "classification", ["healthy", "ill"])
    assert near == "mode.positive: the task has none of that name, got 'il'; did you mean 'ill'?"
    (far,) = positive_problems("zebra", "classification", ["healthy", "ill"])
    assert "its classes are healthy, ill" in far
    assert "is for classes and labels, this task is regression" in positive_problems("n", "regression", ["n"])[0]


def test_a_share_to_reach_needs_a_threshold_that_reaches_one() -> None:
    """`mode.at_least` did nothing without one."""
    criteria = post_kind.of("classification").CRITERIA
    for threshold, count in ((None, 1), ("f1", 1), ("sensitivity", 0), ("specificity", 0)):
        options = DecisionOptions(0.1, "lac", "marginal", threshold, None, at_least=0.99)
        wrong = options.problems("classification", ["a", "b"], criteria)
        assert [sentence.split(":")[0] for sentence in wrong] == ["mode.at_least"] * count
        assert not replace(options, at_least=0.95).problems("classification", ["a", "b"], criteria)
