"""Wrong texts: files that cannot be read, columns and labels that do not fit, and tasks that need others."""

from refusals.row import Row, row


def data(place: str, *says: str, follow: str = "") -> Row:
    return row(f"prune {{bert}} {{out}} --data {place}", *says, follow=follow)


COLUMNS = "there are 'text', 'label'"

ROWS = [
    # Files
    data("{nowhere}.csv", "nowhere.csv: no such file", "expected a data file", "check the path"),
    data("{reviews} --data {nowhere}.csv", "nowhere.csv: no such file", "expected a data file", "check the path"),
    data("{reviews} --eval {nowhere}.csv", "nowhere.csv: no such file", "expected a data file", "check the path"),
    row("export {bert} {out}.onnx --data {nowhere}.csv", "nowhere.csv: no such file", "check the path"),
    data("{empty}", "empty.csv", "no rows", "expected at least one", "written completely"),
    data("{header_alone}", "header_alone.csv", "no rows", "expected at least one", "written completely"),
    data("{latin}", "latin.csv", "not UTF-8 (byte 0xe9", "expected UTF-8", "iconv"),
    data("{long_row}", "line 3 has 3 fields", "expected 2 as in the header", "quote fields"),
    data("{sheet}", "unknown file type (.xlsx)", "expected .csv, .tsv", "convert"),
    data("{pointer}", "pointer.csv", "a pointer of Git LFS", "expected text", "fetch it with Git LFS"),
    data("{pickled}", "unknown file type (.pkl)", "expected .csv, .tsv", "convert or rename it"),
    data("{cut_off}", "cut_off.json", "not JSON", "expected", "correct"),
    data("{no_table}", "contains a JSON int", "expected a list of objects", "write each row as an object"),
    data("{bad_line}", "bad_line.jsonl", "line 2", "not JSON", "expected an object per line"),
    data("{null}", "row 1 is null in column 'text'", "expected a text", "fill or remove the row"),
    data("{numbers}", "row 1 holds 5 (int) in column 'text'", "expected a text"),
    data("{pointer_parquet}", "a pointer of Git LFS", "expected parquet", "fetch it with Git LFS"),
    data("{no_parquet}", "not readable as parquet", "expected parquet", "write it again"),
    data("{empty_folder}", "is a folder", "expected one file", "pass the files inside it"),
    data("'{empty_folder}/*.csv'", "no file matches this pattern", "expected at least one", "check the path"),
    data("owner/name:a:b:c", "owner/name:a:b:c", "no such file", "check the path"),
    # Columns
    data("{pairs}", "'first', 'second'", "expected one", "pass the column as --text"),
    data("{pairs} --text third", "no column 'third'", "'first', 'second'", "pass one of them as --text"),
    data("{reviews} --text body", "no column 'body'", COLUMNS, "pass one of them as --text"),
    data("{reviews} --text-pair body", "no column 'body'", COLUMNS, "pass one of them as --text-pair"),
    data("{reviews} --eval {reviews} --label body", "no column 'body'", COLUMNS, "pass one of them as --label"),
    # Labels
    data(
        "{reviews} --eval {odd_label}", "odd_label.csv", "'splendid'", "'LABEL_0', 'LABEL_1'", "rename them", "--label"
    ),
    row("evaluate {bert} --eval {odd_label}", "'splendid'", "'LABEL_0', 'LABEL_1'", "rename them", "--label"),
    row("evaluate {bert} --eval {texts}", "no column 'label'", "there are 'text'", "--label"),
    row("evaluate {bert} --eval {some_labels}", "row 2 has no label in column 'label'", "fill or remove the row"),
    row("evaluate {number} --eval {odd_label}", "'splendid' is not a number", "expected numbers", "--label"),
    row("evaluate {tagger} --eval {two_words}", "row 1 has 2 tags for 3 words", "expected one for each", "by spaces"),
    row("evaluate {tagger} --eval {unknown_tag}", "'9'", "'LABEL_0', 'LABEL_1'", "rename them"),
    row("evaluate {tagger} --eval {texts}", "no column 'label'", "there are 'text'", "--label"),
    row("finetune {bert} {out} --data {texts}", "no column 'label'", "there are 'text'", "--label"),
    row("finetune {bert} {out} --data {some_labels}", "row 2 has no label", "fill or remove the row"),
    row("finetune {base} {out} --data {one_label}", "['1']", "expected two or more classes", "pass inputs of each"),
    # What a score needs
    row("evaluate {embedder} --eval {texts}", "no score of its own", "--against DIR"),
    row("evaluate {translator} --eval {texts}", "scored on target texts", "--text-pair", "--against"),
    row("evaluate {without_mask} --eval {texts}", "no mask token", "expected one", "mask_token"),
    row(
        "bench {base} --eval {texts}",
        "is for embedding, expected a classifier",
        "leave --eval out",
        "infoprune evaluate",
    ),
    # Tasks
    row(
        "prune {embedder} {out} --data {texts} --task poetry",
        "--task is 'poetry'",
        "expected one of: ",
        "leave --task out",
        follow="-task",
    ),
    row(
        "prune {embedder} {out} --data {texts} --task causal-lm",
        "BertModel is for embedding",
        "expected a ...ForCausalLM for causal-lm",
        "leave --task out",
    ),
    row(
        "prune {embedder} {out} --data {texts} --task classification",
        "BertModel is for embedding",
        "expected a ...ForSequenceClassification",
        "infoprune finetune",
    ),
    row("evaluate {bert} --eval {reviews} --task poetry", "'poetry'", "leave --task out"),
    row("prune {translator} {out} --data {texts} --task embedding", "T5ForConditionalGeneration is for seq2seq"),
    row(
        "prune {embedder} {out} --data {texts} --label text",
        "--label is 'text'",
        "reads no labels",
        "leave --label out",
    ),
    row("prune {decoder} {out} --data {texts} --label text", "causal-lm reads no labels", "leave --label out"),
    row("prune {embedder} {out} --data {texts} --text-pair text", "--text-pair", "one text per input", "leave"),
    row("prune {answerer} {out} --data {texts}", "two texts per input", "pass the columns", "--text and --text-pair"),
    row("prune {decoder} {out} --data {texts} --max-kl 0.1 --eval {texts}", "causal-lm", "--keep or --budget"),
    row("prune {translator} {out} --data {texts} --distill 1", "encoder-decoders", "leave --distill out"),
    row(
        "prune {decoder} {out} --data {texts} --structures vocabulary",
        "vocabulary is cut for causal-lm",
        "expected a task with one answer per input",
        "infoprune.prune_vocabulary",
    ),
]
