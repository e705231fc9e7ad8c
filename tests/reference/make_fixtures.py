"""Writes fixtures/: small random GPT-2s with what PyTorch computes for them, in float64.

The model is written out here rather than taken from a library, so that the fixtures depend on
torch, numpy and safetensors alone. Every result is computed in float64 from parameters rounded to
float32; the same is done in float32, and the distance of the two printed, which is what a correct
float32 implementation may differ by. Run: python make_fixtures.py (rewrites fixtures/, some 3 s).
"""

import json
import math
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

LABEL_SMOOTHING = 0.1
OPTIMIZER = {
    "learning_rate": 3e-3,
    "beta1": 0.9,
    "beta2": 0.95,
    "epsilon": 1e-8,
    "weight_decay": 0.1,
    "clip": 0.5,
    "label_smoothing": LABEL_SMOOTHING,
}
STEPS = 10
IGNORED = -1

COMMON = {
    "model_type": "gpt2",
    "vocab_size": 211,
    "n_positions": 32,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "layer_norm_epsilon": 1e-5,
}
FIXTURES = {
    "gelu": {
        **COMMON,
        "n_embd": 48,
        "n_layer": 3,
        "n_head": 3,
        "n_inner": None,
        "activation_function": "gelu",
    },
    # Other widths than above: an MLP that is not four times the channels, heads of 8 channels.
    "gelu_new": {
        **COMMON,
        "n_embd": 40,
        "n_layer": 2,
        "n_head": 5,
        "n_inner": 104,
        "activation_function": "gelu_new",
    },
}


def parameter_shapes(c):
    """Hugging Face's names and shapes, in its order; c_* weights are [in, out]."""
    width, inner = c["n_embd"], c["n_inner"] or 4 * c["n_embd"]
    shapes = {
        "transformer.wte.weight": (c["vocab_size"], width),
        "transformer.wpe.weight": (c["n_positions"], width),
    }
    for layer in range(c["n_layer"]):
        h = f"transformer.h.{layer}."
        shapes |= {
            h + "ln_1.weight": (width,),
            h + "ln_1.bias": (width,),
            h + "attn.c_attn.weight": (width, 3 * width),
            h + "attn.c_attn.bias": (3 * width,),
            h + "attn.c_proj.weight": (width, width),
            h + "attn.c_proj.bias": (width,),
            h + "ln_2.weight": (width,),
            h + "ln_2.bias": (width,),
            h + "mlp.c_fc.weight": (width, inner),
            h + "mlp.c_fc.bias": (inner,),
            h + "mlp.c_proj.weight": (inner, width),
            h + "mlp.c_proj.bias": (width,),
        }
    return shapes | {"transformer.ln_f.weight": (width,), "transformer.ln_f.bias": (width,)}


def random_parameters(c, generator):
    """Normal(0.03, 0.2), LayerNorm weights around 1: nothing is zero, symmetric or negligible."""
    parameters = {}
    for name, shape in parameter_shapes(c).items():
        values = 0.03 + 0.2 * torch.randn(shape, generator=generator)
        is_gain = name.endswith(("ln_1.weight", "ln_2.weight", "ln_f.weight"))
        parameters[name] = values + 1 if is_gain else values
    return parameters


def sequence_logits(c, p, tokens):
    """Logits [T, V] of one sequence, tokens [T]."""
    length, heads = len(tokens), c["n_head"]
    width = c["n_embd"]

    def layer_norm(x, name):
        return F.layer_norm(x, (width,), p[name + ".weight"], p[name + ".bias"], c["layer_norm_epsilon"])

    def linear(x, name):
        return x @ p[name + ".weight"] + p[name + ".bias"]

    approximate = {"gelu": "none", "gelu_new": "tanh"}[c["activation_function"]]
    hidden = torch.ones(length, length).triu(1).bool()
    x = p["transformer.wte.weight"][tokens] + p["transformer.wpe.weight"][:length]
    for layer in range(c["n_layer"]):
        h = f"transformer.h.{layer}."
        qkv = linear(layer_norm(x, h + "ln_1"), h + "attn.c_attn")
        q, k, v = (t.view(length, heads, -1).transpose(0, 1) for t in qkv.split(width, dim=1))
        scores = q @ k.transpose(1, 2) / math.sqrt(width // heads)  # [H, T, T]
        mixed = scores.masked_fill(hidden, -math.inf).softmax(-1) @ v
        x = x + linear(mixed.transpose(0, 1).reshape(length, width), h + "attn.c_proj")
        inner = F.gelu(linear(layer_norm(x, h + "ln_2"), h + "mlp.c_fc"), approximate=approximate)
        x = x + linear(inner, h + "mlp.c_proj")
    return layer_norm(x, "transformer.ln_f") @ p["transformer.wte.weight"].T


def batch_logits(c, p, batch):
    """Logits [N, V] of a ragged batch."""
    tokens = torch.tensor(batch["tokens"])
    bounds = zip(batch["offsets"], batch["offsets"][1:])
    return torch.cat([sequence_logits(c, p, tokens[start:end]) for start, end in bounds])


def mean_loss(logits, batch, label_smoothing, weighted):
    """sum(w * l) / sum(w) over the targets that are not ignored; w is 1 unless weighted."""
    targets = torch.tensor(batch["targets"])
    losses = F.cross_entropy(
        logits, targets, reduction="none", ignore_index=IGNORED, label_smoothing=label_smoothing
    )
    weights = (targets != IGNORED).to(logits.dtype)
    if weighted:
        weights = weights * torch.tensor(batch["weights"], dtype=logits.dtype)
        return (losses * weights).sum() / weights.sum()
    mean = (losses * weights).sum() / weights.sum()
    own = F.cross_entropy(logits, targets, ignore_index=IGNORED, label_smoothing=label_smoothing)
    assert abs(mean.item() - own.item()) <= 1e-5 * abs(own.item())
    return mean


def random_batch(c, lengths, generator):
    """Random tokens with about a fifth of the targets ignored, never all, and uneven weights."""
    total = sum(lengths)
    tokens = torch.randint(c["vocab_size"], (total,), generator=generator)
    targets = torch.randint(c["vocab_size"], (total,), generator=generator)
    ignored = torch.rand(total, generator=generator) < 0.2
    ignored[0] = False
    weights = 0.1 + 1.9 * torch.rand(total, generator=generator)
    # Each occurs where an off-by-one in a bound would show.
    tokens[total // 2], targets[0] = c["vocab_size"] - 1, c["vocab_size"] - 1
    offsets = [0]
    for length in lengths:
        offsets.append(offsets[-1] + length)
    return {
        "tokens": tokens.tolist(),
        "targets": targets.masked_fill(ignored, IGNORED).tolist(),
        "weights": weights.tolist(),
        "positions": [position for length in lengths for position in range(length)],
        "offsets": offsets,
    }


def leaves(parameters, dtype):
    return {name: value.to(dtype).clone().requires_grad_() for name, value in parameters.items()}


def gradient_case(c, parameters, batch, label_smoothing, weighted, dtype):
    p = leaves(parameters, dtype)
    mean_loss(batch_logits(c, p, batch), batch, label_smoothing, weighted).backward()
    return {name: value.grad for name, value in p.items()}


def train(c, parameters, batches, dtype):
    """Ten AdamW steps; weight decay on matrices and embeddings only."""
    p = leaves(parameters, dtype)
    groups = [
        {"params": [v for v in p.values() if v.dim() >= 2], "weight_decay": OPTIMIZER["weight_decay"]},
        {"params": [v for v in p.values() if v.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups,
        lr=OPTIMIZER["learning_rate"],
        betas=(OPTIMIZER["beta1"], OPTIMIZER["beta2"]),
        eps=OPTIMIZER["epsilon"],
    )
    losses, norms = [], []
    for batch in batches:
        optimizer.zero_grad()
        loss = mean_loss(batch_logits(c, p, batch), batch, LABEL_SMOOTHING, weighted=False)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(p.values(), OPTIMIZER["clip"])
        assert norm > OPTIMIZER["clip"], "clipping must be active in every step"
        optimizer.step()
        losses.append(loss.item())
        norms.append(norm.item())
    return losses, norms, {name: value.detach() for name, value in p.items()}


def distance(a, b):
    """The largest over tensors of ||a - b|| / ||b||.

    Without the keys' bias: softmax is blind to it, so its gradient is rounding error, which Adam
    then blows up to steps of full size.
    """

    def known(name, x):
        if not name.endswith("c_attn.bias"):
            return x.double()
        query, _, value = x.double().chunk(3)
        return torch.cat([query, value])

    return max(((known(n, a[n]) - known(n, b[n])).norm() / known(n, b[n]).norm()).item() for n in b)


def write_fixture(directory, c, seed):
    generator = torch.Generator().manual_seed(seed)
    parameters = random_parameters(c, generator)
    batch = random_batch(c, [1, 2, 7, 19, 32], generator)
    step_batches = [
        random_batch(c, lengths, generator)
        for lengths in ([5, 17], [32], [1, 2, 3], [9, 9, 9], [31, 1], [12], [2, 25, 6], [20, 8], [13, 14], [4, 32, 3])
    ]
    assert len(step_batches) == STEPS

    with torch.no_grad():
        p64 = {name: value.double() for name, value in parameters.items()}
        logits = batch_logits(c, p64, batch)
        logits32 = batch_logits(c, parameters, batch)
    cases = []
    arrays = {"logits": logits}
    print(f"{directory.name}: logits {(logits32.double() - logits).abs().max():.1e}", end="")
    for label_smoothing in (0.0, LABEL_SMOOTHING):
        for weighted in (False, True):
            loss = mean_loss(logits, batch, label_smoothing, weighted).item()
            cases.append({"label_smoothing": label_smoothing, "weighted": weighted, "loss": loss})

    # Gradients of one case a fixture keep the files small; between them they cover both settings.
    weighted = c["activation_function"] == "gelu"
    label_smoothing = LABEL_SMOOTHING if weighted else 0.0
    gradients, gradients32 = (
        gradient_case(c, parameters, batch, label_smoothing, weighted, dtype)
        for dtype in (torch.float64, torch.float32)
    )
    print(f", gradients {distance(gradients32, gradients):.1e}", end="")
    losses, norms, final = train(c, parameters, step_batches, torch.float64)
    losses32, _, final32 = train(c, parameters, step_batches, torch.float32)
    worst = max(abs(a - b) for a, b in zip(losses, losses32))
    print(f", ten losses {worst:.1e}, parameters after them {distance(final32, final):.1e}")
    print("  losses", " ".join(f"{loss:.3f}" for loss in losses), "norms", " ".join(f"{n:.2f}" for n in norms))

    arrays |= {"gradient." + name: value for name, value in gradients.items()}
    arrays |= {"final." + name: value for name, value in final.items()}
    for prefix, b in [("batch", batch)] + [(f"step.{i}", b) for i, b in enumerate(step_batches)]:
        arrays |= {f"{prefix}.{name}": torch.tensor(values) for name, values in b.items()}
    expected = {
        "cases": cases,
        "gradient_case": {"label_smoothing": label_smoothing, "weighted": weighted},
        "optimizer": OPTIMIZER,
        "steps": [{"loss": loss, "gradient_norm": norm} for loss, norm in zip(losses, norms)],
    }
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(c, indent=2) + "\n")
    (directory / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")
    save_file(parameters, directory / "model.safetensors")
    save_file({name: stored(value) for name, value in arrays.items()}, directory / "expected.safetensors")


def stored(array):
    return array.to(torch.float32 if array.is_floating_point() else torch.int32).contiguous()


def main():
    torch.set_num_threads(1)
    root = pathlib.Path(__file__).parent / "fixtures"
    for seed, (name, configuration) in enumerate(FIXTURES.items(), start=1):
        write_fixture(root / name, configuration, seed)


if __name__ == "__main__":
    main()
