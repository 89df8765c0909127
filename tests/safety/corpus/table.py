"""All hostile inputs by what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.safety.corpus import (
    Hostile,
    archives,
    arrays,
    configurations,
    own_code,
    paths,
    pictures,
    projects,
    recipes,
    weights,
)

GROUPS: Mapping[str, Sequence[Hostile]] = {
    "configurations": configurations.CASES,
    "recipes": recipes.CASES,
    "archives": archives.CASES,
    "pictures": pictures.CASES,
    "arrays and tables": arrays.CASES,
    "weights": weights.CASES,
    "projects": projects.CASES,
    "code that nobody named": own_code.CASES,
    "paths and links": paths.CASES,
}
