"""Models of video: tensors in, tensors out. A new model is a module with a `Config` and one line in MODELS."""

from model.baselines import Config as CopyLast
from model.expectation.model import NEM, RNEM
from model.interface import ModelConfig
from model.iterative.model import IODINE, SeqIODINE, STIterative
from model.object_discovery.model import Config as ObjectDiscovery
from model.segnet.flow import SegNetFlow
from model.segnet.frames import SegNet
from model.sqair.model import AIR, MLPSQAIR, ConvSQAIR
from model.video_autoencoder.convolutional import AEConv
from model.video_autoencoder.flow import AEConvLSTMFlow
from model.video_autoencoder.recurrent import AEConvLSTM, AEFcLSTM
from model.vrnn.model import MLPVRNN, ConvVRNN

MODELS: dict[str, type[ModelConfig]] = {
    "object-discovery": ObjectDiscovery,
    "ae-conv": AEConv,
    "ae-fclstm": AEFcLSTM,
    "ae-convlstm": AEConvLSTM,
    "ae-convlstm-flow": AEConvLSTMFlow,
    "segnet": SegNet,
    "segnet-flow": SegNetFlow,
    "air": AIR,
    "sqair-mlp": MLPSQAIR,
    "sqair-conv": ConvSQAIR,
    "vrnn-mlp": MLPVRNN,
    "vrnn-conv": ConvVRNN,
    "iodine": IODINE,
    "seq-iodine": SeqIODINE,
    "st-iterative": STIterative,
    "n-em": NEM,
    "r-nem": RNEM,
    "copy-last": CopyLast,
}
