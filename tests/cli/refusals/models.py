"""Wrong models: what is missing or damaged in a folder, and models that a command does not serve."""

from refusals.row import Row, row

PATH = ("there is no folder", "nowhere", "expected one with a model saved by save_pretrained", "check the path")


def pruned(place: str, *says: str) -> Row:
    return row(f"prune {{{place}}} {{out}} --data {{reviews}}", *says)


ROWS = [
    # No folder
    pruned("nowhere", *PATH),
    row("finetune {nowhere} {out} --data {reviews}", *PATH),
    row("collect {nowhere} {out} --data {reviews}", *PATH),
    row("evaluate {nowhere} --eval {reviews}", *PATH),
    row("evaluate {embedder} --eval {texts} --against {nowhere}", *PATH),
    row("finetune {bert} {out} --data {reviews} --teacher {nowhere}", *PATH),
    row("compare {nowhere} {out} --data {reviews} --eval {reviews} --criteria random --keep 0.5", *PATH),
    row("bench {nowhere}", *PATH),
    row("push {nowhere} owner/name", *PATH),
    row("export {nowhere}", *PATH[:3], "pass the name of a file for a model on the hub, e.g. model.onnx"),
    row("forecast {nowhere}", "nowhere has no config.json", "expected the folder of a model", "check the path"),
    row("report {nowhere}", "no report.json in it", "expected a folder written by infoprune prune", "check the path"),
    row("report {bert}", "no report.json in it", "expected a folder written by infoprune prune", "check the path"),
    row("prune 'two words' {out} --data {reviews}", "'two words'"[1:-1], "no name on the hub", "expected owner/name"),
    row("prune ./owner/name {out} --data {reviews}", "no folder owner/name", "check the path"),
    row("export owner/name", "no folder owner/name", "pass the name of a file for a model on the hub, e.g. model.onnx"),
    # A file
    pruned("file_in_place", "model.safetensors is a file", "expected the folder of a model", "pass {bert}"),
    pruned("onnx", "onnx.onnx is an exported file", "expected the folder of a model", "that it was exported from"),
    row("evaluate {reviews} --eval {reviews}", "is a file", "expected the folder of a model", "save_pretrained"),
    # Something is missing
    pruned("empty_folder", "has no config.json", "expected a model saved by save_pretrained", "check the path"),
    pruned("no_config", "has no config.json", "expected a model saved by save_pretrained", "check the path"),
    pruned("no_weights", "has no weights (*.safetensors)", "save_pretrained"),
    row("finetune {no_weights} {out} --data {reviews}", "has no weights (*.safetensors)", "save_pretrained"),
    pruned("no_tokenizer", "has no tokenizer", "expected one beside the model", "tokenizer.save_pretrained"),
    # Something is damaged
    pruned("config_cut_off", "config.json is not JSON", "save the model anew"),
    row("finetune {config_cut_off} {out} --data {reviews}", "config.json is not JSON", "save the model anew"),
    row("evaluate {config_cut_off} --eval {reviews}", "config.json is not JSON", "save the model anew"),
    pruned("config_list", "config.json names no model_type", "expected a model's config", "save the model anew"),
    pruned("config_empty", "config.json names no model_type", "expected a model's config", "save the model anew"),
    pruned(
        "weights_pointer",
        "model.safetensors is a pointer of Git LFS",
        "expected the file itself",
        "fetch it with Git LFS",
    ),
    pruned("weights_damaged", "weights_damaged", "cannot be loaded", "download them again"),
    pruned("tokenizer_damaged", "the tokenizer cannot be read", "expected one that fits the model", "save it again"),
    pruned("tokenizer_empty", "it knows no tokens but the 5 special ones", "save it again"),
    pruned("quantised", "config.json", "quantised (gptq)", "expected weights that are not", "pass the original model"),
    pruned("two_classes", "'BertForSequenceClassification', 'BertModel'", "expected one class", "from its own class"),
    pruned("no_class", "['BertForPoetry']", "expected one class of a known task", "from its own class"),
    pruned("foreign_kernel", "'someone/kernel'", "expected none", 'write "sdpa" in its place'),
    pruned("later_sizes", "pruned sizes of version 9, expected 1", "install the newest release of infoprune"),
    pruned("damaged_sizes", "damaged pruned sizes", "expected numbers of units by site", "prune again"),
    pruned("more_units", "keeps 65 units of layers.0.ffn", "imply 64", "restore it, or prune again"),
    pruned("heads_by_five", "config.json", "hidden size (32)", "attention heads (5)", "check the file"),
    pruned("damaged_plan", "plan.json", "damaged", "prune again"),
    pruned("damaged_modules", "modules.json names no Transformer", "expected one", "with sentence-transformers"),
    pruned("nan_weights", "layer.1.output.dense.weight", "NaN or infinite", "expected finite", "check the checkpoint"),
    pruned("infinite_weights", "layer.1.output.dense.weight", "NaN or infinite", "check the checkpoint"),
    pruned("huge_weights", "not finite", "expected finite numbers", "try the model in float32"),
    row("report {report_of_another_version}", "no", "report of version 1", "prune again with this release"),
    row("report {report_cut_off}", "report.json is damaged", "prune again"),
    # Models that are not served
    pruned("mpt", "model type 'mpt' is not supported", "expected one of: albert", "add-a-family.md"),
    pruned("vit", "reviews.csv: no pictures in it", "expected a folder of pictures", "pass one of these"),
    pruned("whisper", "reviews.csv: no clips in it", "expected a folder of clips", "pass one of these"),
    row("export {vit} {out}.onnx", "has no image processor", "expected one beside the model", "save it there with"),
    row("export {whisper} {out}.onnx", "the model is for speech-recognition", "run it in PyTorch"),
    row(
        "export {bert} {out}.gguf",
        "BertForSequenceClassification",
        "expected a language model",
        "export this model as .onnx",
    ),
    row("export {decoder} {out}.gguf", "WordPiece", "expected BPE", "run this model in PyTorch"),
    pruned("pooled_by_max", "pooling_mode_max_tokens", "expected one of: mean, cls", "infoprune.load"),
    # Models that do not fit one another
    row("evaluate {embedder} --eval {texts} --against {other_size}", "100 tokens", "120", "that it was pruned from"),
    row("evaluate {bert} --eval {reviews} --against {three}", "2 outputs", "and 3", "expected the same"),
    row("finetune {bert} {out} --data {reviews} --teacher {three}", "3 outputs", "of 2, expected the same"),
    row(
        "bench {bert} {three} --eval {reviews} --no-peak-memory",
        "different outputs",
        "{bert} has 2, {three} has 3",
        "leave --eval out",
    ),
    row("bench {bert} {more_tokens} --eval {reviews}", "different tokens", "has 100", "has 120", "leave --eval out"),
    row("bench {bert} {bert}", "{bert}, {bert}", "expected different ones", "pass each once"),
    row("bench {bert} {onnx}", "onnx.onnx cannot be opened by onnxruntime", "export it again"),
]
