"""Writes fixtures/training/: normalisations and optimisers as PyTorch computes them, in float64.

One small random GPT-2 (that of make_fixtures.py, over a whole batch at once) trains ten steps in each of
four ways: AdamW with RMSNorm, AdamW with batch normalisation, Lion, and Muon with AdamW beside it. Batch
normalisation is torch's F.batch_norm in the form of Ioffe 2017 (batch renormalisation) without bounds.
torch.optim.Muon iterates in bfloat16; here its iteration runs in the tensors' own type. Lion is not in
torch: its three lines are the paper's. Beside them stand single layers: nn.RMSNorm and nn.BatchNorm1d with
their gradients. Run: python make_training_fixtures.py
"""

import json
import math
import pathlib

import torch
import torch.nn.functional as F
import torch.optim._muon
from safetensors.torch import save_file

from make_fixtures import mean_loss, parameter_shapes, random_batch, stored

STEPS = 10
EPSILON = 1e-5
CONFIGURATION = {
    "model_type": "gpt2",
    "vocab_size": 67,
    "n_positions": 16,
    "n_embd": 24,
    "n_layer": 2,
    "n_head": 3,
    "n_inner": 88,
    "activation_function": "gelu",
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "layer_norm_epsilon": EPSILON,
}
CASES = {
    "rmsnorm": {"normalization": "rmsnorm", "optimizer": "adamw", "learning_rate": 3e-3},
    # Batch normalisation is blind to the biases of the residual stream: a larger epsilon keeps AdamW from
    # blowing the rounding errors that are their gradients up to steps of full size.
    "batchnorm": {"normalization": "batchnorm", "optimizer": "adamw", "learning_rate": 3e-3, "epsilon": 1e-3},
    "lion": {"normalization": "layernorm", "optimizer": "lion", "learning_rate": 3e-4},
    "muon": {"normalization": "layernorm", "optimizer": "muon", "learning_rate": 3e-3},
}
COMMON = {
    "beta1": 0.9,
    "beta2": 0.95,
    "epsilon": 1e-8,
    "momentum": 0.95,
    "weight_decay": 0.1,
    "embedding_rate": 2.0,
    "matrix_rate": 1.5,
    "embedding_decay": 0.5,
    "clip": 0.5,
    "label_smoothing": 0.1,
}


def newton_schulz(grad, coefficients, steps, eps):
    """torch.optim._muon's iteration without its rounding to bfloat16."""
    a, b, c = coefficients
    x = grad.T if grad.size(0) > grad.size(1) else grad
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if grad.size(0) > grad.size(1) else x


torch.optim._muon._zeropower_via_newtonschulz = newton_schulz


def distance(a, b):
    """The largest over tensors of ||a - b|| / ||b||, without what is rounding error alone (see make_fixtures)."""

    def known(name, x):
        query, key, value = x.chunk(3)
        return torch.cat([query, value]) if name.endswith("c_attn.bias") else x

    errors = {n: (known(n, a[n]).double() - known(n, b[n])).norm() / known(n, b[n]).norm() for n in b}
    return max(error.item() for n, error in errors.items() if known(n, b[n]).norm() > 1e-9)


class Lion(torch.optim.Optimizer):
    """Chen et al. 2023, algorithm 2."""

    def __init__(self, groups, lr, betas):
        super().__init__(groups, {"lr": lr, "betas": betas, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                update = (beta1 * m + (1 - beta1) * p.grad).sign()
                p -= group["lr"] * (update + group["weight_decay"] * p)
                m.copy_(beta2 * m + (1 - beta2) * p.grad)


def normalize(kind, p, statistics, name, x):
    """One of the three normalisations of x [N, C]; batch normalisation notes what its running statistics are to be."""
    weight = p[name + ".weight"]
    if kind == "rmsnorm":
        return F.rms_norm(x, weight.shape, weight, EPSILON)
    if kind == "layernorm":
        return F.layer_norm(x, weight.shape, weight, p[name + ".bias"], EPSILON)
    mean, var, count = statistics[name]
    own, own_var = x.mean(0), x.var(0, correction=0)
    scale = (var + EPSILON).sqrt()
    r = ((own_var + EPSILON).sqrt() / scale).detach()
    d = ((own - mean) / scale).detach()
    # torch's own rule makes the running statistics of the next step from copies of these.
    momentum = max(0.1, 1 / (count + 1))
    mean, var = mean.clone(), var.clone()
    normal = F.batch_norm(x, mean, var, training=True, momentum=momentum, eps=EPSILON)
    statistics["next"][name] = (mean, var, count + 1)
    return (normal * r + d) * weight + p[name + ".bias"]


def batch_logits(c, kind, p, statistics, batch):
    """Logits [N, V] of a ragged batch."""
    tokens, width, heads = torch.tensor(batch["tokens"]), c["n_embd"], c["n_head"]
    bounds = list(zip(batch["offsets"], batch["offsets"][1:]))

    def linear(x, name):
        return x @ p[name + ".weight"] + p[name + ".bias"]

    def attention(qkv):
        length = len(qkv)
        q, k, v = (t.view(length, heads, -1).transpose(0, 1) for t in qkv.split(width, dim=1))
        scores = q @ k.transpose(1, 2) / math.sqrt(width // heads)
        hidden = torch.ones(length, length).triu(1).bool()
        mixed = scores.masked_fill(hidden, -math.inf).softmax(-1) @ v
        return mixed.transpose(0, 1).reshape(length, width)

    norm = lambda x, name: normalize(kind, p, statistics, name, x)
    x = p["transformer.wte.weight"][tokens] + p["transformer.wpe.weight"][torch.tensor(batch["positions"])]
    for layer in range(c["n_layer"]):
        h = f"transformer.h.{layer}."
        qkv = linear(norm(x, h + "ln_1"), h + "attn.c_attn")
        mixed = torch.cat([attention(qkv[start:end]) for start, end in bounds])
        x = x + linear(mixed, h + "attn.c_proj")
        x = x + linear(F.gelu(linear(norm(x, h + "ln_2"), h + "mlp.c_fc")), h + "mlp.c_proj")
    return norm(x, "transformer.ln_f") @ p["transformer.wte.weight"].T


def group_of(name, value):
    if name in ("transformer.wte.weight", "transformer.wpe.weight"):
        return "embeddings"
    return "matrices" if value.dim() == 2 else "vectors"


def optimizers(o, p):
    """One or two optimisers over groups of their own rates and decays. Muon sees matrices as [out, in], c_attn in parts."""
    lr, decay = o["learning_rate"], o["weight_decay"]
    rates = {"embeddings": lr * o["embedding_rate"], "matrices": lr * o["matrix_rate"], "vectors": lr}
    decays = {"embeddings": decay * o["embedding_decay"], "matrices": decay, "vectors": 0.0}
    groups = [
        {"params": [v for n, v in p.items() if group_of(n, v) == g], "lr": rates[g], "weight_decay": decays[g]}
        for g in rates
    ]
    betas = (o["beta1"], o["beta2"])
    if o["optimizer"] == "lion":
        return [Lion(groups, lr, betas)]
    if o["optimizer"] == "adamw":
        return [torch.optim.AdamW(groups, lr=lr, betas=betas, eps=o["epsilon"])]
    return [torch.optim.AdamW([groups[0], groups[2]], lr=lr, betas=betas, eps=o["epsilon"])]


class Parts:
    """Muon's own parameters: the transposed matrices, c_attn cut into queries, keys and values."""

    def __init__(self, o, p):
        self.pairs = []
        for name, value in p.items():
            if group_of(name, value) != "matrices":
                continue
            for part in range(3) if name.endswith("c_attn.weight") else [None]:
                view = value if part is None else value.chunk(3, dim=1)[part]
                self.pairs.append((name, part, torch.nn.Parameter(view.detach().T.clone())))
        self.muon = torch.optim.Muon(
            [own for _, _, own in self.pairs],
            lr=o["learning_rate"] * o["matrix_rate"],
            weight_decay=o["weight_decay"],
            momentum=o["momentum"],
            adjust_lr_fn="match_rms_adamw",
        )

    @torch.no_grad()
    def step(self, p):
        def place(tensor, part):
            return tensor if part is None else tensor.chunk(3, dim=1)[part]

        for name, part, own in self.pairs:
            own.grad = place(p[name].grad, part).T.clone()
        self.muon.step()
        for name, part, own in self.pairs:
            place(p[name].data, part).copy_(own.T)


def initial(generator):
    """Nothing is zero, symmetric or negligible; gains around 1."""
    parameters = {}
    for name, shape in parameter_shapes(CONFIGURATION).items():
        values = 0.03 + 0.2 * torch.randn(shape, generator=generator)
        parameters[name] = values + 1 if name.endswith(("ln_1.weight", "ln_2.weight", "ln_f.weight")) else values
    return parameters


def train(case, parameters, batches, dtype):
    o, kind = {**COMMON, **CASES[case]}, CASES[case]["normalization"]
    p = {
        name: value.to(dtype).clone().requires_grad_()
        for name, value in parameters.items()
        if not (kind == "rmsnorm" and "ln_" in name and name.endswith(".bias"))
    }
    width = CONFIGURATION["n_embd"]
    norms = [name.removesuffix(".weight") for name in p if "ln_" in name and name.endswith(".weight")]
    statistics = {n: (torch.zeros(width, dtype=dtype), torch.ones(width, dtype=dtype), 0) for n in norms}
    some, parts = optimizers(o, p), Parts(o, p) if o["optimizer"] == "muon" else None
    steps, gradients = [], None
    for batch in batches:
        statistics["next"] = {}
        for value in p.values():
            value.grad = None
        logits = batch_logits(CONFIGURATION, kind, p, statistics, batch)
        loss = mean_loss(logits, batch, o["label_smoothing"], weighted=False)
        loss.backward()
        gradients = gradients or {name: value.grad.clone() for name, value in p.items()}
        norm = torch.nn.utils.clip_grad_norm_(p.values(), o["clip"])
        assert norm > o["clip"], "clipping must be active in every step"
        for optimizer in some:
            optimizer.step()
        if parts is not None:
            parts.step(p)
        statistics.update(statistics["next"])
        steps.append({"loss": loss.item(), "gradient_norm": norm.item()})
    final = {name: value.detach() for name, value in p.items()}
    if kind == "batchnorm":
        for name in norms:
            mean, var, _ = statistics[name]
            final |= {f"{name}.running_mean": mean, f"{name}.running_var": var}
    return steps, gradients, final


def layers(generator):
    """nn.RMSNorm, and nn.BatchNorm1d in training and in evaluation, with gradients: x, dy [N, C]."""
    rows, channels = 37, 20
    x = torch.randn(rows, channels, generator=generator) * (1 + torch.arange(rows) % 3)[:, None]
    x += torch.arange(channels) % 4 - 1
    dy = torch.randn(rows, channels, generator=generator)
    weight, bias = (0.5 + torch.rand(channels, generator=generator) for _ in range(2))
    arrays = {"x": x, "dy": dy, "weight": weight, "bias": bias}

    def run(name, layer, **buffers):
        layer = layer.double()
        state = {"weight": weight.double(), **buffers}
        if name != "rmsnorm":
            state["bias"] = bias.double()
        layer.load_state_dict(state, strict=False)
        own = x.double().requires_grad_()
        y = layer(own)
        y.backward(dy.double())
        found = {"y": y, "dx": own.grad, "dweight": layer.weight.grad}
        if name != "rmsnorm":
            found |= {"dbias": layer.bias.grad, "mean": layer.running_mean, "var": layer.running_var}
        arrays.update({f"{name}.{key}": value.detach() for key, value in found.items()})

    run("rmsnorm", torch.nn.RMSNorm(channels, eps=EPSILON))
    run("training", torch.nn.BatchNorm1d(channels, eps=EPSILON, momentum=1.0))
    mean, var = torch.randn(channels, generator=generator), 0.5 + torch.rand(channels, generator=generator)
    arrays |= {"running_mean": mean, "running_var": var}
    still = torch.nn.BatchNorm1d(channels, eps=EPSILON).eval()
    run("evaluation", still, running_mean=mean.double(), running_var=var.double())
    return arrays


def main():
    torch.set_num_threads(1)
    directory = pathlib.Path(__file__).parent / "fixtures" / "training"
    directory.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(7)
    parameters = initial(generator)
    shapes = [5, 14], [16], [1, 2, 3], [9, 9, 9], [15, 1], [12], [2, 13, 6], [11, 8], [13, 14], [4, 16, 3]
    batches = [random_batch(CONFIGURATION, lengths, generator) for lengths in shapes]
    arrays = {"parameter." + name: value for name, value in parameters.items()}
    for i, batch in enumerate(batches):
        arrays |= {f"step.{i}.{name}": torch.tensor(values) for name, values in batch.items()}
    cases = {}
    for case in CASES:
        steps, gradients, final = train(case, parameters, batches, torch.float64)
        steps32, gradients32, final32 = train(case, parameters, batches, torch.float32)
        worst = max(abs(a["loss"] - b["loss"]) for a, b in zip(steps, steps32))
        print(f"{case}: ten losses in float32 off by {worst:.1e}, gradients {distance(gradients32, gradients):.1e},",
              f"parameters after them {distance(final32, final):.1e};", " ".join(f"{s['loss']:.3f}" for s in steps))
        cases[case] = {"options": {**COMMON, **CASES[case]}, "steps": steps}
        if case in ("rmsnorm", "batchnorm"):
            arrays |= {f"{case}.gradient.{name}": value for name, value in gradients.items()}
        arrays |= {f"{case}.final.{name}": value for name, value in final.items()}
    arrays |= {"layer." + name: value for name, value in layers(generator).items()}
    expected = {"configuration": CONFIGURATION, "cases": cases}
    (directory / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")
    save_file({name: stored(value) for name, value in arrays.items()}, directory / "expected.safetensors")


if __name__ == "__main__":
    main()
