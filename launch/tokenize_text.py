"""Turns a text into tokens: little-endian 32-bit numbers, without beginning or end of text tokens.

usage: tokenize_text.py TOKENIZER TEXT OUTPUT

TOKENIZER is a tokenizer.json, or a GGUF file with byte-pair merges (tokenizer.ggml.model gpt2).
Special tokens that are spelled out in the text are text, as in llama-perplexity. Prints "vocab N".
Tokenises with Hugging Face's tokenizers; launch/prepare_data.sh smollm2 sets it up.
"""

import pathlib
import re
import sys
from typing import NoReturn

import gguf
import numpy
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

CHUNK_CHARACTERS = 1 << 16
USER_DEFINED = 4  # a token's type in GGUF: found in any text, before the merges

# How llama.cpp cuts a text into words before the merges (llama-vocab.cpp), by tokenizer.ggml.pre.
GPT2_WORDS = (r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)")
LLAMA3_WORDS = (r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+"
                r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
WORDS = {
    "gpt-2": [GPT2_WORDS],
    "smollm": [r"\p{N}", GPT2_WORDS],
    "llama-bpe": [LLAMA3_WORDS],
    "qwen2": [LLAMA3_WORDS.replace("{1,3}", "")],
}


def refuse(message: str) -> NoReturn:
    sys.exit(f"tokenize_text.py: {message}")


def from_gguf(path: str) -> Tokenizer:
    reader = gguf.GGUFReader(path)

    def key(name: str):
        field = reader.get_field(f"tokenizer.ggml.{name}")
        return refuse(f"{path}: has no tokenizer.ggml.{name}") if field is None else field.contents()

    if key("model") != "gpt2":
        refuse(f"{path}: expected tokenizer.ggml.model gpt2, got {key('model')}")
    if key("pre") not in WORDS:
        refuse(f"{path}: expected tokenizer.ggml.pre to be one of {', '.join(WORDS)}, "
               f"got {key('pre')}")
    tokens = key("tokens")
    merges = [tuple(merge.split(" ", 1)) for merge in key("merges")]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    cuts = [pre_tokenizers.Split(Regex(words), "isolated") for words in WORDS[key("pre")]]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(token, normalized=False)
                          for token, kind in zip(tokens, key("token_type"))
                          if kind == USER_DEFINED])
    return tokenizer


def from_json(path: str) -> Tokenizer:
    tokenizer = Tokenizer.from_file(path)
    tokenizer.encode_special_tokens = True  # as text
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def chunks(text: str):
    """Cuts after single line ends between words, where no merge and no word crosses."""
    start = 0
    for cut in re.finditer(r"(?<=\S\n)(?=\S)", text):
        if cut.end() - start >= CHUNK_CHARACTERS:
            yield text[start:cut.end()]
            start = cut.end()
    yield text[start:]


def read_text(path: str) -> str:
    content = pathlib.Path(path).read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        refuse(f"{path}: byte {error.start}: expected UTF-8, got 0x{content[error.start]:02x} "
               f"({error.reason})")


def main() -> None:
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    tokenizer_path, text_path, output_path = sys.argv[1:]
    tokenizer = (from_json if tokenizer_path.endswith(".json") else from_gguf)(tokenizer_path)
    text = read_text(text_path)
    parts = tokenizer.encode_batch(list(chunks(text)), add_special_tokens=False)
    tokens = numpy.concatenate([numpy.array(part.ids, dtype="<u4") for part in parts])
    tokens.tofile(output_path)
    print("vocab", tokenizer.get_vocab_size())


if __name__ == "__main__":
    main()
