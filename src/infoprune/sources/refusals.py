"""Refusals: errors of the hub's libraries as one line that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from infoprune.errors import InputError, reason_of
from infoprune.sources.names import Repository, near

LOG_IN = "hf auth login, or the environment variable HF_TOKEN"


@contextmanager
def refusals(repository: Repository, done: str = "fetched") -> Iterator[None]:
    """Raise InputError in place of the errors of the hub's libraries, all of which come from outside the program.

    Args:
        repository: Repository that is read or written.
        done: What cannot be done with it, for the message.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(_message(repository, error, done)) from error


def _message(repository: Repository, error: Exception, done: str) -> str:
    if isinstance(error, HFValidationError):
        return _neither(repository, "no valid name on the hub, expected owner/name; check it")
    if isinstance(error, GatedRepoError):
        return gated(repository)
    if isinstance(error, RepositoryNotFoundError):
        return not_found(repository)
    if isinstance(error, RevisionNotFoundError):
        return no_revision(repository)
    if isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled):
        cause = error.__cause__
        return _http(repository, cause, done) if isinstance(cause, HfHubHTTPError) else unreachable(repository)
    if isinstance(error, HfHubHTTPError):
        return _http(repository, error, done)
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError | TimeoutError):
        return (
            f"{repository} cannot be stored in {constants.HF_HUB_CACHE} ({error.strerror}), expected room there; make "
            "some, or set HF_HOME to another place"
        )
    return f"{repository} cannot be {done} ({type(error).__name__}: {reason(error)}); check the network and try again"


def not_found(repository: Repository) -> str:
    """Return the message for a name that the hub does not know, or does not show to this user."""
    hidden = "or log in if it is private" if get_token() is None else "or use a token that may read it if it is private"
    return _neither(repository, f"no {repository.type} of that name on the hub; check the name, {hidden} ({LOG_IN})")


def gated(repository: Repository) -> str:
    """Return the message for a repository whose owner has to allow access."""
    where = address(repository)
    then = f"then log in ({LOG_IN})" if get_token() is None else "with the account of your token"
    return f"{repository} is gated, and you have no access to it; ask for it at {where}, {then}"


def no_revision(repository: Repository) -> str:
    """Return the message for a revision that does not exist, with those that do."""
    known: list[str] = []
    with suppress(Exception):  # the names only help
        refs = HfApi().list_repo_refs(repository.name, repo_type=repository.type)
        known = [ref.name for ref in (*refs.branches, *refs.tags)]
    there = f"; there are {', '.join(known[:8])}" if known else f"; {address(repository)} lists them"
    return f"{repository.name} has no revision {repository.revision}, expected a branch, a tag or a commit{there}"


def unreachable(repository: Repository) -> str:
    """Return the message where the hub is not asked or does not answer, and the cache lacks the files."""
    lacks = f"the cache does not have the whole {repository.type} {repository}"
    if constants.HF_HUB_OFFLINE:
        remedy = "unset HF_HUB_OFFLINE and run once, or check the name"
        return _neither(repository, f"{lacks}, while HF_HUB_OFFLINE forbids to fetch it; {remedy}")
    return _neither(repository, f"{lacks}, while the hub ({constants.ENDPOINT}) does not answer; check the network")


def _http(repository: Repository, error: HfHubHTTPError, done: str) -> str:
    status = error.response.status_code
    if status == 401:
        return f"the hub does not accept your token (401, for {repository}); log in again ({LOG_IN})"
    if status == 403:
        return f"your token has no access to {repository} (403), expected one that has; log in with another ({LOG_IN})"
    if status == 429:
        return f"the hub has had too many requests from you (429, for {repository}); log in ({LOG_IN}), or wait"
    return f"{repository} cannot be {done}, since the hub answers {status}; try again later"


def _neither(repository: Repository, then: str) -> str:
    """Begin with what a name that is no local path might have meant."""
    if repository.type == "dataset":
        return f"there is no file {repository.given}, and {then}"
    folder = near(repository.given)
    meant = "" if folder is None else f" (but {folder})"
    return f"there is no folder {repository.given}{meant}, and {then}"


def address(repository: Repository) -> str:
    """Return the address of a repository's page."""
    return f"{constants.ENDPOINT}/{'datasets/' if repository.type == 'dataset' else ''}{repository.name}"


def reason(error: BaseException) -> str:
    """Return what may be quoted of another library's error."""
    return reason_of(error)
