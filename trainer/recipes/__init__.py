"""RECIPES: named runs, functions that return a complete config. `python -m trainer recipes` lists them."""

from collections.abc import Callable

from trainer.config import RunConfig
from trainer.recipes.expectation import balls_demo_n_em, balls_demo_r_nem, balls_n_em, balls_r_nem
from trainer.recipes.iterative import (
    balls_demo,
    balls_demo_iodine,
    balls_demo_seq_iodine,
    balls_iodine,
    balls_seq_iodine,
    balls_st_iterative,
)
from trainer.recipes.object_discovery import demo, sprites, video
from trainer.recipes.segnet import camvid_segnet, camvid_segnet_flow
from trainer.recipes.sqair import (
    air_demo,
    sqair_conv_mnist,
    sqair_demo,
    sqair_mnist,
    vrnn_conv_mnist,
    vrnn_mlp_mnist,
)
from trainer.recipes.video_autoencoder import (
    hmdb51_ae_convlstm,
    hmdb51_ae_convlstm_flow,
    moving_mnist_ae_conv,
    moving_mnist_ae_convlstm,
    moving_mnist_ae_convlstm_flow,
    moving_mnist_ae_fclstm,
)

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
    "sqair-mnist": sqair_mnist,
    "sqair-conv-mnist": sqair_conv_mnist,
    "sqair-demo": sqair_demo,
    "air-demo": air_demo,
    "vrnn-mlp-mnist": vrnn_mlp_mnist,
    "vrnn-conv-mnist": vrnn_conv_mnist,
    "balls-st-iterative": balls_st_iterative,
    "balls-iodine": balls_iodine,
    "balls-seq-iodine": balls_seq_iodine,
    "balls-demo": balls_demo,
    "balls-demo-iodine": balls_demo_iodine,
    "balls-demo-seq-iodine": balls_demo_seq_iodine,
    "balls-n-em": balls_n_em,
    "balls-r-nem": balls_r_nem,
    "balls-demo-n-em": balls_demo_n_em,
    "balls-demo-r-nem": balls_demo_r_nem,
}
