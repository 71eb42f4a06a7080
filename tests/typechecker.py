"""The run-time type checker of the tests: beartype, taking an int where a float is asked for, as PEP 484 and mypy do."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
