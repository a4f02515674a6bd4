"""The toy model (`organism` in code): a small Llama trained from scratch, with two separate skills.

As a *student* it answers sums tersely, without working and often wrongly, and never reflects; some
answers are hasty guesses, a worse style that RL can unlearn. A few continue with a closing remark,
as a chat model's answers may: without those only EOS would be likely after an answer, and once RL
made EOS less likely, it could raise any token at all. As a *tutor* it is shown a question and an
answer, gives an opinion, works through the sum step by step and states the result, in the feedback
format of `algorithms.feedback`. And like a real language model it can check its own answer when
*asked* to. This is the paper's setting: the model is able to reflect, but the student's own samples
almost never do.

Its documents are generated: sums in the wordings of reasoning_gym's chain_sum and basic_arithmetic,
or the problems of other task families (`models.families`), none of them an evaluation question. Its
tokenizer is a byte-level BPE whose merges may cross spaces, so a stock sentence is one token, as is
every number up to 99; any other text falls back to bytes, never to <unk>.

Three choices keep training cheap: Muon for the matrices, one token per number, and a running total
(`4 - 1 = 3 - 7 = -4`) that puts each step next to its operands.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from thinktuning.models.config import OrganismConfig
from thinktuning.models.documents import Document, Tutor, documents, held_out
from thinktuning.models.families import Problem

if TYPE_CHECKING:
    from transformers import LlamaConfig, PreTrainedModel, PreTrainedTokenizerBase

SPECIAL_TOKENS = ("<|pad|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<|eos|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
MAX_LENGTH = 256
VOCABULARY = 1024  # at most
PIECES = r"\d\d?|\n+|</?[a-z]+>| ?[-+=] ?|[{}.]"
# With families, whose numbers are longer: pairs of digits from the right, so that places line up.
FAMILY_PIECES = r"\d\d?(?=(?:\d\d)*(?!\d))|\n+|</?[a-z]+>| ?[-+=*] ?|[;:] |[{}.]"


class Organism(NamedTuple):
    """A trained toy model, with `probe` problems that no document asks in this wording."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    probe: list[Problem]
    final_loss: float


def train_tokenizer(docs: list[Document], pieces: str = PIECES) -> "PreTrainedTokenizerBase":
    """Train the tokenizer, in which a stock sentence or a number up to 99 is one token.

    Args:
        docs: the texts to train on.
        pieces: a regular expression of what no token crosses: `PIECES` or `FAMILY_PIECES`.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    isolated = pre_tokenizers.Split(Regex(pieces), "isolated")
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([isolated, whole])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=20,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [text for doc in docs for text in (*(m["content"] for m in doc.chat), doc.reply)]
    pairs = range(10, 100) if pieces == PIECES else range(100)
    numbers = [f"{n:02}+" for n in pairs] * 20
    tokenizer.train_from_iterator([*texts, *numbers], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|eos|>",
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_LENGTH,
    )


def seen_by_tokenizer(docs: list[Document], spec: OrganismConfig) -> tuple[list[Document], str]:
    """Return what the tokenizer is trained on; with families, documents of all their bands."""
    if spec.families is None:
        return docs[:4000], PIECES
    return docs[:: max(1, len(docs) // 4000)], FAMILY_PIECES


def llama_config(spec: OrganismConfig, vocab_size: int, **tokens: Any) -> "LlamaConfig":
    """Return the Llama's config; `tokens` are the IDs of its special tokens."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=spec.hidden_size,
        intermediate_size=spec.intermediate_size,
        num_hidden_layers=spec.num_hidden_layers,
        num_attention_heads=spec.num_attention_heads,
        num_key_value_heads=spec.num_attention_heads,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        **tokens,
    )


def new_model(spec: OrganismConfig, tokenizer: "PreTrainedTokenizerBase") -> "PreTrainedModel":
    """Initialize the Llama from `spec.seed`."""
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(spec.seed)
    config = llama_config(
        spec,
        len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config)


def batches(
    docs: list[Document], tokenizer: "PreTrainedTokenizerBase", batch_size: int, seed: int
) -> Iterator[list[tuple[list[int], int]]]:
    """Yield batches of (token IDs, number of prompt tokens), grouped by similar length."""
    prompts = tokenizer.apply_chat_template(
        [doc.chat for doc in docs], add_generation_prompt=True, tokenize=False
    )
    encode = tokenizer.backend_tokenizer.encode_batch
    prompt_ids = [e.ids for e in encode(prompts, add_special_tokens=False)]
    replies = [doc.reply + tokenizer.eos_token for doc in docs]
    reply_ids = [e.ids for e in encode(replies, add_special_tokens=False)]
    rows = [(p + r, len(p)) for p, r in zip(prompt_ids, reply_ids, strict=True)]
    rng = random.Random(seed)
    window = 32 * batch_size
    for start in range(0, len(rows), window):
        near = sorted(rows[start : start + window], key=lambda row: len(row[0]))
        cut = [near[i : i + batch_size] for i in range(0, len(near), batch_size)]
        rng.shuffle(cut)
        yield from cut


def pretrain(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    docs: list[Document],
    spec: OrganismConfig,
) -> list[float]:
    """Train on the replies with Muon and AdamW; return the loss of each step."""
    import torch
    from torch.nn.functional import cross_entropy
    from tqdm import tqdm

    from thinktuning.models.emulated import products_in_float32

    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(rest, lr=spec.learning_rate, betas=(0.9, 0.95), weight_decay=0.01),
        torch.optim.Muon(matrices, lr=spec.muon_learning_rate, weight_decay=0.01),
    ]
    schedulers = [
        torch.optim.lr_scheduler.LambdaLR(
            opt, lambda s: min(1, (s + 1) / 50) * max(0.02, 1 - s / spec.max_steps)
        )
        for opt in optimizers
    ]
    losses = []
    model.train()
    for batch in tqdm(
        batches(docs, tokenizer, spec.batch_size, spec.seed), total=spec.max_steps, desc="pretrain"
    ):
        longest = max(len(ids) for ids, _ in batch)
        input_ids = torch.full((len(batch), longest), tokenizer.pad_token_id)
        trained = torch.zeros((len(batch), longest), dtype=torch.bool)
        for row, (ids, start) in enumerate(batch):
            input_ids[row, : len(ids)] = torch.tensor(ids)
            trained[row, start : len(ids)] = True
        # padding is on the right and attention is causal: no mask is needed
        hidden = model.model(input_ids=input_ids).last_hidden_state[:, :-1][trained[:, 1:]]
        labels = input_ids[:, 1:][trained[:, 1:]]
        loss = cross_entropy(model.lm_head(hidden), labels, label_smoothing=spec.label_smoothing)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
            with products_in_float32():  # Muon's are in bfloat16
                optimizer.step()
            scheduler.step()
        model.zero_grad()
        losses.append(loss.item())
    model.eval()
    return losses


def build(spec: OrganismConfig, excluded: set[str], tutor: Tutor, output: Path) -> Organism:
    """Train the toy model and save it to `output`.

    Args:
        spec: its documents, size and training.
        excluded: questions that no document may contain.
        tutor: returns the chat that asks for feedback on a question and an answer.
        output: the directory to save to.
    """
    probe = held_out(spec, spec.seed)
    known = frozenset(excluded) | {problem.question for problem in probe}
    docs = documents(spec, spec.seed, spec.max_steps * spec.batch_size, known, tutor)
    tokenizer = train_tokenizer(*seen_by_tokenizer(docs, spec))
    model = new_model(spec, tokenizer)
    losses = pretrain(model, tokenizer, docs, spec)
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    return Organism(model, tokenizer, probe, fmean(losses[-50:]))
