"""Scoring checkpoints: functions of models and clips, no picture in it."""

CLIPS_PER_BATCH = 16  # that are scored at once; here, for the commands tell it before they load what scores
