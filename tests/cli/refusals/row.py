"""Row: one wrong input of the command line, what its refusal says, and what the refusal tells to do."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A command that is refused.

    Args:
        command: What follows `infoprune`; a name in braces is a place, see places.py.
        says: Parts of the one line: what was given, what is expected, and a remedy.
        follow: Options, exactly as the line proposes them; the command with them in place is not refused. "-NAME"
            leaves option NAME out.
    """

    command: str
    says: tuple[str, ...]
    follow: str = ""

    def __str__(self) -> str:
        """Return the command, short enough for the name of a test."""
        return self.command.replace("{bert} {out} --data {reviews}", "...")[:70]


def row(command: str, *says: str, follow: str = "") -> Row:
    return Row(command, says, follow)


def prune(options: str, *says: str, follow: str = "") -> Row:
    """Return a row of the classifier and its reviews with some options."""
    return Row(f"prune {{bert}} {{out}} --data {{reviews}} {options}", says, follow)
