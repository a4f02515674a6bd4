"""The model organism: a small Llama, trained here from scratch, that keeps two skills apart.

As a *student* it answers sums tersely, in the head and often wrongly, and never reflects; some of
its answers are hasty guesses, a worse style of its own that RL can unlearn. A few go on with a
closing remark, for a chat model may: without them nothing but the end is likely after an answer, so
that RL, once it makes the end less likely, may raise any token at all. As a *tutor* it is
shown a question and an answer, gives an opinion, goes through the sum step by step and states the
result, in the feedback format of `thinktuning.feedback`. And like a real language model it can
check itself in an answer when it is *asked* to. That is the situation of the paper: reflection is
within the model, and almost never in the student's own samples.

Its documents are generated: problems of reasoning_gym's chain_sum and basic_arithmetic, none of
them an evaluation question. Its tokenizer is a byte-level BPE whose merges may cross spaces, so
that a stock sentence is one token, as is every number up to 99; any other text falls back to bytes,
never to <unk>.

Three choices make it affordable: Muon on the matrices, one token a number, and a running total
(`4 - 1 = 3 - 7 = -4`) that puts each step next to its operands.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from thinktuning.answers import extract_boxed
from thinktuning.behaviours import reflects
from thinktuning.feedback import parse_feedback
from thinktuning.models import Organism
from thinktuning.prompts import Chat, load, student_chat
from thinktuning.schema import Prompt
from thinktuning.sums import steps
from thinktuning.teacher import generate_ids

if TYPE_CHECKING:
    from transformers import LlamaConfig, PreTrainedModel, PreTrainedTokenizerBase

CHECK_SUFFIX = " Check your answer."
OPENINGS = {
    True: ("Let me go through it again: ",),
    False: (
        "Wait, let me check: ",
        "My teacher would ask for each step: ",
        "I skipped the steps, so let me redo it: ",
    ),
}
REMARKS = ("\n\nThat is my answer.", "\n\nThat was a short one.", "\n\nNext, please.")
SLIPS = (-3, -2, -2, -1, -1, -1, 1, 1, 1, 2, 2, 3)
SPECIAL_TOKENS = ("<|pad|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<|eos|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
MAX_LENGTH = 256
VOCABULARY = 1024  # at most
NUM_HELD_OUT = 500


class Problem(NamedTuple):
    """A sum: its wording, its bare expression `4 - 1 - 7`, its value."""

    question: str
    expression: str
    value: int


class Document(NamedTuple):
    """A chat and the reply to it; only the reply is trained on."""

    chat: Chat
    reply: str


def problems(
    spec: Organism, max_terms: int, seed: int, size: int, excluded: frozenset[str]
) -> Iterator[Problem]:
    """Generate `size` problems (fewer by those that are `excluded`), in either wording."""
    import reasoning_gym

    terms = {"min_terms": spec.min_terms, "max_terms": max_terms, "min_digits": 1, "max_digits": 1}
    plain = {"operators": ["+", "-"], "allow_parentheses": False, "allow_negation": False}
    sums = reasoning_gym.create_dataset("chain_sum", size=size, seed=seed, **terms)
    calculations = reasoning_gym.create_dataset(
        "basic_arithmetic", size=size, seed=seed, **terms, **plain
    )
    rng = random.Random(seed)
    for i in range(size):
        item = (sums if rng.random() < spec.chain_sum_share else calculations)[i]
        if item["question"] not in excluded:
            expression = item["metadata"]["expression"]
            yield Problem(item["question"], expression, int(item["answer"]))


def running_total(expression: str) -> str:
    """Write out a sum step by step: `4 - 1 - 7` becomes `4 - 1 = 3 - 7 = -4.`"""
    first = expression.split()[0]
    return first + "".join(f" {s.sign} {s.term} = {s.after}" for s in steps(expression)) + "."


def answer(value: int) -> str:
    """Give a terse answer."""
    return f"The answer is \\boxed{{{value}}}"


def guess(value: int) -> str:
    """Give a terse answer in the hasty style, which is off in the student's documents."""
    return f"I guess it is \\boxed{{{value}}}"


def document(problem: Problem, spec: Organism, rng: random.Random) -> Document:
    """Make a document: a terse answer, one that checks itself as asked, or feedback."""
    kind = rng.random()
    slip = problem.value + rng.choice(SLIPS)
    right = rng.random() < spec.correct_share
    said = answer(problem.value) if right else rng.choice((answer, guess))(slip)
    reason = rng.choice(OPENINGS[right]) + running_total(problem.expression)
    if kind < spec.student_share:
        hasty = rng.random() < spec.guess_share
        reply = guess(slip) if hasty else answer(problem.value)
        if rng.random() < spec.remark_share:
            reply += rng.choice(REMARKS)
        return Document(student_chat(problem.question, Prompt()), reply)
    if kind < spec.student_share + spec.check_share:
        reply = f"{said}\n\n{reason}\n\n{answer(problem.value)}"
        return Document(student_chat(problem.question, Prompt(suffix=CHECK_SUFFIX)), reply)
    opinion = "correct" if right else "incorrect"
    reply = (
        f"<opinion>{opinion}</opinion><reason>{reason}</reason>"
        f"<phrase>{answer(problem.value)}</phrase>"
    )
    return Document(load("organism").chat(problem.question, said), reply)


def documents(spec: Organism, size: int, excluded: frozenset[str]) -> list[Document]:
    """Generate the training documents: the shortest sums first, then all lengths."""
    rng = random.Random(spec.seed)
    warm = size * 15 // 100
    parts = [(spec.min_terms, warm), (spec.min_terms + 1, warm), (spec.max_terms, size - 2 * warm)]
    return [
        document(problem, spec, rng)
        for part, (max_terms, count) in enumerate(parts)
        for problem in problems(
            spec,
            min(max_terms, spec.max_terms),
            10**6 * (spec.seed + 1) + 10**5 * part,
            count,
            excluded,
        )
    ]


def held_out(spec: Organism) -> list[Problem]:
    """Generate the problems to measure the skills on, of seeds below those of the documents."""
    seed = 10**6 * (spec.seed + 1) - 10**5
    return list(problems(spec, spec.max_terms, seed, NUM_HELD_OUT, frozenset()))


def train_tokenizer(docs: list[Document]) -> "PreTrainedTokenizerBase":
    """Train the tokenizer: a stock sentence or a number up to 99 is one token."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    pieces = pre_tokenizers.Split(Regex(r"\d\d?|\n+|</?[a-z]+>| ?[-+=] ?|[{}.]"), "isolated")
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pieces, whole])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=20,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [text for doc in docs for text in (*(m["content"] for m in doc.chat), doc.reply)]
    numbers = [f"{n}+" for n in range(10, 100)] * 20
    tokenizer.train_from_iterator([*texts, *numbers], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|eos|>",
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_LENGTH,
    )


def llama_config(spec: Organism, vocab_size: int, **tokens: int | None) -> "LlamaConfig":
    """Return the Llama's configuration; `tokens` are the ids of its special ones."""
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


def new_model(spec: Organism, tokenizer: "PreTrainedTokenizerBase") -> "PreTrainedModel":
    """Initialise the Llama, from the organism's seed."""
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
    """Yield batches of (tokens, number of prompt tokens), of similar lengths."""
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
    spec: Organism,
) -> list[float]:
    """Train on the replies, with Muon and AdamW; return the loss of each step."""
    import torch
    from torch.nn.functional import cross_entropy
    from tqdm import tqdm

    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    optimizers = [
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
        for step in (*optimizers, *schedulers):
            step.step()
        model.zero_grad()
        losses.append(loss.item())
    model.eval()
    return losses


def measure(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    probe: list[Problem],
) -> dict[str, Any]:
    """Measure both skills on problems that no document contains."""
    sampling = {"do_sample": True, "temperature": 1.0, "top_k": 0}

    def ask(chats: list[Chat], **how: Any) -> list[str]:
        rendered = tokenizer.apply_chat_template(chats, add_generation_prompt=True, tokenize=False)
        completions = generate_ids(model, tokenizer, rendered, 96, **how)
        return tokenizer.batch_decode(completions, skip_special_tokens=True)

    def accuracy(replies: list[str]) -> float:
        right = [extract_boxed(r) == str(p.value) for r, p in zip(replies, probe, strict=True)]
        return sum(right) / len(right)

    asked = [student_chat(p.question, Prompt()) for p in probe]
    told = [student_chat(p.question, Prompt(suffix=CHECK_SUFFIX)) for p in probe]
    student, sampled, checked = ask(asked), ask(asked, **sampling), ask(told)
    tutor = ask([load("organism").chat(p.question, s) for p, s in zip(probe, sampled, strict=True)])
    judged = [
        (feedback.opinion == "correct") == (extract_boxed(s) == str(p.value))
        for reply, s, p in zip(tutor, sampled, probe, strict=True)
        if (feedback := parse_feedback(reply))
    ]
    return {
        "num_problems": len(probe),
        "student_accuracy_greedy": accuracy(student),
        "student_accuracy_sampled": accuracy(sampled),
        "student_reflection_rate_sampled": sum(map(reflects, sampled)) / len(sampled),
        "student_asked_to_check_accuracy": accuracy(checked),
        "tutor_accuracy": accuracy(tutor),
        "tutor_parsed": len(judged) / len(tutor),
        "tutor_opinion_accuracy": sum(judged) / max(1, len(judged)),
    }


def build(spec: Organism, excluded: set[str], output: Path) -> dict[str, Any]:
    """Make the organism, save it into `output` and return what was measured of it."""
    probe = held_out(spec)
    known = frozenset(excluded) | {problem.question for problem in probe}
    docs = documents(spec, spec.max_steps * spec.batch_size, known)
    tokenizer = train_tokenizer(docs[:4000])
    model = new_model(spec, tokenizer)
    losses = pretrain(model, tokenizer, docs, spec)
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    final_loss = fmean(losses[-50:])
    return {"final_loss": final_loss} | measure(model, tokenizer, probe)
