"""All hostile inputs by what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.safety.corpus import (
    Hostile,
    archives,
    arrays,
    boxes,
    configurations,
    handed_over,
    loops,
    models,
    own_code,
    paths,
    pictures,
    projects,
    recipes,
    slow_readers,
    stored,
    weights,
)

GROUPS: Mapping[str, Sequence[Hostile]] = {
    "configurations": configurations.CASES,
    "recipes": recipes.CASES,
    "archives": archives.CASES,
    "pictures": pictures.CASES,
    "arrays and tables": arrays.CASES,
    "labels of boxes": boxes.CASES,
    "weights": weights.CASES,
    "exported models": models.CASES,
    "projects": projects.CASES,
    "what never ends, or stands for more than it is": loops.CASES,
    "what a library reads letter by letter": slow_readers.CASES,
    "stored files that were edited": stored.CASES,
    "what comes with models, data and searches": handed_over.CASES,
    "code that nobody named": own_code.CASES,
    "paths and links": paths.CASES,
}
