"""Models of video: tensors in, tensors out. A new model is a module with a `Config` and one line in MODELS."""

from model.baselines import Config as CopyLast
from model.interface import ModelConfig
from model.object_discovery.config import Config as ObjectDiscovery
from model.segnet.config import SegNet, SegNetFlow
from model.video_autoencoder.config import AEConv, AEConvLSTM, AEConvLSTMFlow, AEFcLSTM

MODELS: dict[str, type[ModelConfig]] = {
    "object-discovery": ObjectDiscovery,
    "ae-conv": AEConv,
    "ae-fclstm": AEFcLSTM,
    "ae-convlstm": AEConvLSTM,
    "ae-convlstm-flow": AEConvLSTMFlow,
    "segnet": SegNet,
    "segnet-flow": SegNetFlow,
    "copy-last": CopyLast,
}
