"""The tokenizer for BLIP checkpoints that LAVIS wrote, which hold none: BERT's uncased one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ovsslib.errors import OvssError
from ovsslib.io.download import hub_snapshot
from ovsslib.io.files import read_text
from ovsslib.vlm.inputs import load_tokenizer

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]")
# Repositories with BERT's uncased vocabulary, in the order in which they are looked for.
_TOKENIZER_REPOS = (
    "bert-base-uncased",
    "google-bert/bert-base-uncased",
    "Salesforce/blip-itm-base-coco",
    "Salesforce/blip-itm-base-flickr",
    "Salesforce/blip-itm-large-coco",
    "Salesforce/blip-itm-large-flickr",
)


def read_vocabulary(path: Path) -> Tokenizer:
    """BERT's uncased tokenizer out of its `vocab.txt`, without padding or truncation.

    Args:
        path: One token a line, in the order of the ids; `[DEC]` and `[ENC]` may be missing.

    Raises:
        OvssError: The file cannot be read, or lacks BERT's special tokens.
    """
    from tokenizers import models, normalizers, pre_tokenizers, processors

    words = read_text(path).rstrip("\n").split("\n")
    ids = {word.rstrip("\r"): number for number, word in enumerate(words)}
    lacking = [word for word in _SPECIAL[:4] if word not in ids]
    if lacking:
        raise OvssError(f"{path} lacks {lacking[0]}; give the vocab.txt of bert-base-uncased")
    tokenizer: Any = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(word, ids[word]) for word in ("[SEP]", "[CLS]")]
    tokenizer.post_processor = processors.BertProcessing(*ends)
    tokenizer.add_special_tokens([word for word in _SPECIAL if word in ids])
    return tokenizer


def find_tokenizer(path: Path, vocabulary: int) -> Tokenizer:
    """The text tokenizer for a checkpoint file, which holds none itself.

    Looked for in this order: `tokenizer.json` or `vocab.txt` beside the file; then, in the
    hub's local cache, `bert-base-uncased` (LAVIS takes it) and `Salesforce/blip-itm-*`.

    Args:
        path: The checkpoint.
        vocabulary: Number of its token embeddings; the tokenizer has as many entries, or two less
            (without `[DEC]` and `[ENC]`, BLIP's own).

    Raises:
        OvssError: There is none, or the one beside the file is of another size.
    """
    for folder in (path.parent, *filter(None, map(hub_snapshot, _TOKENIZER_REPOS))):
        if (folder / "tokenizer.json").is_file():
            tokenizer = load_tokenizer(folder)
        elif (folder / "vocab.txt").is_file():
            tokenizer = read_vocabulary(folder / "vocab.txt")
        else:
            continue
        entries = tokenizer.get_vocab_size()
        if vocabulary - entries in (0, 2):
            return tokenizer
        if folder == path.parent:
            raise OvssError(
                f"the tokenizer beside {path} has {entries} entries for {vocabulary} embeddings; "
                "put the one it was trained with there"
            )
    command = "hf download google-bert/bert-base-uncased tokenizer.json"
    raise OvssError(
        f"no tokenizer for {path} on this machine: fetch BERT's with `{command}`, or put a "
        "tokenizer.json or vocab.txt beside the file"
    )
