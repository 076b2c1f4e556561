"""BiLSTM tagger: "Bidirectional LSTM-CRF Models for Sequence Tagging", Huang et al. 2015, arXiv:1508.01991, no CRF."""

from __future__ import annotations

from torch import Tensor, nn


class LSTMTagger(nn.Module):
    """Embedding, one bidirectional LSTM, and a linear layer that scores every tag for every token."""

    def __init__(self, vocabulary: int = 1000, embedding: int = 64, hidden: int = 64, tags: int = 17) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True, bidirectional=True)
        self.tagger = nn.Linear(2 * hidden, tags)
        for weight in (*self.lstm.all_weights[0][:2], *self.lstm.all_weights[1][:2], self.tagger.weight):
            nn.init.xavier_normal_(weight, gain=2.0)  # gates that open and close, as the default's hardly do

    def forward(self, tokens: Tensor) -> Tensor:
        """Map token ids `[batch, seq]` to tag scores `[batch, seq, tags]`."""
        states, _ = self.lstm(self.embedding(tokens))
        return self.tagger(states)
