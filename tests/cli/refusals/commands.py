"""Wrong commands: what each needs besides a model and texts, and places that are not written to."""

from refusals.row import prune, row

FULL = ("exists and is not empty", "expected a new folder", "choose another name or pass --force")
COMPARE = "compare {bert} {out} --data {reviews} --eval {reviews}"

ROWS = [
    # The command line itself
    row("shrink", "'shrink'", "infoprune --help"),
    row("prune", "'MODEL'", "infoprune prune --help"),
    row("prune {bert}", "'OUT'", "infoprune prune --help"),
    row("prune {bert} {out}", "'--data'", "infoprune prune --help"),
    row("prune {bert} {out} --data", "'--data' requires an argument", "--help"),
    row("prune {bert} {out} {out} --data {reviews}", "unexpected extra argument", "infoprune prune --help"),
    prune("--colour blue", "--colour", "infoprune prune --help"),
    prune("--depth=3", "'--depth' does not take a value", "--help"),
    row("evaluate {bert}", "'--eval'", "infoprune evaluate --help"),
    row("compare {bert} {out} --data {reviews} --keep 0.5", "scored on evaluation texts", "pass --eval FILE"),
    row("bench", "'MODEL...'", "infoprune bench --help"),
    row("families bert", "unexpected extra argument", "(bert)", "infoprune families --help"),
    # Places
    row("prune {bert} {full} --data {reviews}", *FULL),
    row("finetune {bert} {full} --data {reviews}", *FULL),
    row("collect {bert} {full} --data {reviews}", *FULL),
    row("compare {bert} {full} --data {reviews} --criteria random --keep 0.5", *FULL),
    row("export {bert} {onnx}", "exists", "expected a new file", "choose another name or pass --force"),
    row("prune {bert} {bert} --data {reviews} --force", "contains the input", "expected a separate folder"),
    row("prune {bert} {bert}/.. --data {reviews} --force", "contains the input", "choose another name"),
    row("finetune {bert} {bert} --data {reviews} --force", "contains the input", "choose another name"),
    # compare
    row(COMPARE + " --criteria luck --keep 0.5", "'luck'", "expected one of: information", "pass e.g. information"),
    row(COMPARE + " --criteria , --keep 0.5", "--criteria is empty", "expected at least one", "information,wanda"),
    row(COMPARE + " --criteria random", "neither --keep nor --budget", "expected a size", "--keep 0.5,0.25"),
    row(COMPARE + " --criteria random --keep half", "--keep is 'half'", "expected a number", "--keep 0.5,0.25"),
    row(COMPARE + " --criteria random --keep 2", "--keep is 2", "above 0 and at most 1", "such as 0.5"),
    row(COMPARE + " --criteria random --budget energy=1", "'energy'", "expected one of: flops", "--budget flops=0.5"),
    row(COMPARE + " --criteria random --keep 0.5 --seeds 0", "--seeds is 0", "expected a number above 0"),
    row(COMPARE + " --criteria random --keep 0.5 --seeds x", "--seeds is 'x'", "expected a whole number"),
    row(
        COMPARE + " --criteria random --keep 0.5 --repair-method none",
        "--repair-method is 'none'",
        "expected ours, own or both",
        "--repair-method both",
    ),
    row(
        "compare {bert} {out} --data {reviews} --criteria random --keep 0.5",
        "scored on evaluation texts",
        "pass --eval FILE",
    ),
    # export
    row("export {bert} {out}", "does not end in .onnx or .gguf", "expected one of them", "{out}.onnx"),
    row("export {bert} {out}.txt", "does not end in .onnx or .gguf", "expected one of them", "{out}.txt.onnx"),
    row("export {bert} {out}.onnx --type f16", "--type was given for .onnx", "for .gguf only", "leave it out"),
    row("export {bert} {out}.gguf --int8", "--int8 was given for .gguf", "for .onnx only", "leave it out"),
    row("export {bert} {out}.gguf --data {reviews}", "--data was given for .gguf", "for .onnx only", "leave it out"),
    row("export {decoder} {out}.gguf --type q4_0", "'q4_0'", "expected one of: f32, f16, q8_0", "--type f16"),
    row("export {bert} {out}.onnx --samples 0", "--samples is 0", "expected a number above 0", "pass a larger one"),
    row("export {bert} {out}.onnx --max-length 65", "is 65", "at most the 64 positions", "--max-length 64"),
    # bench
    row("bench {bert} --batch-size few", "--batch-size is 'few'", "expected whole numbers", "--batch-size 1,32"),
    row("bench {bert} --batch-size ,", "--batch-size is empty", "expected numbers", "--batch-size 32"),
    row("bench {bert} --batch-size 0", "--batch-size is 0", "expected a number above 0", "pass a larger one"),
    row("bench {bert} --length 0", "--length is 0", "expected a number above 0", "pass a larger one"),
    row("bench {bert} --length 65", "--length is 65", "at most the 64 positions of {bert}", "--length 64"),
    row("bench {roberta} --length 80", "--length is 80", "at most the 78 positions of {roberta}", "--length 78"),
    row("bench {bert} --repeats 0", "--repeats is 0", "expected a number above 0", "pass a larger one"),
    row("bench {bert} --threads 0", "--threads is 0", "expected a number above 0", "pass a larger one"),
    # push
    row("push {bert} name", "the repository is 'name'", "expected owner/name", "owner/bert"),
    row("push {bert} owner/name/more", "'owner/name/more'", "expected owner/name", "owner/bert"),
    row("push {empty_folder} owner/name", "no config.json", "expected a model", "check the path"),
]
