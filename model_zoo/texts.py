"""A small WordPiece tokenizer, made in memory: what stands before the zoo's BERT models in an end-to-end check."""

from __future__ import annotations

import string
from typing import Any

#: Words kept whole; everything else is spelled letter by letter.
_WORDS = (
    "the a an of to in on at is was are were it this that not and or but who what where when how why "
    "battery camera sensor motor signal model device phone screen light noise heat cold rain road "
    "works fails broke stopped started runs good bad slow fast bright dark loud quiet new old two three"
)


def build_wordpiece() -> Any:
    """Build a WordPiece tokenizer (Wu et al. 2016, arXiv:1609.08144) for English words and single letters.

    Returns:
        A `transformers.BertTokenizer` of fewer than 1000 ids: texts in, `input_ids`, `token_type_ids` and
        `attention_mask` out.
    """
    from transformers import BertTokenizer

    letters = [*string.ascii_lowercase, *string.digits]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_WORDS.split(), *string.punctuation, *letters]
    pieces += [f"##{letter}" for letter in letters]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    return BertTokenizer(vocab=vocabulary, do_lower_case=True)
