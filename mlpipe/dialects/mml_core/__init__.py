"""mml-core's pipelines and blueprints, and what its project folders hold."""

from mlpipe.dialects.mml_core.pipeline import NAME, is_pipeline, translate
from mlpipe.dialects.mml_core.project import Description, ForeignProject, Model, description, descriptions, project

__all__ = [
    "NAME",
    "Description",
    "ForeignProject",
    "Model",
    "description",
    "descriptions",
    "is_pipeline",
    "project",
    "translate",
]
