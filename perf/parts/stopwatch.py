"""Where the time of a training goes, and how many token positions its model computes."""

import time
from collections import defaultdict
from contextlib import contextmanager

import torch
from trl import GRPOTrainer

from thinktuning.trainer.padding import Unpadded

# Methods that ours overrides. What ours does in them outside TRL's own is "hooks"; TRL's is "rest".
OVERRIDDEN = ("_generate_single_turn", "_calculate_rewards", "_generate_and_score_completions")
PARTS = ("generation", "teacher", "old_logps", "forward", "backward", "hooks", "rest")


class Stopwatch:
    """Measures exclusive times: a watched call inside another stops the outer one's clock.

    Attributes:
        times: label -> seconds.
    """

    def __init__(self):
        self.times = defaultdict(float)
        self.stack = []
        self.inside_whole = False
        self.cuda = torch.cuda.is_available()

    def switch(self):
        """Add the time since the last switch to the running call."""
        if self.cuda:
            torch.cuda.synchronize()
        now = time.perf_counter()
        if self.stack:
            self.times[self.stack[-1]] += now - self.since
        self.since = now

    def watch(self, owner, name, label, whole=False):
        """Time a method under `label`; `whole` includes all that it calls."""
        call = getattr(owner, name)

        def watched(*args, **kwargs):
            if self.inside_whole:
                return call(*args, **kwargs)
            self.switch()
            self.stack.append(label)
            self.inside_whole = whole
            try:
                return call(*args, **kwargs)
            finally:
                self.inside_whole = False
                self.switch()
                self.stack.pop()

        setattr(owner, name, watched)

    @contextmanager
    def on(self, trainer):
        """Watch a trainer's parts; a subclass's own code in TRL's methods is labeled "hooks"."""
        originals = {name: getattr(GRPOTrainer, name) for name in OVERRIDDEN}
        model_class = type(trainer.model)  # whose `generate` all loops end up in
        generate = model_class.generate
        for name in OVERRIDDEN:
            self.watch(GRPOTrainer, name, "rest")
            if type(trainer) is not GRPOTrainer:
                self.watch(trainer, name, "hooks")
        if hasattr(trainer, "_grade"):
            self.watch(trainer, "_grade", "hooks", whole=True)
        if teacher := getattr(getattr(trainer, "algorithm", None), "teacher", None):
            self.watch(teacher, "generate", "teacher", whole=True)
        self.watch(model_class, "generate", "generation", whole=True)
        for name in ("_get_per_token_logps_and_entropies", "_old_logps"):  # the latter is ours
            if hasattr(trainer, name):
                self.watch(trainer, name, "old_logps", whole=True)
        self.watch(trainer, "_compute_loss", "forward", whole=True)
        self.watch(trainer, "_prepare_inputs", "rest")
        self.watch(trainer, "training_step", "backward")
        try:
            yield self
        finally:
            for name, original in originals.items():
                setattr(GRPOTrainer, name, original)
            model_class.generate = generate

    def parts(self, total):
        """Return the seconds of each part of `total`; what no watched call took is "rest"."""
        known = {name: self.times[name] for name in PARTS[:-1]}
        return known | {"rest": total - sum(known.values())}


class Positions:
    """Counts the token positions that a model computes, and those that its batches ask for.

    Attributes:
        update: positions that pass the embedding outside `generate`, padding included.
        real: tokens of prompts and completions that the log-probabilities were asked for.
        computed: those of the rows that were computed, without rows that cannot change a gradient.
        sampling: positions that pass the embedding inside `generate`, padding included.
    """

    def __init__(self):
        self.update = self.real = self.computed = self.sampling = 0
        self.generating = False

    @contextmanager
    def on(self, trainer):
        """Count while a trainer trains."""
        hook = trainer.model.get_input_embeddings().register_forward_pre_hook(self.embedded)
        logps = trainer._get_per_token_logps_and_entropies
        model_class = type(trainer.model)
        generate = model_class.generate

        def asked(model, input_ids, attention_mask, *args, **kwargs):
            tokens, before = int(attention_mask.sum()), self.computed
            self.real += tokens
            found = logps(model, input_ids, attention_mask, *args, **kwargs)
            if self.computed == before:  # padded, as TRL computes them
                self.computed += tokens
            return found

        unpadded = Unpadded.__call__

        def without_padding(layout, input_ids, attention_mask, labels, **kwargs):
            rows = (labels != -100).any(1)
            self.computed += int(attention_mask[rows].sum())
            return unpadded(layout, input_ids, attention_mask, labels, **kwargs)

        def generated(*args, **kwargs):
            self.generating = True
            try:
                return generate(*args, **kwargs)
            finally:
                self.generating = False

        trainer._get_per_token_logps_and_entropies = asked
        Unpadded.__call__ = without_padding
        model_class.generate = generated
        try:
            yield self
        finally:
            hook.remove()
            Unpadded.__call__ = unpadded
            if "generate" in vars(model_class):
                del model_class.generate

    def embedded(self, module, args):
        """Count the positions of one forward pass."""
        if self.generating:
            self.sampling += args[0].numel()
        else:
            self.update += args[0].numel()
