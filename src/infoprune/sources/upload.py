"""Upload: write the files of a model to a repository on the hub, as one commit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError, RevisionNotFoundError

import infoprune
from infoprune.errors import InputError
from infoprune.sources.names import Repository
from infoprune.sources.refusals import LOG_IN, address, refusals

STALE = (
    "*.safetensors",
    "*.safetensors.index.json",
    "pytorch_model*.bin*",
    "onnx/*",
    "plan.json",
    "report.json",
    "report.md",
    "report.html",
)
"""Files of an earlier model in the repository, which would contradict the new one."""


def check_token() -> None:
    """Raise InputError where nothing can be written to the hub: no token, or offline."""
    if constants.HF_HUB_OFFLINE:
        raise InputError("nothing can be pushed while HF_HUB_OFFLINE is set, expected a network; unset it")
    if get_token() is None:
        raise InputError(f"there is no token of the hub, expected one that may write; log in ({LOG_IN})")


def upload(
    files: Mapping[str, Path | bytes],
    repository: Repository,
    *,
    public: bool = False,
    message: str = "Upload a pruned model",
) -> tuple[str, bool]:
    """Write files to a repository, which is made where there is none, and return its address and whether it is private.

    Files of an earlier model there are removed by the same commit; all else stays.

    Args:
        files: Files, or their contents, by their names in the repository.
        repository: Name of the repository; a revision is a branch, which is made where there is none.
        public: Whether anybody may read it; by default only its owner.
        message: Message of the commit.

    Raises:
        InputError: The repository cannot be written to, or it is public and `public` is not set.
    """
    hub = HfApi(library_name="infoprune", library_version=infoprune.__version__)
    branch = repository.revision or constants.DEFAULT_REVISION
    with _refused(repository):
        hub.create_repo(repository.name, private=not public, exist_ok=True)
        private = bool(hub.model_info(repository.name).private)
        if not private and not public:
            raise InputError(
                f"{address(repository)} is public, but a private repository was asked for; pass `public=True`, or "
                "choose another name"
            )
        if repository.revision is not None:
            hub.create_branch(repository.name, branch=branch, exist_ok=True)
        there = hub.list_repo_files(repository.name, revision=branch)
        stale = [name for name in there if name not in files and any(fnmatch(name, each) for each in STALE)]
        hub.create_commit(
            repository.name,
            [
                *(CommitOperationAdd(name, content) for name, content in sorted(files.items())),
                *(CommitOperationDelete(name) for name in stale),
            ],
            commit_message=message,
            revision=branch,
        )
    return address(repository) + (f"/tree/{branch}" if repository.revision is not None else ""), private


@contextmanager
def _refused(repository: Repository) -> Iterator[None]:
    """Raise InputError in place of the errors of writing; those of reading are `refusals`."""
    with refusals(repository, "written"):
        try:
            yield
        except (RepositoryNotFoundError, RevisionNotFoundError) as error:
            raise InputError(_forbidden(repository)) from error
        except HfHubHTTPError as error:
            if error.response.status_code != 403:
                raise
            raise InputError(_forbidden(repository)) from error
        except OfflineModeIsEnabled:
            check_token()
            raise


def _forbidden(repository: Repository) -> str:
    user = "its user"
    with suppress(Exception):  # the name only helps
        user = str(HfApi().whoami()["name"])
    return (
        f"your token may not write to {repository.name}, expected one of {repository.name.partition('/')[0]} with the "
        f"permission to write; it is {user}'s: log in with another ({LOG_IN}), or choose another name"
    )
