"""Scoring checkpoints: functions of models and clips, no picture in it."""
