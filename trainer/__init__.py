"""One training run: config, loop, engine, checkpoints, evaluation, pictures. Runs without Ray."""
