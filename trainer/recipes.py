"""RECIPES: named runs, functions that return a complete config. `python -m trainer recipes` lists them."""

from collections.abc import Callable
from dataclasses import replace

from data_shards.loader import DataConfig
from model.object_discovery.config import Config as ObjectDiscovery
from model.schedule import Ramp
from model.segnet.config import SegNet, SegNetFlow
from model.video_autoencoder.config import AEConv, AEConvLSTM, AEConvLSTMFlow, AEFcLSTM, Autoencoder
from trainer.config import (
    BatchConfig,
    CheckpointConfig,
    EngineConfig,
    EvaluationConfig,
    OptimConfig,
    RunConfig,
)


def sprites() -> RunConfig:
    """Object discovery at the paper's scale: 64x64, T=11, three slots (model.slots=2 or 4 for the others)."""
    return RunConfig(
        model=ObjectDiscovery(),
        data=DataConfig("runs/sprites"),
        batch=BatchConfig(size=32),
        optim=OptimConfig(lr=5e-4, clip_norm=1.0, weight_decay=2e-6, decay="exponential", decay_steps=6250),
        checkpoint=CheckpointConfig(steps=1250),
        evaluation=EvaluationConfig(steps=1250),
        output="runs/sprites-k3",
        steps=62_500,  # 100 epochs of 20,000 clips
        log_steps=25,
    )


def demo() -> RunConfig:
    """Object discovery on small sprites (32x32, T=8, K=2): minutes on a laptop's CPU."""
    return RunConfig(
        model=led_slots(size=32, slots=2, background_width=0),
        data=DataConfig("demo/data"),
        batch=BatchConfig(size=16),
        optim=OptimConfig(lr=1e-3, clip_norm=1.0, decay="cosine", final_fraction=0.1),
        engine=ONE_THREAD,
        checkpoint=CheckpointConfig(steps=250),
        evaluation=EvaluationConfig(steps=500, clips=64),
        output="demo/run",
        steps=1000,
        log_steps=20,
    )


def video() -> RunConfig:
    """Object discovery on real video from a fixed camera: 64x64, four slots."""
    return RunConfig(
        model=led_slots(size=64, slots=4, background_width=16),
        data=DataConfig("runs/videos"),
        batch=BatchConfig(size=8),
        optim=OptimConfig(lr=5e-4, clip_norm=1.0),
        engine=ONE_THREAD,
        checkpoint=CheckpointConfig(steps=100),
        output="runs/video",
        steps=2000,
        log_steps=20,
    )


# Maps this small gain nothing from a second thread, and lose tenfold on a machine that is busy otherwise.
ONE_THREAD = EngineConfig(threads=1)


def led_slots(size: int, slots: int, background_width: int) -> ObjectDiscovery:
    """A small model whose slots find objects within minutes.

    Each of the second group departs from the paper (see the fields): masks start empty, are led to what changes and
    to where their slot is expected, and are rewarded for being small and compact from the first step.
    """
    return ObjectDiscovery(
        size=size,
        slots=slots,
        width=16,
        hidden=24,
        kernel=3,
        blocks=1,
        stem_stride=4,
        reader_width=16,
        background_width=background_width,
        memory="unoccluded",
        mask_bias=-5.0,
        frame_difference=True,
        tracking=True,
        change_weight=5.0,
        alpha=Ramp(6.0, 12.0, 1000),
        temperature=Ramp(1.0, 0.4, 1000),
        sparsity=Ramp(0.02, 0.02),
        compactness=Ramp(0.3, 0.3),
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


def camvid_segnet() -> RunConfig:
    """SegNet basic on CamVid, 240x180: optimiser, batch and length of the authors' SegNet-Tutorial.

    But for what their prototxt says of single parameters: there the biases of convolutions learn at twice the rate
    and do not decay, and the shift of batch normalisation starts at 0.001. Here all parameters learn at one rate and
    decay, and that shift starts at 0.
    """
    return RunConfig(
        model=SegNet(),
        data=DataConfig("runs/camvid"),  # build with --frames 1
        batch=BatchConfig(size=4),
        optim=OptimConfig(name="sgd", lr=0.1, momentum=0.9, weight_decay=5e-4),
        checkpoint=CheckpointConfig(steps=500),
        output="runs/camvid-segnet",
        steps=10_000,
        log_steps=20,
    )


def camvid_segnet_flow() -> RunConfig:
    """SegNet-flow on CamVid, 240x180, clips of 6 frames, the last one labelled (arXiv 1511.06309, section 5.2).

    The paper trains all parts together and does not say how. SegNet's own optimiser makes the reconstruction diverge
    within four steps. Middle brightness and a flow held at zero are the start that finds motion in small trials.
    """
    changed = {
        "model": SegNetFlow(output_bias=0.5, still_steps=500),
        "optim": OptimConfig(name="adam", lr=1e-3),
        "output": "runs/camvid-segnet-flow",
    }
    return camvid_segnet().model_copy(update=changed)


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


RECIPES: dict[str, Callable[[], RunConfig]] = {
    "demo": demo,
    "sprites": sprites,
    "video": video,
    "moving-mnist-ae-conv": moving_mnist_ae_conv,
    "moving-mnist-ae-fclstm": moving_mnist_ae_fclstm,
    "moving-mnist-ae-convlstm": moving_mnist_ae_convlstm,
    "moving-mnist-ae-convlstm-flow": moving_mnist_ae_convlstm_flow,
    "hmdb51-ae-convlstm": hmdb51_ae_convlstm,
    "hmdb51-ae-convlstm-flow": hmdb51_ae_convlstm_flow,
    "camvid-segnet": camvid_segnet,
    "camvid-segnet-flow": camvid_segnet_flow,
}
