"""Runs of the spatio-temporal video autoencoder and its baselines (arXiv 1511.06309)."""

from dataclasses import replace

from data_shards.loader import DataConfig
from model.video_autoencoder.autoencoder import Autoencoder
from model.video_autoencoder.convolutional import AEConv
from model.video_autoencoder.flow import AEConvLSTMFlow
from model.video_autoencoder.recurrent import AEConvLSTM, AEFcLSTM
from trainer.config import (
    BatchConfig,
    CheckpointConfig,
    EvaluationConfig,
    OptimConfig,
    RunConfig,
)


def autoencoder(model: Autoencoder, data: str, name: str, epoch: int) -> RunConfig:
    """The training of arXiv 1511.06309, section 4, for 100 epochs of `epoch` steps.

    The paper gives the optimiser and its schedule; batch, epochs and the range that gradients are clipped to are
    choices. The released code clips at 50, of losses that it sums over pixels.
    """
    every = 5 * epoch
    return RunConfig(
        model=model,
        data=DataConfig(f"runs/{data}"),
        batch=BatchConfig(size=16),
        optim=OptimConfig(lr=1e-4, clip_value=0.1, decay="exponential", decay_factor=0.9, decay_steps=every),
        checkpoint=CheckpointConfig(steps=every),
        evaluation=EvaluationConfig(steps=every),
        output=f"runs/{data}-{name}",
        steps=100 * epoch,
        log_steps=25,
    )


def moving_mnist(model: Autoencoder, name: str) -> RunConfig:
    """Moving MNIST (section 5.1): frame 11 from ten, for sets built with --frames 11 --train 10000 --val 3000.

    Networks start with the odds of a lit pixel, which the paper does not say; the flow network finds no motion
    otherwise.
    """
    return autoencoder(replace(model, output_bias=-3.0), "moving-mnist", name, epoch=625)


def moving_mnist_ae_conv() -> RunConfig:
    """AE-Conv on Moving MNIST: ten frames as channels, no memory."""
    return moving_mnist(AEConv(), "ae-conv")


def moving_mnist_ae_fclstm() -> RunConfig:
    """AE-fcLSTM on Moving MNIST: a fully connected memory of 33 million weights."""
    return moving_mnist(AEFcLSTM(), "ae-fclstm")


def moving_mnist_ae_convlstm() -> RunConfig:
    """AE-ConvLSTM on Moving MNIST: the best of Table 1."""
    return moving_mnist(AEConvLSTM(), "ae-convlstm")


def moving_mnist_ae_convlstm_flow() -> RunConfig:
    """AE-ConvLSTM-flow on Moving MNIST: the next frame by optical flow."""
    return moving_mnist(AEConvLSTMFlow(), "ae-convlstm-flow")


def hmdb51(model: Autoencoder, name: str) -> RunConfig:
    """Real video (section 5.1): frame 13 from twelve, in colour.

    For sets of `build hmdb51` and of `build video`, with --frames 13. The paper gives the loss, 12 frames fed and
    107,000 frames to train on, which are 8,230 such clips. Size and colour are choices; colour tells apart what is
    equally bright, and costs 3,138 of a million parameters. Networks start with a frame of middle brightness, which
    the paper does not say: from black the flow network may learn to sample outside the frame first, as on Moving
    MNIST. Nor does it hold the flow at zero for the first five epochs, after which frames can be copied: a start that
    small trials speak for.
    """
    return autoencoder(replace(model, data="real", channels=3, output_bias=0.5), "hmdb51", name, epoch=515)


def hmdb51_ae_convlstm() -> RunConfig:
    """AE-ConvLSTM on real video: the next frame without a notion of motion."""
    return hmdb51(AEConvLSTM(), "ae-convlstm")


def hmdb51_ae_convlstm_flow() -> RunConfig:
    """AE-ConvLSTM-flow on real video: the next frame, and the optical flow that leads to it."""
    return hmdb51(AEConvLSTMFlow(still_steps=2575), "ae-convlstm-flow")
