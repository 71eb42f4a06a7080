"""What is looked at before workers start, in seconds and without torch: on the driver, on every node, in the store.

checks.py is the table; survey.py asks every node; planning.py, which alone knows models, says what a run will need.
"""
