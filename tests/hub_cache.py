"""A cache of huggingface_hub with a model in it, laid out as the hub's library does."""

import hashlib


def put_in_cache(cache, name, files, *, revision="main", commit=None):
    """Put files into the cache as a revision of a model; the folder of the snapshot."""
    root = cache / f"models--{name.replace('/', '--')}"
    commit = commit or hashlib.sha1(revision.encode()).hexdigest()
    snapshot = root / "snapshots" / commit
    for path, content in files.items():
        blob = root / "blobs" / hashlib.sha256(content).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link = snapshot / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    ref = root / "refs" / revision
    ref.parent.mkdir(parents=True, exist_ok=True)
    ref.write_text(commit)
    return snapshot


def files_of(folder):
    """The files of a folder, as they would be on the hub."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
