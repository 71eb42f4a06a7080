"""Checkpoints: complete or absent, on file or object storage; how a run goes on from one."""
