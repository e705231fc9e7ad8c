"""The recipe `basic` at 124M parameters as a plain PyTorch loop: the yardstick for time and losses.

    deno run -R tests/reference/tokenize_basic.ts > basic.json
    python tests/reference/pytorch_basic.py basic.json [--pad-to 256] [--fused] [--epochs N]

Batches are padded to their longest text, or to --pad-to tokens; pads follow the text, so that causal
attention needs no mask for them, and do not count in the loss. Prints one JSON object.
"""

import argparse
import json
import resource
import time

import torch
import torch.nn.functional as F
from torch import nn

VOCABULARY, POSITIONS, LAYERS, HEADS, WIDTH = 50260, 1024, 12, 12, 768
PAD, IGNORED = 50257, -100
BATCH, DROPOUT, MAX_TOKENS = 2, 0.1, 256


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1 = nn.LayerNorm(WIDTH)
        self.c_attn = nn.Linear(WIDTH, 3 * WIDTH)
        self.attn_proj = nn.Linear(WIDTH, WIDTH)
        self.ln_2 = nn.LayerNorm(WIDTH)
        self.c_fc = nn.Linear(WIDTH, 4 * WIDTH)
        self.mlp_proj = nn.Linear(4 * WIDTH, WIDTH)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x):
        batch, length, _ = x.shape
        qkv = self.c_attn(self.ln_1(x)).view(batch, length, 3, HEADS, WIDTH // HEADS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        dropout = DROPOUT if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        x = x + self.dropout(self.attn_proj(mixed.transpose(1, 2).reshape(x.shape)))
        return x + self.dropout(self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x)))))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte = nn.Embedding(VOCABULARY, WIDTH)
        self.wpe = nn.Embedding(POSITIONS, WIDTH)
        self.dropout = nn.Dropout(DROPOUT)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.ln_f = nn.LayerNorm(WIDTH)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, tokens, targets):
        x = self.dropout(self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1])))
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.ln_f(x), self.wte.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


def collate(texts, pad_to):
    length = pad_to or max(map(len, texts))
    tokens = torch.full((len(texts), length), PAD)
    targets = torch.full((len(texts), length), IGNORED)
    for row, text in enumerate(texts):
        tokens[row, : len(text)] = torch.tensor(text)
        targets[row, : len(text) - 1] = torch.tensor(text[1:])
    return tokens, targets


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tokens", help="JSON: a list of texts, each a list of token numbers")
    parser.add_argument("--pad-to", type=int, help="pad every batch to this many tokens")
    parser.add_argument("--fused", action="store_true", help="PyTorch's fused AdamW")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.manual_seed(42)
    with open(options.tokens) as file:
        texts = [text[:MAX_TOKENS] for text in json.load(file)]
    model = GPT()
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}],
        lr=1e-4,
        betas=(0.9, 0.999),
        fused=options.fused or None,
    )

    epochs = []
    start = time.perf_counter()
    for epoch in range(1, options.epochs + 1):
        epoch_start = time.perf_counter()
        losses = []
        order = torch.randperm(len(texts)).tolist()
        for first in range(0, len(order), BATCH):
            batch = [texts[i] for i in order[first : first + BATCH]]
            loss = model(*collate(batch, options.pad_to))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
        seconds = time.perf_counter() - epoch_start
        mean = sum(losses) / len(losses)
        epochs.append({"epoch": epoch, "seconds": round(seconds, 2), "first_loss": losses[0], "mean_loss": mean})
    report = {
        "torch": torch.__version__,
        "threads": options.threads,
        "padded_to": options.pad_to or "longest",
        "fused": options.fused,
        "parameters": sum(p.numel() for p in model.parameters()),
        "texts": len(texts),
        "tokens": sum(map(len, texts)),
        "epochs": epochs,
        "seconds": round(time.perf_counter() - start, 2),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(report, indent=2))


main()
