"""The class that is looked for must be one of the task's, and the task one of classes or labels."""

from __future__ import annotations

from mlpipe.post.decision_options import positive_problems


def test_the_class_that_is_looked_for() -> None:
    assert positive_problems(None, "regression", ["n"]) == []
    assert positive_problems("ill", "classification", ["healthy", "ill"]) == []
    assert positive_problems(1, "multilabel", ["1", "2"]) == []
    (near,) = positive_problems("il", "classification", ["healthy", "ill"])
    assert near == "mode.positive: the task has none of that name, got 'il'; did you mean 'ill'?"
    (far,) = positive_problems("zebra", "classification", ["healthy", "ill"])
    assert "its classes are healthy, ill" in far
    assert "is for classes and labels, this task is regression" in positive_problems("n", "regression", ["n"])[0]
