"""Translation of mml-core's pipelines and blueprints, and import of its project folders."""

from mlpipe.dialects.mml_core.files import Description, ForeignProject, Model, description, descriptions, project
from mlpipe.dialects.mml_core.translate import NAME, is_pipeline, translate

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
