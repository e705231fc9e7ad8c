"""What the checks of foreign formats share: our side by probe.ts and the command line, theirs by torch and llama.cpp."""

import json
import os
import pathlib
import random
import subprocess

import torch

ROOT = pathlib.Path(__file__).parents[2]
SEQUENCES = [[15496, 11, 995, 0, 50256, 198, 40], list(range(1000, 1060)), [0]]
GREEDY = 50
BOUND = 1e-4
failures = []


def check(name, good, detail=""):
    print(f"{'ok    ' if good else 'FAILED'} {name} {detail}", flush=True)
    if not good:
        failures.append(name)


def probe(**request):
    script = ["deno", "run", "--allow-read", "--allow-write", str(ROOT / "tests/reference/probe.ts")]
    done = subprocess.run(script, input=json.dumps(request), capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def run(*arguments):
    command = ["deno", "run", "--allow-read", "--allow-write", str(ROOT / "src/main.ts"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, arguments))}: {done.stderr}")
    return done


def theirs(model, sequences=SEQUENCES):
    with torch.no_grad():
        return [model(torch.tensor([tokens])).logits[0, -1].float() for tokens in sequences]


def distance(ours, expected):
    """Largest difference over the columns that both have; NaN stays NaN."""
    pairs = zip(ours, expected, strict=True)
    return torch.cat([(torch.tensor(a)[: len(b)] - b[: len(a)]).abs() for a, b in pairs]).max().item()


def check_logits(name, path, expected, bound=BOUND):
    worst = distance(probe(weights=str(path), sequences=SEQUENCES)["logits"], expected)
    check(name, worst <= bound, f"logits differ by {worst:.1e}, bound {bound:.0e}")


def random_texts(count, seed):
    generator = random.Random(seed)
    ranges = [(32, 127)] * 4 + [(0, 32), (160, 0x250), (0x370, 0x500), (0x600, 0x700), (0x900, 0x980)]
    ranges += [(0x2000, 0x2070), (0x3040, 0x3100), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x1F300, 0x1F650)]
    ranges += [(0x80, 0xA0), (0x84, 0x87), (0xFEFE, 0xFF01), (0xFE00, 0xFF00), (0x1C, 0x22), (0, 0xD800), (0xE000, 0x110000)]

    def text():
        start, end = generator.choice(ranges)
        alphabet = [generator.randrange(start, end) for _ in range(12)] + [32, 32, 10, 39, 115]
        return "".join(chr(generator.choice(alphabet)) for _ in range(generator.randrange(60)))

    return [text() for _ in range(count)]


def llama(path, context=64):
    """
    llama.cpp's model, or None where llama-cpp-python is not installed. Without the buffers of Intel's AMX: a build for
    such a processor dies of an illegal instruction in q8_0, in files of its own too, since the compiler drops the tiles'
    configuration (ggml-org/llama.cpp, pull request 26954).
    """
    try:
        from llama_cpp import Llama, llama_cpp
    except ImportError:
        print("left out: llama-cpp-python is not installed")
        return None
    defaults = llama_cpp.llama_model_default_params

    def without_extra_buffers():
        parameters = defaults()
        parameters.use_extra_bufts = False
        return parameters

    llama_cpp.llama_model_default_params = without_extra_buffers
    try:
        return Llama(str(path), n_ctx=context, logits_all=True, verbose=False, n_threads=1)
    finally:
        llama_cpp.llama_model_default_params = defaults


def last_logits(model, tokens):
    model.reset()
    model.eval(tokens)
    return model.scores[len(tokens) - 1]
