"""A random Llama whose own weights end each answer at a length drawn with its first token.

Padding costs what lengths make it cost, and an untrained model has none: its answers never end. In
this one every token belongs to a class, the number of tokens that follow it. The embedding carries
a token's class through the residual stream, and the head, which is not tied to it, gives the next
class down almost all probability; the classes of first tokens have the wanted distribution. So any
way of sampling - TRL's, ours, continuous batching - yields the same lengths from the same first
tokens, without a logits processor or stopping criterion that one of them might not support.
"""

import functools
import math
import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from thinktuning.teachers.prompts import load

SPECIAL = ("<|pad|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<|eos|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
CODE = 64  # dimensions that carry a token's class
AMPLITUDE = 4.0  # of the code in the embedding; a layer adds some 0.15 to each dimension
LOGIT = 60.0  # of a token of the right class; the best of the others is some 25 lower
SENTENCES = (
    "{a} has {n} boxes, and in each of them there are {m} marbles of {k} different colors.",
    "On Monday {a} sells {n} tickets for {m} dollars each, and {b} sells half as many.",
    "{b} walks {n} miles to the market and then {m} miles back by another road.",
    "Every week {a} saves {n} dollars, of which {b} borrows {m} for bus fares.",
    "A baker makes {n} loaves in the morning and {m} in the afternoon, and gives {k} away.",
    "{a} reads {n} pages of a book on the first day and twice that number on the second.",
    "The school orders {n} chairs at {m} dollars, and gets {k} percent off the whole price.",
)
NAMES = ("Ann", "Bela", "Carlos", "Dina", "Emre", "Farah", "Goran", "Hana")


def questions(count, seed=0):
    """Return word problems as rows; in tokens of `tokenizer` most have 60 to 200."""
    rng = random.Random(seed)
    rows = []
    for i in range(count):
        told = rng.choices(SENTENCES, k=rng.randint(2, 7))
        a, b = rng.sample(NAMES, 2)
        text = " ".join(
            each.format(a=a, b=b, n=rng.randint(2, 99), m=rng.randint(2, 99), k=rng.randint(2, 9))
            for each in told
        )
        asked = f"{text} How many does {a} have in the end?"
        rows.append({"id": f"q{i}", "question": asked, "answer": str(rng.randint(2, 99))})
    return rows


@functools.cache
def tokenizer(vocabulary):
    """Train a byte-level BPE on the questions and the teacher's prompt, filled up to a size.

    What the texts do not fill is tokens with texts of their own, by which those are encoded again.
    """
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    prompt = load("paper").select(None).chat("", "")
    texts = [row["question"] for row in questions(500)]
    texts += [message["content"] for message in prompt] * 10
    trainer = trainers.BpeTrainer(
        vocab_size=min(vocabulary, 2000),
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    missing = vocabulary - backend.get_vocab_size()
    backend.add_tokens([f"#{number};" for number in range(missing)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<|pad|>",
        eos_token="<|eos|>",
        chat_template=CHAT_TEMPLATE,
    )


def distribution(mean, longest, spread=0.5):
    """Return log P of 0 .. longest tokens before the EOS: lognormal, cut off at `longest`."""
    center = math.log(mean) - spread**2 / 2
    n = torch.arange(1, longest + 1).double()
    log_p = -((n.log() - center) ** 2) / (2 * spread**2) - n.log()
    return torch.cat([torch.tensor([-torch.inf]), log_p - log_p.logsumexp(0)])


@torch.no_grad()
def write_classes(model, ids, mean, longest):
    """Set the embedding and the head so that answers have about `mean` tokens.

    Args:
        model: the Llama, with an untied head.
        ids: the IDs of the special tokens, in the order of `SPECIAL`.
        mean: of the answers' lengths.
        longest: the longest answer, its EOS included.
    """
    eos, start = ids[1], ids[4]
    embedding, head = model.model.embed_tokens.weight, model.lm_head.weight
    vocabulary, hidden = embedding.shape
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(0, 2, (longest + 1, CODE), generator=generator) * 2.0 - 1
    plain = torch.tensor([token for token in range(vocabulary) if token not in ids])
    classes = torch.arange(len(plain)) % (longest - 1) + 1
    per_class = classes.bincount(minlength=longest)
    strength = LOGIT / math.sqrt(CODE * hidden)
    embedding[:, : CODE + 1] = 0
    head[:, : CODE + 1] = 0
    embedding[plain, :CODE] = (AMPLITUDE * codes[classes]).to(embedding)
    head[plain, :CODE] = (strength * codes[classes + 1]).to(head)
    head[eos, :CODE] = (strength * codes[1]).to(head)
    embedding[start, CODE] = AMPLITUDE * math.sqrt(CODE)
    log_p = distribution(mean, longest - 1)[classes] - per_class[classes].log()
    head[plain, CODE] = (log_p / math.sqrt(hidden)).to(head)
    never = [token for token in ids if token != eos]
    head[never, CODE] = head[eos, CODE] = -100.0 / math.sqrt(hidden)
    head[never, :CODE] = -head[eos, :CODE]


def build(*, mean, longest, vocabulary=4096, seed=0, device="cpu", **size):
    """Return the model, in float32, and its tokenizer.

    Args:
        mean: of the answers' lengths, in tokens; None: no classes, a plain random model.
        longest: the longest answer, its EOS included.
        vocabulary: tokens.
        seed: of the weights.
        device: of the weights.
        size: of `LlamaConfig`.
    """
    encoder = tokenizer(vocabulary)
    ids = encoder.convert_tokens_to_ids(list(SPECIAL))
    config = LlamaConfig(
        vocab_size=vocabulary,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
        pad_token_id=ids[0],
        eos_token_id=ids[1],
        bos_token_id=None,
        **size,
    )
    torch.manual_seed(seed)
    with torch.device(device):
        model = LlamaForCausalLM(config)
    if mean is not None:
        write_classes(model, ids, mean, longest)
    return model, encoder


def save(directory, model, encoder):
    """Write a model and its tokenizer to a directory."""
    model.save_pretrained(Path(directory))
    encoder.save_pretrained(Path(directory))
