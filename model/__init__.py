"""Models of video: tensors in, tensors out. A new model is a module with a `Config` and one line in MODELS."""

from model.baselines import Config as CopyLast
from model.interface import ModelConfig
from model.object_discovery.config import Config as ObjectDiscovery

MODELS: dict[str, type[ModelConfig]] = {
    "object-discovery": ObjectDiscovery,
    "copy-last": CopyLast,
}
