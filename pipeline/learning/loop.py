"""The training loop: a generator of epochs that knows nothing of the cluster it runs on.

B batch, H height, W width, K classes.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils.memory_format import convert_conv2d_weight_memory_format

from pipeline.core.config import EpochResult, TrainConfig, TrialSpec
from pipeline.core.errors import MachineLeaves, TrialFailed
from pipeline.learning.augment import augment, mixed
from pipeline.learning.checkpoint import Begun, Checkpoint, load_checkpoint, save_checkpoint
from pipeline.learning.compact.deployed import with_deployed_cost
from pipeline.learning.context import TrainContext, gathered, summed, summed_later
from pipeline.learning.dataset import Dataset
from pipeline.learning.denormals import flush_denormals
from pipeline.learning.evaluation import evaluate
from pipeline.learning.loader import Batch, TrainLoader
from pipeline.learning.metrics import class_iou, mean_iou
from pipeline.learning.network import build
from pipeline.learning.normalisation import normalise
from pipeline.learning.optimizer import make_optimizer
from pipeline.learning.provenance import Provenance
from pipeline.learning.split import Split
from pipeline.learning.weights import Deployment, save_weights

_POLY_POWER = 0.9
_STEPS_BETWEEN_SAVES = 200  # within an epoch; the end of each is kept in any case
_STEPS_BETWEEN_QUESTIONS = 10  # whether the machine stays
_LOADER_THREADS = {False: 2, True: 8}  # a GPU is fed by more cores than a training on CPU can spare


def train(spec: TrialSpec, context: TrainContext) -> Iterator[EpochResult]:
    """Train one network; yield the result of each epoch, those before a restart included.

    Every rank iterates; all get the same results. The state is saved before a result is yielded,
    so a result that was seen is never computed twice, and within long epochs.

    Raises:
        TrialFailed: the loss is no number.
        MachineLeaves: the state was saved, and the rest is to be trained elsewhere.
        DataError: the data set or the checkpoint is not the spec's.
    """
    flush_denormals()
    dataset, train_split, val_split = context.dataset(spec)
    torch.manual_seed(spec.seed)
    model = build(spec.architecture).to(context.device)
    convert_conv2d_weight_memory_format(model, torch.channels_last)
    optimizer = make_optimizer(model, spec.training)
    results: tuple[EpochResult, ...] = ()
    begun = Begun()
    if checkpoint := load_checkpoint(context.checkpoints, spec):
        model.load_state_dict(checkpoint.model)
        if len(checkpoint.results) < spec.training.epochs:
            optimizer.load_state_dict(checkpoint.optimizer)
        results, begun = checkpoint.results, checkpoint.begun
        yield from results
    trainer = _Trainer(spec, context, dataset, train_split, model, optimizer)
    save = partial(_save, spec, context, dataset, model, optimizer)
    for epoch in range(len(results), spec.training.epochs):
        trained = trainer.run_epoch(epoch, begun, partial(save, results))
        started = time.perf_counter()
        confusion_KK = evaluate(model, val_split, dataset, context)
        result = EpochResult(
            epoch=epoch + 1,
            epochs=spec.training.epochs,
            train_loss=trained.loss / trained.steps,
            mean_iou=mean_iou(confusion_KK),
            class_iou=tuple(class_iou(confusion_KK).tolist()),
            train_s=trained.train_s,
            val_s=time.perf_counter() - started,
            data_wait_s=trained.wait_s,
            corrupt=gathered((*train_split.corrupt, *val_split.corrupt), context),
        )
        if result.is_last:
            result = with_deployed_cost(result, model, spec.architecture, dataset.info.image_size)
        results, begun = (*results, result), Begun()
        save(results, begun)
        yield result


class _Trainer:
    """Steps one network through epochs."""

    def __init__(
        self,
        spec: TrialSpec,
        context: TrainContext,
        dataset: Dataset,
        split: Split,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        self.spec = spec
        self.context = context
        self.info = dataset.info
        self.optimizer = optimizer
        self.module: nn.Module = model
        if context.world_size > 1:
            if context.device.type == "cuda":  # which torch has for no other device
                model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
            # Statistics are those of rank 0 when they are asked for: in evaluation and on disk.
            self.module = DistributedDataParallel(model, forward_sync_buffers=False)
        self.class_weights_K = torch.tensor(self.info.class_weights, device=context.device)
        self.num_steps = len(split) // spec.training.batch_size
        training, ignore_index = spec.training, self.info.classes.ignore_index
        self.loader = TrainLoader(
            split,
            batch_size=training.batch_size,
            seed=spec.seed,
            view=partial(
                augment,
                scale_range=training.scale_range,
                fill=self.info.mean,
                ignore_index=ignore_index,
            ),
            mix=partial(mixed, share=training.mixing, ignore_index=ignore_index),
            rank=context.rank,
            world_size=context.world_size,
            num_threads=_LOADER_THREADS[context.device.type == "cuda"],
        )

    def run_epoch(self, epoch: int, begun: Begun, save: Callable[[Begun], None]) -> Begun:
        """Train the rest of an epoch; return all of it, with a loss that is the same on every rank.

        Raises:
            TrialFailed: the loss is no number.
            MachineLeaves: what was trained so far is saved.
        """
        started = time.perf_counter() - begun.train_s
        self.module.train()
        before = begun.loss if self.context.rank == 0 else 0.0
        # In float64, so that it is the same however a resumed epoch was summed over ranks.
        total = torch.tensor(before, dtype=torch.float64, device=self.context.device)
        wait_s = begun.wait_s

        def so_far(steps: int) -> Begun:
            loss = float(summed(total, self.context))
            return Begun(steps, loss, time.perf_counter() - started, wait_s)

        with closing(self.loader.epoch(epoch, begun.steps)) as batches:
            for step in range(begun.steps, self.num_steps):
                leaves = step % _STEPS_BETWEEN_QUESTIONS == 0 and self.context.must_leave()
                if leaves or (step % _STEPS_BETWEEN_SAVES == 0 and step > begun.steps):
                    save(so_far(step))
                if leaves:
                    raise MachineLeaves("its machine is about to be taken away; another goes on")
                asked = time.perf_counter()
                batch = next(batches)
                wait_s += time.perf_counter() - asked
                total += self.step(*self.placed(batch), epoch * self.num_steps + step)
        whole = so_far(self.num_steps)
        if not np.isfinite(whole.loss):
            raise TrialFailed(
                f"the loss is {whole.loss} in epoch {epoch + 1}: lower the learning rate"
            )
        return whole

    def placed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return normalised pictures (B, 3, H, W) and labels (B, H, W) on the device."""
        image, label = (part.to(self.context.device, non_blocking=True) for part in batch)
        return normalise(image, self.info.mean, self.info.std), label

    def step(self, image_BCHW: Tensor, label_BHW: Tensor, step: int) -> Tensor:
        """Take one optimizer step, of the whole training's; return this rank's part of the loss.

        The loss is the weighted mean over the global batch's labelled pixels, as one process would
        compute it, and not the mean of the ranks' means.
        """
        training, ignore_index = self.spec.training, self.info.classes.ignore_index
        is_mixed = training.precision == "bfloat16"
        # Asked for ahead of the network, so that no rank waits for another between its two halves.
        weight = label_weight(label_BHW, self.class_weights_K)
        total = summed_later(weight, self.context)
        with torch.autocast(self.context.device.type, torch.bfloat16, enabled=is_mixed):
            logits_BKHW = self.module(image_BCHW).float()
        loss = weighted_loss(logits_BKHW, label_BHW, self.class_weights_K, ignore_index)
        part = loss / total().clamp(min=1e-12)
        rate = learning_rate(training, step / (self.num_steps * training.epochs))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        # DDP averages gradients over ranks, but the parts add up.
        torch.autograd.backward(part * self.context.world_size)
        self.optimizer.step()
        return part.detach()


def weighted_loss(
    logits_BKHW: Tensor, label_BHW: Tensor, class_weights_K: Tensor, ignore_index: int
) -> Tensor:
    """Return the class-weighted cross-entropy summed over pixels."""
    return F.cross_entropy(
        logits_BKHW,
        label_BHW.long(),
        weight=class_weights_K,
        ignore_index=ignore_index,
        reduction="sum",
    )


def label_weight(label_BHW: Tensor, class_weights_K: Tensor) -> Tensor:
    """Return the sum of the class weights over labelled pixels."""
    counts_K = torch.bincount(label_BHW.flatten(), minlength=256)[: len(class_weights_K)]
    return (counts_K * class_weights_K).sum()


def learning_rate(training: TrainConfig, progress: float) -> float:
    """Return the learning rate when ``progress`` (0 to 1) of the training is done."""
    warm = progress / training.warm_up if progress < training.warm_up else 1.0
    return training.learning_rate * warm * float((1.0 - progress) ** _POLY_POWER)


def _save(
    spec: TrialSpec,
    context: TrainContext,
    dataset: Dataset,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    results: tuple[EpochResult, ...],
    begun: Begun,
) -> None:
    if context.rank != 0:
        return
    done = bool(results) and results[-1].is_last
    if done:
        info = dataset.info
        classes = info.classes
        deployment = Deployment(
            spec.architecture, info.mean, info.std, classes.names, classes.palette
        )
        provenance = Provenance.of(spec, info, results[-1])
        save_weights(context.checkpoints, model, deployment, provenance)
    # A finished training is only ever replayed: it needs no optimizer.
    optimizer_state = {} if done else optimizer.state_dict()
    save_checkpoint(
        context.checkpoints,
        Checkpoint(spec.id, results, model.state_dict(), optimizer_state, begun),
    )
