"""Writes fixtures/formats: tiny models as other programs save them, and the logits that those compute.

    python tests/reference/make_format_fixtures.py

needs torch, transformers, safetensors and gguf; the tests read only what it wrote.
"""

import json
import os
import pathlib
import zipfile

os.environ["HF_HUB_OFFLINE"] = "1"

import gguf
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file

from check_formats import Experiment, randomize

DIRECTORY = pathlib.Path(__file__).parent / "fixtures/formats"
TOKENS = [5, 199, 0, 17, 17, 42, 101]
SIZES = dict(vocab_size=200, n_positions=16, n_embd=32, n_layer=2, n_head=2)


def gpt2(seed, dtype):
    """A random model whose weights are exact in a smaller type."""
    model = randomize(transformers.GPT2LMHeadModel(transformers.GPT2Config(**SIZES)), seed)
    return model.to(dtype).float()


def config_of(model):
    keep = [*SIZES, "model_type", "activation_function", "layer_norm_epsilon", "resid_pdrop", "embd_pdrop", "attn_pdrop"]
    return json.dumps({name: model.config.to_dict()[name] for name in keep}, indent=2) + "\n"


def logits(model):
    with torch.no_grad():
        result = model(torch.tensor([TOKENS]))
    return getattr(result, "logits", result)[0, -1].clone()


def write_hugging_face(directory):
    """As the first GPT-2 checkpoints: without prefix, with masks, and here with the tied head."""
    model = gpt2(1, torch.float16)
    tensors = {name.removeprefix("transformer."): p.half() for name, p in model.state_dict().items()}
    tensors["lm_head.weight"] = tensors["wte.weight"].clone()
    for layer in range(SIZES["n_layer"]):
        tensors[f"h.{layer}.attn.bias"] = torch.ones(1, 1, 16, 16, dtype=torch.bool).tril()
        tensors[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    directory.mkdir(exist_ok=True)
    save_file(tensors, directory / "model.safetensors")
    (directory / "config.json").write_text(config_of(model))
    return logits(model)


def write_bin(directory):
    """A state dict in bfloat16, its archive packed again with deflate."""
    model = gpt2(2, torch.bfloat16)
    directory.mkdir(exist_ok=True)
    path = directory / "pytorch_model.bin"
    torch.save({name: p.bfloat16() for name, p in model.state_dict().items()}, path)
    with zipfile.ZipFile(path) as archive:
        entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    (directory / "config.json").write_text(config_of(model))
    return logits(model)


def write_experiment(path):
    model = randomize(Experiment(200, 16, 32, 2, 2), 3)
    torch.save({"model_state_dict": model.state_dict(), "epoch": 4, "config": {"n_heads": 2}}, path)
    return logits(model)


def write_continued(path):
    """A model and its AdamW amid training, and the losses of the steps that follow."""
    model = randomize(Experiment(200, 16, 16, 1, 2), 5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, betas=(0.9, 0.99), weight_decay=0)
    tokens = torch.tensor([TOKENS])

    def step():
        loss = F.cross_entropy(model(tokens[:, :-1])[0], tokens[0, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    for _ in range(5):
        step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "config": {"n_heads": 2}}, path)
    return torch.stack([step() for _ in range(5)])


def write_gguf(path):
    """As llama.cpp's converter writes, with q8_0 matrices and an f16 embedding."""
    model = gpt2(4, torch.float32)
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_context_length(16)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(128)
    writer.add_head_count(2)
    writer.add_layer_norm_eps(1e-5)
    names = {"wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm"}
    parts = {"ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output"}
    parts |= {"ln_2": "ffn_norm", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"}
    types = gguf.GGMLQuantizationType
    for name, parameter in model.transformer.named_parameters():
        stem, leaf = name.rsplit(".", 1)
        if stem in names:
            theirs, rows = names[stem], parameter.detach()
        else:
            _, layer, part = stem.split(".", 2)
            is_matrix = leaf == "weight" and "c_" in part
            theirs = f"blk.{layer}.{parts[part]}"
            rows = parameter.detach().T.contiguous() if is_matrix else parameter.detach()
        kind = types.F16 if stem == "wte" else types.Q8_0 if theirs.startswith("blk") and rows.dim() == 2 else types.F32
        data = gguf.quants.quantize(rows.numpy(), kind)
        writer.add_tensor(f"{theirs}.{leaf}", data, raw_dtype=kind)
        exact = torch.tensor(gguf.quants.dequantize(data, kind))
        with torch.no_grad():
            parameter.copy_(exact.T if exact.shape != parameter.shape or "c_" in stem and leaf == "weight" else exact)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return logits(model)


def main():
    transformers.logging.set_verbosity_error()
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    expected = {
        "tokens": torch.tensor(TOKENS, dtype=torch.int32),
        "hf": write_hugging_face(DIRECTORY / "hf"),
        "bin": write_bin(DIRECTORY / "bin"),
        "experiment": write_experiment(DIRECTORY / "experiment.pth"),
        "continued": write_continued(DIRECTORY / "continued.pth"),
        "gguf": write_gguf(DIRECTORY / "gpt2.gguf"),
    }
    save_file(expected, DIRECTORY / "expected.safetensors")


if __name__ == "__main__":
    main()
