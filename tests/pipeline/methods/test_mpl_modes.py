"""The forms of Meta Pseudo Labels: each computes its formula, and the public ones what their code computes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from data_prep.system.errors import UsageError
from pipeline.data.batches.batch import Batch
from pipeline.methods.mpl import MPL
from pipeline.methods.mpl_options import MODES, Choices, MPLOptions
from pipeline.methods.prediction import sample_labels
from pipeline.training.factory import synchronize_norms
from pipeline.training.trainer import Trainer
from tests.pipeline.by_hand import fresh, gradient, logits, set_weights, step, weights
from tests.pipeline.conftest import assert_same, make_config, weights_of

NORMED = {"name": "small_conv", "width": 4}
RATE = 0.3


def unrolled_objective(trainer: Trainer, teacher: Tensor, student: Tensor) -> Tensor:
    """Return L_l(theta') for the soft labels of a linear teacher.

    theta' is one step of gradient descent from ``student``.
    """
    batch = trainer.loader.batch(0)
    target = logits(trainer, teacher, batch.strong).softmax(1)
    inner = gradient(lambda w: F.cross_entropy(logits(trainer, w, batch.strong), target), student)
    return F.cross_entropy(logits(trainer, student - RATE * inner, batch.labeled), batch.labels)


@pytest.mark.slow
def test_the_unrolled_term_is_the_finite_difference_through_the_inner_step(make: Callable[..., Trainer]) -> None:
    """The teacher's gradient is that of the labeled loss through the student's step, element by element."""
    on = make(method="mpl", mpl={"mode": "unrolled", "scale": "sum"}, networks={"student": {"lr": RATE}})
    off = make(method="mpl", mpl={"mode": "unrolled", "weight": 0.0}, networks={"student": {"lr": RATE}})
    teacher, student = weights(on, "teacher"), weights(on, "student")
    wanted = torch.zeros_like(teacher)
    for index in range(len(teacher)):
        nudge = torch.zeros_like(teacher)
        nudge[index] = 1e-5
        ahead, behind = (unrolled_objective(on, teacher + sign * nudge, student) for sign in (1, -1))
        wanted[index] = (ahead - behind) / 2e-5
    step(on, on.loader.batch(0))
    step(off, off.loader.batch(0))
    found = weights(off, "teacher") - weights(on, "teacher")  # the rate is 1
    assert wanted.norm() > 1e-3
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-9)


def test_the_unrolled_term_is_autograd_s_through_batch_normalization_too(make: Callable[..., Trainer]) -> None:
    settings: dict[str, Any] = {"method": "mpl", "model": NORMED, "networks": {"student": {"lr": RATE}}}
    on, off = (make(**settings, mpl={"mode": "unrolled", "scale": "sum", "weight": weight}) for weight in (1.0, 0.0))
    batch = on.loader.batch(0)
    teacher, student = (on.networks[name].module.train() for name in ("teacher", "student"))
    parameters = dict(student.named_parameters())
    strong = teacher(torch.cat([batch.labeled, batch.strong]))[len(batch.labeled) :]
    pseudo = F.cross_entropy(functional_call(student, parameters, (batch.strong,)), strong.softmax(1))
    inner = torch.autograd.grad(pseudo, list(parameters.values()), create_graph=True)
    moved = {name: p - RATE * g for (name, p), g in zip(parameters.items(), inner, strict=True)}
    outcome = F.cross_entropy(functional_call(student, moved, (batch.labeled,)), batch.labels)
    wanted = torch.cat([g.flatten() for g in torch.autograd.grad(outcome, list(teacher.parameters()))])
    step(on, fresh(batch))
    step(off, fresh(batch))
    torch.testing.assert_close(weights(off, "teacher") - weights(on, "teacher"), wanted, rtol=1e-7, atol=1e-10)


def test_unrolling_moves_the_student_as_its_soft_labels_do_and_no_statistics(make: Callable[..., Trainer]) -> None:
    unrolled = make(method="mpl", model=NORMED, mpl={"mode": "unrolled"})
    plain = make(method="mpl", model=NORMED, mpl={"label_mode": "soft", "weight": 0.0})
    for trainer in (unrolled, plain):
        step(trainer, trainer.loader.batch(0))
    assert_same(unrolled.networks["student"].module.state_dict(), plain.networks["student"].module.state_dict())


def test_the_official_term_has_no_gradient_and_its_teacher_is_uda_s_bit_for_bit(make: Callable[..., Trainer]) -> None:
    """A huge weight changes nothing: the teacher's weights equal those of UDA, bit for bit."""
    uda = {"weight": 3.0, "threshold": 0.0}
    official = make(method="mpl", model=NORMED, uda=uda, mpl={"mode": "official-soft", "weight": 1e9})
    alone = make(method="uda", model=NORMED, uda=uda)
    alone.networks["model"].module.load_state_dict(official.networks["teacher"].module.state_dict())
    for number in range(3):
        assert step(official, official.loader.batch(number), number)["h"] != 0
        step(alone, alone.loader.batch(number), number)
    assert_same(official.networks["teacher"].module.state_dict(), alone.networks["model"].module.state_dict())


def test_mpl_pytorch_uses_the_teachers_own_label_and_the_opposite_sign(make: Callable[..., Trainer]) -> None:
    public = make(method="mpl", mpl={"mode": "mpl-pytorch"})
    exact = make(method="mpl", mpl={"label_mode": "argmax"})
    batch, teacher = public.loader.batch(0), weights(public, "teacher")
    strong = logits(public, teacher, batch.strong)

    def loss(psi: Tensor) -> Tensor:
        labeled = F.cross_entropy(logits(public, psi, batch.labeled), batch.labels)
        return labeled + h * F.cross_entropy(logits(public, psi, batch.strong), strong.argmax(1))

    h = step(public, fresh(batch))["h"]
    torch.testing.assert_close(teacher - weights(public, "teacher"), gradient(loss, teacher))
    torch.testing.assert_close(step(exact, fresh(batch))["h"], -h)


@pytest.mark.parametrize("mode", ["exact", "unrolled", "mpl-pytorch"])
def test_a_sum_is_the_mean_times_the_number_of_unlabeled_images_in_every_mode(
    make: Callable[..., Trainer], mode: str
) -> None:
    """So equal settings give the modes equal strength, which a table needs to compare them."""
    moved = {}
    for name, mpl in {"off": {"weight": 0.0}, "mean": {"weight": 6.0}, "sum": {"scale": "sum"}}.items():
        trainer = make(method="mpl", mu=2, mpl={"mode": mode, **mpl})  # three labeled images, so six unlabeled ones
        step(trainer, trainer.loader.batch(0))
        moved[name] = weights(trainer, "teacher")
    assert (moved["sum"] - moved["off"]).norm() > 1e-6
    torch.testing.assert_close(moved["sum"], moved["mean"], rtol=1e-12, atol=1e-12)


DROPPED_OUT = {"name": "small_conv", "width": 4, "dropout": 0.5}


@pytest.mark.parametrize("settings", [{}, {"accumulate": 3}, {"batch_statistics": "separate"}, {"method": "roleplay"}])
def test_labels_are_drawn_from_the_distribution_that_the_meta_term_scores(
    make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    """With dropout and batch normalization, too: the two passes have the same masks and the same batch statistics."""
    drawn: list[Tensor] = []
    scored: list[Tensor] = []

    def draw(batch: Batch, strong: Tensor) -> Tensor:
        drawn.append(strong.detach().clone())
        return sample_labels(batch, strong)

    def score(strong: Tensor, labels: Tensor) -> Tensor:
        scored.append(strong.detach().clone())
        return F.cross_entropy(strong, labels)

    monkeypatch.setattr("pipeline.methods.mpl.STRONG_LABELS", {"sample": draw})
    monkeypatch.setattr("pipeline.methods.mpl.TEACHER_LOSSES", {"sample": score})
    trainer = make(**{"method": "mpl", "mu": 2, "model": DROPPED_OUT, **settings})
    for number in range(3):
        batches = trainer.loader.batch(number).split(trainer.config.accumulate)
        trainer.runner.run(number, trainer.method.step(number), batches)
    assert len(drawn) == len(scored) == 3 * trainer.config.accumulate
    assert all(torch.equal(*pair) for pair in zip(drawn, scored, strict=True))


def test_labels_are_drawn_with_their_probabilities_and_apart_for_each_sample_and_step() -> None:
    logits_of_all = torch.tensor([0.5, 0.2, 0.3]).log().expand(40_000, 3)
    first, second = (sample_labels(batch_of(key, len(logits_of_all)), logits_of_all) for key in (1, 2))
    for labels in (first, second):
        torch.testing.assert_close(shares(labels), torch.tensor([0.5, 0.2, 0.3]), atol=0.01, rtol=0)
        pairs = shares(3 * labels[:-1] + labels[1:])
        torch.testing.assert_close(pairs.view(3, 3), shares(labels)[:, None] * shares(labels), atol=0.01, rtol=0)
    torch.testing.assert_close(
        shares(3 * first + second).view(3, 3), shares(first)[:, None] * shares(second), atol=0.01, rtol=0
    )


def batch_of(key: int, count: int) -> Batch:
    """Return a batch of unlabeled samples that have nothing but slots."""
    empty, slots = torch.zeros(count), torch.arange(count)
    return Batch(empty, empty, empty, empty, torch.full_like(slots, -1), slots, key=key)


def shares(labels: Tensor) -> Tensor:
    """Return the share of each value, up to the largest, among whole numbers [N]."""
    return labels.bincount() / len(labels)


OTHER_TERMS = {"scale": "sum", "feedback_step": "descent", "feedback_sign": "new-old", "baseline": True}


def test_without_the_meta_term_the_keys_that_only_it_reads_change_nothing(make: Callable[..., Trainer]) -> None:
    """So one ablation serves all variants of a comparison that differ in these keys."""
    assert {f"mpl.{key}" for key in OTHER_TERMS} == set(MPL.meta_options)
    states = []
    for mpl in ({}, *({key: value} for key, value in OTHER_TERMS.items())):
        trainer = make(method="mpl", model=NORMED, mpl={"weight": 0.0} | mpl)
        for number in range(2):
            step(trainer, trainer.loader.batch(number), number)
        states.append(weights_of(trainer))
    for state in states[1:]:
        assert_same(states[0], state)


def test_h_after_plain_descent_has_no_part_of_the_momentum(make: Callable[..., Trainer]) -> None:
    """The student itself is trained by its own step, whatever h is measured after."""
    settings: dict[str, Any] = {"method": "mpl", "networks": {"student": {"lr": 0.1}}, "optimizer": {"momentum": 0.9}}
    mpl = {"label_mode": "argmax", "weight": 1e-9}
    own, plain = (make(**settings, mpl=mpl | {"feedback_step": choice}) for choice in ("optimizer", "descent"))
    for number in range(3):
        batch, before, teacher = plain.loader.batch(number), weights(plain, "student"), weights(plain, "teacher")
        for trainer in (own, plain):
            h = step(trainer, fresh(batch), number)["h"]
    torch.testing.assert_close(weights(own, "student"), weights(plain, "student"), rtol=1e-6, atol=1e-9)
    labels = logits(plain, teacher, batch.weak).argmax(1)
    inner = gradient(lambda w: F.cross_entropy(logits(plain, w, batch.strong), labels), before)
    losses = [F.cross_entropy(logits(plain, w, batch.labeled), batch.labels) for w in (before, before - 0.1 * inner)]
    torch.testing.assert_close(h, losses[0] - losses[1], rtol=1e-6, atol=1e-9)


def test_a_student_s_labels_are_smoothed_only_where_the_form_smooths_them(make: Callable[..., Trainer]) -> None:
    for mode, smoothed in {"exact": False, "unrolled": False, "official-soft": True, "mpl-pytorch": True}.items():
        students = []
        for smoothing in (0.0, 0.3):
            trainer = make(method="mpl", mpl={"mode": mode}, label_smoothing=smoothing)
            step(trainer, trainer.loader.batch(0))
            students.append(weights(trainer, "student"))
        assert torch.equal(*students) != smoothed


def test_a_mode_sets_every_choice_and_an_explicit_one_beats_it() -> None:
    assert MPLOptions().choices == MODES["exact"]
    assert MPLOptions(mode="official-soft").choices == Choices("new-old", "soft", True, True)
    own = MPLOptions(mode="mpl-pytorch", feedback_sign="old-new", baseline=True).choices
    assert own == Choices("old-new", "two-argmax", True, True)


def test_the_unrolled_form_refuses_choices_that_do_not_apply_to_it() -> None:
    with pytest.raises(UsageError, match="leave out feedback_sign, baseline"):
        make_config(method="mpl", mpl={"mode": "unrolled", "feedback_sign": "old-new", "baseline": True})


@pytest.mark.parametrize("method", ["mpl", "roleplay"])
def test_the_unrolled_form_is_refused_at_once_where_bn_spans_several_gpus(
    make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr("pipeline.training.factory._place", lambda module, _: synchronize_norms(module))
    with pytest.raises(UsageError, match=r"BN over several GPUs, which torch cannot; take another form, --nproc 1"):
        make(method=method, model=NORMED, mpl={"mode": "unrolled"})
    make(method=method, model=NORMED, mpl={"mode": "unrolled", "weight": 0.0})
    make(method=method, mpl={"mode": "unrolled"})
    make(method=method, model=NORMED)


def test_the_sign_of_the_feedback_is_what_the_choice_says(make: Callable[..., Trainer]) -> None:
    signs = {}
    for sign in ("old-new", "new-old"):
        trainer = make(method="mpl", mpl={"feedback_sign": sign})
        signs[sign] = step(trainer, trainer.loader.batch(0))["h"]
    assert signs["old-new"] == -signs["new-old"] != 0


def test_student_and_teacher_have_different_initial_weights(make: Callable[..., Trainer]) -> None:
    trainer = make(method="mpl")
    assert not torch.equal(weights(trainer, "teacher"), weights(trainer, "student"))
    set_weights(trainer, "student", weights(trainer, "teacher"))
    assert torch.equal(weights(trainer, "teacher"), weights(trainer, "student"))
