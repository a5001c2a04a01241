"""The job `dry_run`: everything is checked, one step is run, nothing is written."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from lunet_cli.config.run import RunConfig
from lunet_cli.engine.data.patches import Batch, batches
from lunet_cli.engine.networks import count_parameters
from lunet_cli.engine.networks.execution import resolve_device
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.training.context import StepContext
from lunet_cli.engine.training.gradients import Gradients
from lunet_cli.engine.training.interrupts import InterruptGuard
from lunet_cli.engine.training.loop import train_step, validate
from lunet_cli.engine.training.memory import KeptBytes, weights_mib
from lunet_cli.engine.training.setup import set_up
from lunet_cli.engine.training.start import require_one_process
from lunet_cli.engine.training.state import TrainState
from lunet_cli.engine.training.verification import choose_plan
from lunet_cli.results.events import Event
from lunet_cli.results.training import DryRunResult


def dry_run(config: RunConfig, *, on_event: Callable[[Event], None]) -> DryRunResult:
    """Check everything that `train` would need, and estimate what it would cost.

    Args:
        config: The configuration.
        on_event: Called with what happens.

    Raises:
        LunetError: As `train` would.
    """
    require_one_process()
    resolve_device(config.training.device)
    RunFolder.of(config).require_writable()
    if config.training.num_threads is not None:
        torch.set_num_threads(config.training.num_threads)
    setup = set_up(config, on_event, may_write=False)
    network = setup.new_network()
    plan, _ = choose_plan(config.training, network, setup.first_batch, setup.loss, on_event)
    context = StepContext(setup, plan, setup.start_teacher(plan))
    state = TrainState.fresh(network, config.training, plan)
    setup.sampler.epoch, setup.sampler.first_step = 0, 0
    batch = next(batches(setup.loader))
    loss, activation_mib = _measure_memory(state, batch, context)
    return DryRunResult(
        architecture=config.model.architecture,
        num_parameters=count_parameters(state.network),
        plan=str(plan),
        num_train=len(setup.train),
        num_val=len(setup.val),
        patch_size=setup.card.window,
        batch_size=config.training.batch_size,
        loss=loss,
        activation_mib=activation_mib,
        total_mib=activation_mib + weights_mib(state.network, state.optimizer),
        cache_mib=setup.cache_mib,
        epoch_seconds=_measure_seconds(state, batch, context),
        num_epochs=config.training.epochs,
    )


def _measure_memory(state: TrainState, batch: Batch, context: StepContext) -> tuple[float, float]:
    """Loss of a step, and MiB that its forward pass keeps for the backward pass."""
    kept = KeptBytes()
    rate = context.config.learning_rate
    # The network as it is: a compiled one keeps other tensors, behind the hooks.
    with torch.autograd.graph.saved_tensors_hooks(kept.note, lambda tensor: tensor):
        gradients = Gradients(state, context, compiled=False)
        loss = train_step(state, gradients, [batch], context, rate)
    return loss, kept.total / 2**20


def _measure_seconds(state: TrainState, batch: Batch, context: StepContext) -> float:
    """Estimated seconds of an epoch, from one step and one validation."""
    gradients = Gradients(state, context)
    rate = context.config.learning_rate
    # The first step compiles and chooses kernels.
    train_step(state, gradients, [batch], context, rate)
    start = time.perf_counter()
    train_step(state, gradients, [batch], context, rate)
    step_seconds = time.perf_counter() - start
    start = time.perf_counter()
    with InterruptGuard() as guard:
        validate(state.network, context, guard)
    validation_seconds = (time.perf_counter() - start) / context.config.validation_interval
    return len(context.setup.sampler) * step_seconds + validation_seconds
