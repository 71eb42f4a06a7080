"""Rehearsal: a run on a Ray of several nodes on this machine, with faults by a schedule made from a seed."""
