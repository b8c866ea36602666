"""Wrong options: values out of range, names that do not exist, and options that exclude one another."""

from refusals.row import prune, row

POSITIVE = "expected a number above 0"
WHOLE = "expected a whole number"
NUMBER = "expected a number such as"
DEVICES = "expected auto or one of: cpu"
LENGTH = "expected at most the 64 positions"

ROWS = [
    # Structures and vocabulary
    prune("--structures neurons", "are neurons", "expected some of heads, ffn", "'heads'"),
    prune("--structures ,", "are none", "expected some of heads, ffn", "'heads'"),
    prune("--structures FFN", "are FFN", "expected some of heads, ffn", "'heads'"),
    prune("--structures cross-heads", "are cross-heads", "expected some of heads, ffn", "'heads'"),
    prune("--structures hidden-size,hidden-size-per-layer", "expected one of them", "leave hidden-size out"),
    prune("--structures hidden-size --budget latency=0.5", "latency", "expected flops", "--budget flops=0.5"),
    row("prune {base} {out} --data {texts} --structures hidden-size", "cannot be cut", "leave hidden-size out"),
    row("collect {bert} {out} --data {reviews} --structures neurons", "are neurons", "expected some of heads, ffn"),
    row("collect {bert} {out} --data {reviews} --structures vocabulary", "vocabulary", "leave vocabulary out"),
    row("forecast {bert} --structures neurons", "are neurons", "expected some of heads, ffn", "'heads'"),
    prune("--structures vocabulary --keep 0.5", "only the vocabulary is cut", "leave them out", follow="-keep"),
    prune("--structures vocabulary --min-count 0", "--min-count is 0", "expected at least 1"),
    prune("--structures vocabulary --extra-tokens -1", "--extra-tokens is -1", "expected 0 or more"),
    prune("--min-count 2", "--min-count was given", "no tokens are cut", "add vocabulary to --structures"),
    prune("--extra-tokens 2", "--extra-tokens was given", "no tokens are cut", "add vocabulary to --structures"),
    prune("--dropped-tokens remap", "--dropped-tokens was given", "no tokens are cut", "add vocabulary"),
    prune("--dropped-tokens maybe", "'maybe'", "expected one of: remap, pieces", "leave it out"),
    prune(
        "--structures vocabulary --shape uniform --dropped-tokens remap",
        "cannot open a model with remapped tokens",
        "--shape free",
        follow="--dropped-tokens pieces",
    ),
    # Names
    prune("--criterion luck", "'luck'", "expected one of: information, fan2021", "pass e.g. information"),
    prune("--shape round", "--shape is 'round'", "expected one of: free, uniform", "pass e.g. --shape free"),
    prune("--effort much", "--effort is 'much'", "expected one of: quick, normal, thorough", "--effort normal"),
    prune("--device abacus", "'abacus'", DEVICES, "pass --device auto"),
    prune("--device cpu:7", "'cpu:7'", DEVICES, "pass --device auto"),
    prune("--device CUDA", "'CUDA'", DEVICES, "pass --device auto"),
    row("evaluate {bert} --eval {reviews} --device abacus", "'abacus'", DEVICES, follow="--device auto"),
    row("forecast {bert} --device abacus", "'abacus'", DEVICES, "pass --device auto"),
    # Numbers
    prune("--rounds 0", "--rounds is 0", "expected at least 1"),
    prune("--samples 0", "--samples is 0", POSITIVE, "pass a larger one"),
    prune("--batch-size 0", "--batch-size is 0", POSITIVE, "pass a larger one"),
    prune("--batch-size few", "--batch-size is 'few'", WHOLE, "infoprune prune --help"),
    prune("--batch-size=1.5", "--batch-size is '1.5'", WHOLE, "infoprune prune --help"),
    prune("--max-length -3", "--max-length is -3", POSITIVE, "pass a larger one"),
    prune("--max-length 65", "--max-length is 65", LENGTH, "pass --max-length 64"),
    row(
        "prune {roberta} {out} --data {reviews} --max-length 80", "is 80", "at most the 78 positions", "--max-length 78"
    ),
    prune("--seed many", "--seed is 'many'", WHOLE, "infoprune prune --help"),
    prune("--memory lots", "'lots' is no amount of memory", "expected a number of bytes", "2GB"),
    prune("--memory 0", "--memory is 0 bytes", "expected more than none", "1073741824"),
    prune("--memory -2GB", "'-2GB' is no amount of memory", "expected a number of bytes", "2GB"),
    prune("--distill 0", "--distill is 0", POSITIVE, "pass a larger one"),
    prune("--distill nan", "--distill is nan", POSITIVE, "pass a larger one"),
    prune("--distill long", "--distill is 'long'", NUMBER, "infoprune prune --help"),
    row("evaluate {bert} --eval {reviews} --max-length 65", "is 65", LENGTH, follow="--max-length 64"),
    row("evaluate {bert} --eval {reviews} --batch-size 0", "--batch-size is 0", POSITIVE, "pass a larger one"),
    row("finetune {bert} {out} --data {reviews} --epochs 0", "--epochs is 0", POSITIVE, "pass a larger one"),
    row("finetune {bert} {out} --data {reviews} --epochs -1", "--epochs is -1", POSITIVE, "pass a larger one"),
    row("finetune {bert} {out} --data {reviews} --learning-rate nan", "--learning-rate is nan", POSITIVE),
    row(
        "finetune {bert} {out} --data {reviews} --learning-rate fast", "is 'fast'", NUMBER, "infoprune finetune --help"
    ),
    row("forecast {bert} --samples 0", "--samples is 0", POSITIVE, "pass a larger one"),
    row("forecast {bert} --max-length 0", "--max-length is 0", POSITIVE, "pass a larger one"),
    row("forecast {bert} --memory lots", "'lots' is no amount of memory", "expected a number of bytes", "2GB"),
    row("collect {bert} {out} --data {reviews} --samples 0", "--samples is 0", POSITIVE, "pass a larger one"),
    # Statistics and graphs
    prune("--statistics {nowhere}", "no statistics.json", "expected a folder from infoprune collect", "check the path"),
    prune("--statistics {bert}", "no statistics.json", "expected a folder from infoprune collect", "check the path"),
    prune("--int8", "--int8 was given without --onnx", "expected both", "pass --onnx too"),
    prune("--onnx --plan-only", "--onnx and --plan-only", "expected one", "leave one out", follow="-onnx"),
]
