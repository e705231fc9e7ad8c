"""A model with a vocabulary of its corpus: in transformers and llama.cpp it is as here."""

import json

import torch
import transformers

from foreign import BOUND, GREEDY, ROOT, check, distance, last_logits, llama, probe, random_texts, run, theirs

CORPUS = ["Python is a programming language.", "What is a neural network?", "Unbelievable: naïve 日本 models overfit."]
INTENTS = ["python", "neural networks", "überfit"]
FIXTURE = ROOT / "tests/reference/fixtures/compact_tokens.json"


def check_compact_corpus(directory, write):
    """Small models, without and with the steps to their tokens; transformers' tokens of both make the fixture."""
    for name, steps in (("small", False), ("closed", True)):
        print(f"vocabulary of a corpus, {'with' if steps else 'without'} the steps to its tokens")
        model = directory / name / "model"
        model.parent.mkdir()
        probe(compact={"directory": str(model), "corpus": CORPUS, "intents": INTENTS, "steps": steps})
        check_compact(directory / name, model, "Q: What is Python?\nA:", steps, write)


def check_compact(directory, source, question, steps=False, write=False):
    """Exports `source` below `directory` and asks `question`, which has kept tokens only."""
    directory.mkdir(exist_ok=True)
    hf = directory / "hf"
    run("export", "--weights", source, "--out", hf, "--format", "hf")
    tokenizer = transformers.AutoTokenizer.from_pretrained(hf)
    texts = random_texts(1000, 43) + CORPUS + [question]
    native, ours = (probe(weights=str(weights), texts=texts)["encoded"] for weights in (source, hf))
    tokens = [tokenizer.encode(text) for text in texts]
    wrong = [text for text, a, b in zip(texts, ours, tokens) if a != b]
    check("AutoTokenizer on 1,000 random texts", not wrong, f"{len(wrong)} differ {[ascii(t) for t in wrong[:3]]}")
    check("AutoTokenizer decodes them", all(tokenizer.decode(t) == text for text, t in zip(texts, tokens)))
    if write:
        few = [*range(150), *range(-4, 0)]
        FIXTURE.write_text(json.dumps({
            "corpus": CORPUS, "intents": INTENTS, "texts": [texts[i] for i in few], "tokens": [tokens[i] for i in few],
        }) + "\n")
    number = numbers_after_export(source, hf)
    differ = sum([number[t] for t in a] != b for a, b in zip(native, tokens))
    if steps:
        check("the same tokens before the export", differ == 0, f"{differ} texts differ")
    else:
        print(f"       {differ} of {len(texts)} texts are cut differently before the export: words that the corpus has not")
    check("the question has the same tokens", [number[t] for t in native[-1]] == tokens[-1])
    config = json.loads((hf / "config.json").read_text())
    intents = range(config["bos_token_id"] + 4, config["vocab_size"])
    check("intents are not visible", tokenizer.decode(list(intents), skip_special_tokens=True) == "", f"{len(intents)}")
    written = check_transformers(source, hf, tokenizer, native[-1], tokens[-1], number)
    check_llama(directory, source, list(zip(texts, ours)), tokens[-1], written, tokenizer.eos_token_id)


def numbers_after_export(source, hf):
    """For each token before the export its number after it: steps stand among GPT-2's tokens, special ones behind."""
    before, after = (json.loads((path / "config.json").read_text()) for path in (source, hf))
    kept, grown = (config["illuminator"]["vocabulary"] for config in (before, after))
    at = {token: number for number, token in enumerate(grown)}
    return [at[token] for token in kept] + list(range(len(grown), after["vocab_size"]))


def check_transformers(source, hf, tokenizer, native, prompt, number):
    """Logits of every row, and greedy text, before and after the export; the text's tokens after it."""
    model = transformers.AutoModelForCausalLM.from_pretrained(hf).eval()
    # The end of text ends nothing here.
    model.generation_config.eos_token_id = None
    count = min(GREEDY, model.config.n_positions - len(prompt))
    expected = theirs(model, [prompt])
    before, after = (
        probe(weights=str(weights), sequences=[tokens], greedy=count) for weights, tokens in ((source, native), (hf, prompt))
    )
    assert [len(row) for row in after["logits"]] == [len(row) for row in expected]
    worst = distance(after["logits"], expected)
    check(f"logits of {len(expected[0])} tokens in transformers", worst <= BOUND, f"differ by {worst:.1e}, bound {BOUND:.0e}")
    worst = distance(before["logits"], [row[number] for row in expected])
    check(f"logits of {len(number)} tokens before the export", worst <= BOUND, f"differ by {worst:.1e}, bound {BOUND:.0e}")
    with torch.no_grad():
        written = model.generate(torch.tensor([prompt]), max_new_tokens=count, do_sample=False)[0].tolist()
    same = [number[t] for t in before["written"]] == after["written"] == written and len(written) == len(prompt) + count
    check(f"{count} greedy tokens here, before the export, and in transformers", same, repr(tokenizer.decode(written)[:160]))
    return written


def check_llama(directory, source, encoded, prompt, written, end):
    """Tokens, and the greedy text up to its end."""
    until = next((i for i, t in enumerate(written) if i >= len(prompt) and t == end), len(written) - 1) + 1
    expected = written[len(prompt):until]
    for kind in ("f32", "f16", "q8_0"):
        path = directory / f"{kind}.gguf"
        run("export", "--weights", source, "--format", "gguf", "--type", kind, "--out", path)
        model = llama(path)
        if model is None:
            return
        pairs = [(text, tokens) for text, tokens in encoded if "\0" not in text]
        wrong = [t for t, tokens in pairs if model.tokenize(t.encode(), add_bos=False, special=False) != tokens]
        check(f"llama.cpp's tokens, {kind}", not wrong, f"{len(wrong)} of {len(pairs)} differ")
        tokens = list(prompt)
        for _ in expected:
            tokens.append(int(last_logits(model, tokens).argmax()))
        same = next((i for i, (a, b) in enumerate(zip(tokens[len(prompt):], expected)) if a != b), len(expected))
        text = model.detokenize(tokens[len(prompt):]).decode(errors="replace")
        # A trained model is sure of its words. Random logits lie close, and its GELU is not ours.
        needed = len(expected) if written[until - 1] == end else 1
        check(f"llama.cpp's greedy text, {kind}", same >= needed, f"{same} of {len(expected)} tokens as here: {text[:100]!r}")
