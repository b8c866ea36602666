"""The run-time type checker of the tests: every call into infoprune is checked against its annotations."""

from beartype import BeartypeConf, beartype

# As static checkers do, take an int where a float is annotated.
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
