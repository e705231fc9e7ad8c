"""Writes fixtures/distillation/: what PyTorch computes, in float64, for a student that learns from two teachers.

Student is the model of fixtures/gelu; the teachers are that of fixtures/gelu_new and, so that there is a mean to take,
the student's own weights. Loss of a target: (1 - w) * cross-entropy + w * T^2 * divergence, the divergence over the k
tokens that the teachers find likeliest and all others as one class; targets without a teacher: cross-entropy alone.
Run: python make_distillation_fixtures.py (needs the fixtures of make_fixtures.py).
"""

import json
import pathlib

import torch
import torch.nn.functional as F
from make_fixtures import IGNORED, batch_logits, leaves, stored
from safetensors.torch import load_file, save_file

TEMPERATURE, WEIGHT, TOP_K = 2.0, 0.6, 24
SILENT = 5  # every fifth target has no teacher
GRADIENTS = ["transformer.wte.weight", "transformer.h.0.attn.c_attn.weight", "transformer.ln_f.bias"]


def coarse(probabilities, listed):
    """[rows, k + 1]: the listed tokens' probabilities and that of all others."""
    chosen = probabilities.gather(1, listed)
    others = torch.ones_like(probabilities).scatter(1, listed, 0.0)
    return torch.cat([chosen, (probabilities * others).sum(1, keepdim=True)], 1)


def main():
    root = pathlib.Path(__file__).parent / "fixtures"
    configurations = {n: json.loads((root / n / "config.json").read_text()) for n in ("gelu", "gelu_new")}
    parameters = {n: load_file(root / n / "model.safetensors") for n in configurations}
    arrays = load_file(root / "gelu" / "expected.safetensors")
    batch = {n: arrays[f"batch.{n}"].tolist() for n in ("tokens", "targets", "positions", "offsets", "weights")}
    targets = torch.tensor(batch["targets"])
    rows = (targets != IGNORED).nonzero().squeeze(1)
    weights = torch.tensor(batch["weights"]).double()[rows]
    taught = torch.arange(len(rows)) % SILENT != SILENT - 1

    with torch.no_grad():
        p = {
            n: (batch_logits(configurations[n], {k: v.double() for k, v in parameters[n].items()}, batch)[rows] / TEMPERATURE).softmax(-1)
            for n in configurations
        }
        mean = (p["gelu"] + p["gelu_new"]) / 2
        listed = mean.topk(TOP_K).indices
        teachers = coarse(mean, listed)

    result = {"tokens": listed, "probabilities": teachers[:, :TOP_K], "rests": teachers[:, TOP_K]}
    losses = {}
    for divergence in ("forward", "reverse"):
        student = leaves(parameters["gelu"], torch.float64)
        logits = batch_logits(configurations["gelu"], student, batch)[rows]
        hard = F.cross_entropy(logits, targets[rows], reduction="none")
        q = coarse((logits / TEMPERATURE).softmax(-1), listed).log()
        p = teachers.log()
        pair = (q, p) if divergence == "forward" else (p, q)
        soft = F.kl_div(*pair, log_target=True, reduction="none").sum(1)
        mixed = (1 - WEIGHT) * hard + WEIGHT * TEMPERATURE**2 * soft
        loss = (weights * torch.where(taught, mixed, hard)).sum() / weights.sum()
        loss.backward()
        losses[divergence] = {
            "loss": loss.item(),
            "distillation": ((weights * soft)[taught].sum() / weights[taught].sum() * TEMPERATURE**2).item(),
        }
        result |= {f"{divergence}.{name}": student[name].grad for name in GRADIENTS}

    directory = root / "distillation"
    directory.mkdir(exist_ok=True)
    settings = {"temperature": TEMPERATURE, "weight": WEIGHT, "top_k": TOP_K, "silent": SILENT}
    (directory / "expected.json").write_text(json.dumps(settings | losses, indent=2) + "\n")
    save_file({name: stored(value) for name, value in result.items()}, directory / "expected.safetensors")
    print(losses)


if __name__ == "__main__":
    main()
