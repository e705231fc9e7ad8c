"""Checks the foreign formats against the programs that they belong to. By hand, never by the tests:

    python tests/reference/check_formats.py [--write-fixture]

needs torch, transformers and gguf, and peft and llama-cpp-python for the checks of theirs, which are left out
without them. Prints a line for each check and exits with 1 when one fails.
The fixture holds the tokens of transformers in a compact vocabulary, which tests/checkpoint/compact_test.ts compares.
"""

import json
import os
import pathlib
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from torch import nn
from torch.nn import functional as F
import transformers

from check_compact import check_compact, check_compact_corpus
from foreign import BOUND, GREEDY, ROOT, SEQUENCES
from foreign import check, check_logits, distance, failures, last_logits, llama, probe, random_texts, run, theirs


def randomize(model, seed):
    """Weights at which every tensor matters to the logits."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            is_norm = "ln_" in name or "norm" in name
            parameter.copy_(1 + 0.1 * noise if is_norm and name.endswith("weight") else 0.08 * noise)
    return model.eval()


def read_hugging_face(directory):
    config = transformers.GPT2Config(vocab_size=50257, n_positions=64, n_embd=96, n_layer=3, n_head=4)
    model = randomize(transformers.GPT2LMHeadModel(config), 1)
    expected = theirs(model)
    model.save_pretrained(directory / "plain")
    check_logits("transformers -> here, f32", directory / "plain", expected)
    model.save_pretrained(directory / "sharded", max_shard_size="4MB")
    check((directory / "sharded").name, (directory / "sharded/model.safetensors.index.json").exists())
    check_logits("transformers -> here, sharded", directory / "sharded", expected)
    model.transformer.save_pretrained(directory / "unprefixed")
    check_logits("transformers -> here, without prefix", directory / "unprefixed", expected)
    for dtype in (torch.float16, torch.bfloat16):
        copy = transformers.GPT2LMHeadModel(config)
        copy.load_state_dict(model.state_dict())
        name = str(dtype).removeprefix("torch.")
        copy.to(dtype).save_pretrained(directory / name)
        check_logits(f"transformers -> here, {name}", directory / name, theirs(copy.float().eval()))
    (directory / "bin").mkdir()
    torch.save(model.state_dict(), directory / "bin/pytorch_model.bin")
    config.save_pretrained(directory / "bin")
    check_logits("transformers -> here, pytorch_model.bin", directory / "bin", expected)
    return directory / "plain"


def write_hugging_face(source, directory):
    run("export", "--weights", source, "--out", directory / "hf", "--format", "hf")
    model = transformers.AutoModelForCausalLM.from_pretrained(directory / "hf").eval()
    check_logits("here -> transformers", source, theirs(model))
    tokens = SEQUENCES[0]
    with torch.no_grad():
        written = model.generate(
            torch.tensor([tokens]), max_new_tokens=GREEDY, min_new_tokens=GREEDY, do_sample=False
        )[0].tolist()
    ours = probe(weights=str(source), sequences=[tokens], greedy=GREEDY)["written"]
    check("50 greedy tokens of transformers", written == ours, f"{len(ours) - len(tokens)} tokens")
    return directory / "hf"


def check_tokenizer(directory):
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    texts = random_texts(1000, 42)
    ours = probe(texts=texts)["encoded"]
    wrong = [text for text, tokens in zip(texts, ours) if tokenizer.encode(text) != tokens]
    check("AutoTokenizer on 1,000 random texts", not wrong, f"{len(wrong)} differ {[ascii(t) for t in wrong[:3]]}")
    back = sum(tokenizer.decode(tokens) != text for text, tokens in zip(texts, ours))
    check("AutoTokenizer decodes them", back == 0, f"{back} differ")
    special = [tokenizer.convert_tokens_to_ids(t) for t in ("<|endoftext|>", "<|pad|>", "<|startoftext|>", "<|unknown|>")]
    check("special tokens", special == [50256, 50257, 50258, 50259], str(special))
    check("they are special", tokenizer.decode(special, skip_special_tokens=True) == "")
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "And?"},
    ]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    expected = "Be brief.\nHuman: Hi\nAssistant: Hello!\nHuman: And?\nAssistant:"
    check("chat template", text == expected, repr(text))


class Experiment(nn.Module):
    """The original experiment's model as its state dict tells."""

    def __init__(self, V, T, C, L, H):
        super().__init__()
        self.heads = H
        self.token_embedding = nn.Embedding(V, C)
        self.position_encoding = nn.Module()
        self.position_encoding.pe = nn.Parameter(torch.zeros(1, T, C))
        self.transformer_blocks = nn.ModuleList(self.block(C) for _ in range(L))
        self.final_norm = nn.LayerNorm(C)
        self.lm_head = nn.Linear(C, V, bias=False)
        self.lm_head.weight = self.token_embedding.weight

    def block(self, C):
        block = nn.Module()
        block.attention = nn.Module()
        block.attention.w_qkv, block.attention.w_o = nn.Linear(C, 3 * C), nn.Linear(C, C)
        block.feed_forward = nn.Module()
        block.feed_forward.linear1, block.feed_forward.linear2 = nn.Linear(C, 4 * C), nn.Linear(4 * C, C)
        block.norm1, block.norm2 = nn.LayerNorm(C), nn.LayerNorm(C)
        return block

    def forward(self, tokens):
        T = tokens.shape[1]
        x = self.token_embedding(tokens) + self.position_encoding.pe[:, :T]
        for block in self.transformer_blocks:
            q, k, v = block.attention.w_qkv(block.norm1(x)).chunk(3, -1)
            q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (q, k, v))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
            x = x + block.attention.w_o(y)
            x = x + block.feed_forward.linear2(F.gelu(block.feed_forward.linear1(block.norm2(x))))
        return self.lm_head(self.final_norm(x))


def check_pth(directory):
    model = randomize(Experiment(50260, 64, 96, 3, 6), 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.tensor([[1, 2, 3]])).sum().backward()
    optimizer.step()
    saved = {"model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict(), "epoch": 3, "loss": 0.5}
    torch.save(saved, directory / "model.pth")
    done = run("import", directory / "model.pth", "--out", directory / "imported", "--heads", 6)
    check("the optimiser's state comes along", (directory / "imported/training/optimizer.safetensors").exists(), done.stderr.strip())
    text = "Human: What is a checkpoint?\nAssistant: A model's weights in a file."
    (directory / "data.jsonl").write_text(json.dumps({"text": text}) + "\n")
    report = run(
        "eval", "--weights", directory / "imported", "--data", directory / "data.jsonl", "--no-answers", "--json"
    )
    tokens = torch.tensor(probe(texts=[text])["encoded"][0] + [50256])
    with torch.no_grad():
        expected = F.cross_entropy(model(tokens[None, :-1])[0], tokens[1:]).item()
    ours = json.loads(report.stdout)["cross_entropy"]
    check(".pth of the experiment: loss", abs(ours - expected) <= 1e-5 * expected, f"{ours:.6f}, there {expected:.6f}")


def check_gguf(source, directory):
    reference = probe(weights=str(source), sequences=SEQUENCES)["logits"]
    expected = [torch.tensor(row) for row in reference]
    spread = max(row.std().item() for row in expected)
    # f16 keeps 11 bits, q8_0 about 7 of the largest number of 32; errors add up over 3 layers.
    for kind, bound in (("f32", 1e-6), ("f16", 4e-3 * spread), ("q8_0", 0.1 * spread)):
        for head in ([], ["--explicit-head"]):
            path = directory / f"{kind}{len(head)}.gguf"
            run("export", "--weights", source, "--format", "gguf", "--type", kind, "--out", path, *head)
            check_logits(f"gguf {kind} {' '.join(head)} -> here", path, expected, bound)
    check_gguf_package(directory / "q8_01.gguf", directory / "f320.gguf")
    check_llama(expected, spread, directory)


def check_gguf_package(quantized, plain):
    import gguf
    import numpy

    exact = {t.name: numpy.array(t.data) for t in gguf.GGUFReader(plain).tensors}
    wrong = []
    for tensor in gguf.GGUFReader(quantized).tensors:
        values = exact.get(tensor.name, exact["token_embd.weight"]).reshape(tensor.shape[::-1])
        wanted = gguf.quants.quantize(values.astype(numpy.float32), tensor.tensor_type)
        if not numpy.array_equal(numpy.array(tensor.data).reshape(wanted.shape), wanted):
            wrong.append(tensor.name)
    check("q8_0 has the bytes of the package gguf", not wrong, str(wrong[:3]))


def check_llama(expected, spread, directory):
    # llama.cpp looks GELU up in a table of f16, and multiplies f16 matrices by f16 activations.
    for kind, bound in (("f32", 1e-2), ("f16", 2e-2), ("q8_0", 1e-1)):
        for head in (0, 1):
            model = llama(directory / f"{kind}{head}.gguf")
            if model is None:
                return
            rows = [last_logits(model, tokens).tolist() for tokens in SEQUENCES]
            worst = distance(rows, expected)
            check(f"llama.cpp {kind}, head {head}", worst <= bound * spread, f"logits differ by {worst:.1e}, spread {spread:.1f}")
    texts = [text for text in random_texts(300, 7) if "\0" not in text]
    ours = probe(texts=texts)["encoded"]
    wrong = [t for t, tokens in zip(texts, ours) if model.tokenize(t.encode(), add_bos=False, special=False) != tokens]
    check("llama.cpp's tokens of 300 random texts", not wrong, f"{len(wrong)} differ {[ascii(t) for t in wrong[:3]]}")


def check_exact_gelu(directory):
    """llama.cpp has the tanh form only: how far our own models' logits are off there."""
    source, path = directory / "imported", directory / "exact.gguf"
    expected = [torch.tensor(row) for row in probe(weights=str(source), sequences=SEQUENCES)["logits"]]
    run("export", "--weights", source, "--format", "gguf", "--out", path)
    model = llama(path)
    if model is None:
        return
    worst = distance([last_logits(model, tokens).tolist() for tokens in SEQUENCES], expected)
    check("llama.cpp with our exact GELU", worst <= 1e-2, f"logits differ by {worst:.1e}")


def check_peft(source, directory):
    """Our adapter beside its base in PEFT, and PEFT's merged here."""
    try:
        import peft
    except ImportError:
        return
    data = directory / "lora.jsonl"
    lines = [{"prompt": f"What is {word}?", "completion": f"{word} is a word."} for word in ("red", "green", "blue")]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run(
        "train", "--init", source, "--recipe", "improved", "--data", data, "--max-tokens", "32", "--epochs", "8",
        "--lora-rank", "4", "--lora-targets", "c_attn,c_proj,c_fc", "--learning-rate", "0.01", "--sample-every", "0",
        "--out", directory / "lora",
    )
    ours = directory / "lora/last"
    run("export", "--weights", source, "--out", directory / "lora-base", "--format", "hf")
    base = transformers.AutoModelForCausalLM.from_pretrained(directory / "lora-base").eval()
    plain = theirs(base)
    model = peft.PeftModel.from_pretrained(base, ours).eval()
    expected = theirs(model)
    check("the adapter changes something", distance([row.tolist() for row in plain], expected) > 0.1)
    check_logits("our adapter in PEFT", ours, expected)
    config = peft.LoraConfig(r=3, lora_alpha=5, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True)
    fresh = transformers.AutoModelForCausalLM.from_pretrained(directory / "lora-base")
    model = peft.get_peft_model(fresh, config).eval()
    torch.manual_seed(4)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.1)
    model.save_pretrained(directory / "peft")
    run("import", directory / "peft", "--base", source, "--out", directory / "merged")
    check_logits("PEFT's adapter merged here", directory / "merged", theirs(model))


def main():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as temporary:
        directory = pathlib.Path(temporary)
        source = read_hugging_face(directory)
        exported = write_hugging_face(source, directory)
        check_tokenizer(exported)
        check_pth(directory)
        check_gguf(source, directory)
        check_exact_gelu(directory)
        check_peft(source, directory)
        check_compact_corpus(directory, "--write-fixture" in sys.argv)
        print("the model that ships")
        check_compact(directory / "shipped", ROOT / "weights/illuminator/best", "Human: What is a variable?\nAssistant:")
    sys.exit(f"{len(failures)} failed: {', '.join(failures)}" if failures else 0)


if __name__ == "__main__":
    main()
