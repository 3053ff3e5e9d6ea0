"""Writes TorchScript files for python_models_test: python3 make_models.py DIR.

Files named good_* have to import and train; those named bad_<operator>_* have
to be refused with that operator's name.
"""

import pathlib
import sys

import torch
from torch import nn
from torch.nn import functional as F


class Tabular(nn.Module):
    """Input [12]: normalization, GELU, dropout as module and as function."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(12, 16), nn.LayerNorm(16), nn.GELU(), nn.Dropout(0.3),
            nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU(inplace=True))
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(F.dropout(self.body(x), 0.2, self.training))


class Recurrent(nn.Module):
    """Input [12], read as 4 steps of 3."""

    def __init__(self, kind, dropout=0.0):
        super().__init__()
        self.recurrent = kind(3, 8, num_layers=2, dropout=dropout, batch_first=True)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        y, _ = self.recurrent(x.reshape(-1, 4, 3))
        return self.head(self.dropout(y[:, -1]))


class Attention(nn.Module):
    """Input [12], read as 3 tokens of 4."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, dropout=dropout, batch_first=True)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        tokens = x.reshape(-1, 3, 4)
        y, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return self.head(self.dropout(y + tokens).mean(dim=1))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(4, 2, dim_feedforward=8, dropout=0.0, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.encoder(x.reshape(-1, 3, 4)).mean(dim=1))


class Convolutional(nn.Module):
    """Input [12], read as an image of 3 channels, 2 × 2."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout2d(0.2),
            nn.Conv2d(8, 8, 1), nn.Flatten(), nn.Linear(32, 3))

    def forward(self, x):
        return self.net(x.reshape(-1, 3, 2, 2))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(12, 12)
        self.second = nn.Linear(12, 12)
        self.second.weight = self.first.weight
        self.head = nn.Linear(12, 3)
        self.frozen = nn.Linear(12, 12)
        self.frozen.requires_grad_(False)

    def forward(self, x):
        return self.head(self.second(torch.tanh(self.first(self.frozen(x)))))


class Noisy(nn.Module):
    def __init__(self, operator: str):
        super().__init__()
        self.head = nn.Linear(12, 3)
        self.operator = operator

    def forward(self, x):
        y = self.head(x)
        if self.operator == "randn_like":
            y = y + torch.randn_like(y)
        return y


class Alpha(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(12, 3), nn.AlphaDropout(0.1))

    def forward(self, x):
        return self.net(x)


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    torch.manual_seed(3)
    scripted = {
        "good_tabular": Tabular(),
        "good_lstm": Recurrent(nn.LSTM),
        "good_gru": Recurrent(nn.GRU),
        "good_rnn": Recurrent(nn.RNN),
        "good_attention": Attention(),
        "good_encoder": Encoder(),
        "good_convolutional": Convolutional(),
        "good_tied": Tied(),
        "bad_lstm_dropout": Recurrent(nn.LSTM, 0.5),
        "bad_gru_dropout": Recurrent(nn.GRU, 0.5),
        "bad_scaled_dot_product_attention_dropout": Attention(0.5),
        "bad_alpha_dropout_noise": Alpha(),
        "bad_randn_like_noise": Noisy("randn_like"),
    }
    for name, model in scripted.items():
        torch.jit.script(model).save(str(folder / f"{name}.pt"))
    for name, model in {"good_traced": Tabular(), "good_traced_lstm": Recurrent(nn.LSTM)}.items():
        torch.jit.trace(model, torch.rand(5, 12), check_trace=False).save(str(folder / f"{name}.pt"))


if __name__ == "__main__":
    main()
