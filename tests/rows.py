"""Files of labelled texts for the tests of the command line."""

import csv

POSITIVE = ("good", "great", "fine")
NEGATIVE = ("bad", "poor", "dull")
TEXTS = [
    f"the film is {first} and very {second}" for first in (*POSITIVE, *NEGATIVE) for second in (*POSITIVE, *NEGATIVE)
]


def write_rows(path, rows, columns=("text", "label")):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return path
