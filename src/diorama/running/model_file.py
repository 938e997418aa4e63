"""Model files under the name the verbs use; the code lies in `diorama.export`, which prediction may import too."""

from diorama.export.config import ModelConfig, label_set, read_config
from diorama.export.model_file import load_model, save_model

__all__ = ["ModelConfig", "label_set", "load_model", "read_config", "save_model"]
