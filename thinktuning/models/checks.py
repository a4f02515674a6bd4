"""Check a model directory for what the later stages need, and fix its chat template's date."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinktuning.io.errors import StudyError
from thinktuning.models.chat import check_variables, parse_template

if TYPE_CHECKING:
    from transformers import GenerationConfig

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
DATE = date(2024, 7, 26)  # Llama 3.2's own fallback when there is no clock
TAKES_NO_SYSTEM = (
    "; this job's chats have a system turn (prompt.system, or the prompt of a teacher or judge):"
    " take a model whose template has one, or remove prompt.system and let another model teach"
    " (teacher.backend: model or openai)"
)


def check(
    directory: Path,
    label: str,
    *,
    system: bool = False,
    template_kwargs: Mapping[str, Any] | None = None,
) -> None:
    """Check that a model directory has all that the later stages need.

    Args:
        directory: the model.
        label: how to name it in messages.
        system: whether the chats to come have a system turn, as a teacher's do.
        template_kwargs: the study's `chat_template_kwargs`.

    Raises:
        StudyError: the config, complete safetensors, the tokenizer or its EOS token is missing; the
            chat template loses a turn, or does not read `template_kwargs`.
    """
    from safetensors import SafetensorError, safe_open
    from transformers import AutoConfig, AutoTokenizer

    for path in required(directory, label):
        try:  # fails on a truncated file or a Git LFS pointer
            with safe_open(path, framework="numpy"):
                pass
        except (SafetensorError, OSError) as error:
            raise StudyError(
                f"{label}: {path.name} is not a complete safetensors file ({error}); download it"
                " again"
            ) from error
    try:
        local = {"local_files_only": True, "trust_remote_code": False}
        AutoConfig.from_pretrained(directory, **local)
        tokenizer = AutoTokenizer.from_pretrained(directory, **local)
        generation = generation_config(directory)
    except (OSError, ValueError, LookupError, ImportError) as error:
        raise StudyError(f"{label}: transformers cannot load it: {error}") from error
    ends = generation.eos_token_id
    listed = ends if isinstance(ends, list) else [ends]
    if tokenizer.eos_token_id is None or tokenizer.eos_token_id not in listed:
        raise StudyError(
            f"{label}: the tokenizer's EOS token is {tokenizer.eos_token_id}, the generation"
            f" config's is {ends}; add the tokenizer's to eos_token_id in generation_config.json"
        )
    if not tokenizer.chat_template:
        raise StudyError(f"{label}: its tokenizer has no chat template; use the instruct model")
    check_template(tokenizer, listed, label, system=system, template_kwargs=template_kwargs)
    check_variables(tokenizer, template_kwargs or {}, label)


def check_template(
    tokenizer: Any,
    ends: Sequence[int],
    label: str,
    *,
    system: bool = True,
    template_kwargs: Mapping[str, Any] | None = None,
) -> None:
    """Check that a chat template carries what is said, and ends what the model says.

    Args:
        tokenizer: a tokenizer with a chat template.
        ends: the tokens that end a turn.
        label: how to name the model in messages.
        system: whether there will be system turns; some templates, such as Gemma 2's, refuse them.
        template_kwargs: the study's `chat_template_kwargs`.

    Raises:
        StudyError: a turn is missing, changed or out of order; there is nothing to open the
            assistant's turn; or it does not end in a token that ends a turn.
    """
    from jinja2 import TemplateError

    roles = ["system", "user", "assistant", "user"]
    said = ["You are Ada.", "What is 17 + 4?", "It is 21.", "And 21 + 9?"]
    turns = [{"role": r, "content": text} for r, text in zip(roles, said, strict=True)]
    wrong = f"{label}: its chat template"
    used = turns if system else turns[1:]
    render = partial(tokenizer.apply_chat_template, tokenize=False, **(template_kwargs or {}))
    try:
        answered, chat = render(turns[1:3]), render(used)
        asked = render(used, add_generation_prompt=True)
    except (TemplateError, ValueError, TypeError) as error:
        fix = TAKES_NO_SYSTEM if system else "; correct chat_template.jinja"
        spoken = [turn["role"] for turn in used]
        raise StudyError(f"{wrong} does not render {spoken}: {error}{fix}") from error
    place = 0
    for role, text in [(turn["role"], turn["content"]) for turn in used]:
        place = chat.find(text, place)
        if place < 0:
            fix = TAKES_NO_SYSTEM if role == "system" else "; correct chat_template.jinja"
            raise StudyError(
                f"{wrong} loses or reorders a turn of the {role}: {text!r} is not where it should"
                f" be in {chat!r}{fix}"
            )
        place += len(text)
    if asked == chat:
        raise StudyError(
            f"{wrong} has no generation prompt: with and without add_generation_prompt it gives"
            f" {chat!r}, so that the model would go on with the user's turn; correct it"
        )
    after = tokenizer(answered[answered.rfind(said[2]) + len(said[2]) :], add_special_tokens=False)
    if not set(after["input_ids"]) & set(ends):
        raise StudyError(
            f"{wrong} does not end the assistant's turn with a token that ends generation,"
            f" {tokenizer.convert_ids_to_tokens(list(ends))}: {answered!r}; add the token that it"
            " writes to eos_token_id in generation_config.json, or correct the template"
        )


def required(directory: Path, label: str) -> Iterator[Path]:
    """Check that a model's files exist, and no adapter beside them; yield those with weights.

    Raises:
        StudyError: a file is missing, or should not be there.
    """
    if (directory / "adapter_config.json").is_file():
        raise StudyError(
            f"{label}: has an adapter (adapter_config.json), which transformers applies to whatever"
            " weights are beside it, merged ones too; merge it (peft's merge_and_unload), save the"
            " model, and leave the adapter_* files out"
        )
    if not (directory / "config.json").is_file():
        raise StudyError(f"{label}: has no config.json, so it is not a transformers model")
    if not any((directory / name).is_file() for name in TOKENIZER_FILES):
        raise StudyError(
            f"{label}: has no tokenizer; save one there: tokenizer.save_pretrained(...)"
        )
    index = directory / "model.safetensors.index.json"
    names = {"model.safetensors"}
    if index.is_file():
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            raise StudyError(
                f"{label}: {index.name} is not an index of weights ({error!r}); download it again"
            ) from error
    for name in sorted(names):
        if not (directory / name).is_file():
            fix = "load the model with transformers and save it with save_pretrained"
            raise StudyError(f"{label}: has no {name}; if its weights are .bin files, {fix}")
        yield directory / name


def check_finite(directory: Path) -> None:
    """Refuse a model with a weight that is NaN or infinite.

    Raises:
        StudyError: names the first such weight.
    """
    from safetensors.torch import load_file

    for path in sorted(directory.glob("*.safetensors")):
        for name, weight in load_file(path).items():
            if not weight.isfinite().all():
                raise StudyError(
                    f"{path}: {name} has weights that are not finite: the training diverged; lower"
                    " its learning rate"
                )


def generation_config(directory: Path) -> "GenerationConfig":
    """Read a model's generation config, or what its config.json has of one."""
    from transformers import AutoConfig, GenerationConfig

    if (directory / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(directory)
    return GenerationConfig.from_model_config(AutoConfig.from_pretrained(directory))


def keep_turn_ends(directory: Path) -> None:
    """Leave of a model's generation config the tokens that end a turn, for vLLM and lm-eval too."""
    from transformers import AutoTokenizer, GenerationConfig

    own = generation_config(directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    path = directory / "generation_config.json"
    path.unlink(missing_ok=True)  # it may be a link to the original
    GenerationConfig(
        bos_token_id=own.bos_token_id,
        eos_token_id=own.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    ).save_pretrained(directory)


def fix_date(directory: Path, label: str) -> dict[str, Any]:
    """Replace today's date in a chat template, such as Llama 3.2's, by a fixed one.

    Otherwise methods trained on different days, or a run resumed the next day, would get different
    prompts. Of several named templates the default is kept alone: it is what all stages render.

    Returns:
        What provenance.json should record: the date, or nothing if the template has none.

    Raises:
        StudyError: the template makes a date in another way than by a literal format.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory)
    template = tokenizer.get_chat_template()
    # a literal holds no quote of its kind: 'a' ~ 'b' is none
    literal = r"""\bstrftime_now\s*\(\s*(["'])((?:(?!\1)[^\\])*)\1\s*\)"""
    fixed = re.sub(literal, lambda call: json.dumps(DATE.strftime(call[2])), template)
    if places := clock_uses(fixed):
        raise StudyError(
            f"{label}: its chat template takes the date of the day in a way that cannot be fixed"
            f" ({'; '.join(places)}), so that prompts would change from day to day; write the"
            ' format there as a literal, strftime_now("%d %b %Y"), or the date itself'
        )
    if fixed != template or isinstance(tokenizer.chat_template, dict):
        path = directory / "chat_template.jinja"
        path.unlink(missing_ok=True)  # it may be a link to the original
        path.write_text(fixed, encoding="utf-8")
    return {"date": str(DATE)} if fixed != template else {}


def clock_uses(template: str) -> list[str]:
    """Return the places where a chat template uses the clock, other than to ask if there is one."""
    from jinja2 import nodes

    tree = parse_template(template)
    tests = [test for test in tree.find_all(nodes.Test) if test.name in ("defined", "undefined")]
    asked = {id(test.node) for test in tests}
    names = [name for name in tree.find_all(nodes.Name) if name.name == "strftime_now"]
    lines = sorted({name.lineno for name in names if id(name) not in asked})
    texts = template.split("\n")
    found = [re.search(r".{0,30}strftime_now.{0,40}", texts[line - 1]) for line in lines]
    return [
        f"line {n}: {hit[0].strip() if hit else ''}" for n, hit in zip(lines, found, strict=True)
    ]
