"""Measurements on the machine at hand, each next to its peer or its limit. BENCHES names them."""

from data_shards.commands import Command

BENCHES = {
    "unroll": Command("Measure memory and time of the rematerialisation policies.", "trainer.bench.unroll"),
    "loader": Command(
        "Measure clips per second of the Loader next to plain webdataset.", "trainer.bench.loader"
    ),
    "video": Command(
        "Measure how true frames of real video are, and how fast they are built.", "trainer.bench.video"
    ),
    "step": Command("Measure what the machinery around a training step costs.", "trainer.bench.step"),
    "step sqair": Command("Measure a step of SQAIR next to a plain one.", "trainer.bench.sqair"),
    "step conv-lstm": Command(
        "Measure the ConvLSTM next to a plain loop over time.", "trainer.bench.conv_lstm"
    ),
}
