"""The run-time type checker of the tests: beartype, with an int allowed for a float, as PEP 484 and mypy do."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
