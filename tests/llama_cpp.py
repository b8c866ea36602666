"""llama.cpp in this process: a GGUF file is read by the program that users run."""

import json
import urllib.request

import xllamacpp


class LlamaCpp:
    """A file that llama.cpp serves; `exact` has no numbers of 16 bits but those in the file."""

    def __init__(self, file, *, exact=True):
        settings = xllamacpp.CommonParams()
        settings.model.path = str(file)
        settings.n_ctx = 256
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
        settings.warmup = False
        settings.verbosity = -1
        if exact:
            settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
            settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self._server = xllamacpp.Server(settings)
        self.write([3], 1, 1)  # a server that ends before its thread has begun waits for it forever

    def write(self, prompt, length, vocabulary):
        """The greedy tokens after a prompt, and at each step the log-probability of every token by its number."""
        answer = self._server.handle_completions(
            {"prompt": prompt, "n_predict": length, "n_probs": vocabulary, "temperature": 0, "cache_prompt": False}
        )
        logprobs = answer["choices"][0]["logprobs"]
        steps = logprobs["content"] if logprobs else []  # a token that ends the text is not among them
        return [step["id"] for step in steps], [{e["id"]: e["logprob"] for e in step["top_logprobs"]} for step in steps]

    def tokens(self, text):
        return self._ask("tokenize", content=text, add_special=True, parse_special=True)["tokens"]

    def text(self, tokens):
        return self._ask("detokenize", tokens=tokens)["content"]

    def chat(self, messages):
        return self._ask("apply-template", messages=messages)["prompt"]

    def _ask(self, route, **body):
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(
            f"{self._server.listening_address}/{route}", json.dumps(body).encode(), headers, method="POST"
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)
