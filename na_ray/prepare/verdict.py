"""A verdict on a conversion: units, axes, intrinsics, mask, tracking; each with the number that shows it.

Where silhouettes (or, without them, colors between cameras) do not agree with the posed mesh, the mistakes that people
make between two programs are undone one by one, and the one with which they agree is named.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from na_ray.prepare import judgements as lines
from na_ray.prepare.agreement import color_spread, iou, ious, silhouette
from na_ray.prepare.evidence import Arrangement, Evidence, coarse, spread
from na_ray.prepare.hypotheses import ASPECTS, Hypothesis, exchanged, hypotheses
from na_ray.prepare.judgements import SOUND_COLORS, SOUND_IOU, Judgement, odd_cameras, score

GOOD_IOU = 0.85
"""Overlap from which nothing is sought."""
LEAST_JUMP, LEAST_IOU, LEAST_COLORS = 0.06, 0.6, 0.4
"""A mistake is named where undoing it brings so much more, to so much at least."""
COLORS_JUMP = 0.25
"""The same of colors, which are easier to please."""
CLEAR = 0.2
"""Of overlap: what is won beyond it is no chance."""
SEARCHED = 6
"""Cameras in which mistakes are sought."""
HOPELESS = 0.5
"""Agreement below which two mistakes at once are sought."""


@dataclass(frozen=True)
class Verdict:
    """What was judged of a split."""

    judgements: tuple[Judgement, ...]
    """One an aspect, in the order of `ASPECTS`."""
    causes: tuple[Hypothesis, ...] = ()
    """What went wrong, as far as it is known."""

    @property
    def lines(self) -> list[str]:
        """As text."""
        return [str(judgement) for judgement in self.judgements]

    @property
    def defects(self) -> list[str]:
        """What is known to be wrong."""
        return [str(judgement) for judgement in self.judgements if judgement.state == "wrong"]


@dataclass(frozen=True)
class _Cause:
    hypotheses: tuple[Hypothesis, ...]
    before: float
    after: float
    meant: Arrangement


def judge(evidence: Evidence) -> Verdict:
    """The verdict."""
    if evidence.outlines is not None and not any(o.any() for row in evidence.outlines for o in row):
        return _judge_without_person(evidence)
    inverted = _are_inverted(evidence)
    if inverted is not None:
        evidence = inverted
    found = find_cause(evidence)
    meant = found.meant if found else evidence.said
    overlap = ious(evidence, meant) if evidence.outlines is not None else None
    judged = (
        lines.units_line(evidence, meant),
        lines.axes_line(meant, overlap),
        lines.intrinsics_line(evidence, meant, overlap),
        lines.mask_line(evidence, overlap, inverted is not None),
        lines.tracking_line(evidence, meant, overlap),
    )
    judgements = {line.aspect: line for line in judged}
    if found:
        mended = "; with that mended"
        judgements = {
            aspect: replace(line, text=f"{line.text}{mended}") if line.state != "unknown" else line
            for aspect, line in judgements.items()
        }
        for hypothesis in found.hypotheses:
            judgements[hypothesis.aspect] = _named(hypothesis, found, evidence)
    return Verdict(tuple(judgements[aspect] for aspect in ASPECTS), found.hypotheses if found else ())


def _judge_without_person(evidence: Evidence) -> Verdict:
    """Where no silhouette shows anybody: whatever moves the body out of the pictures would seem to mend it."""
    found = judge(replace(evidence, outlines=None))
    count = sum(map(len, evidence.outlines or ()))
    text = f"by {evidence.told_by} nobody is in any of the {count} pictures that were looked at"
    mask = Judgement("mask", "wrong", f"{text}: make the silhouettes again, or leave them out")
    return replace(found, judgements=tuple(mask if j.aspect == "mask" else j for j in found.judgements))


def _named(hypothesis: Hypothesis, found: _Cause, evidence: Evidence) -> Judgement:
    measure = "IoU" if evidence.outlines is not None else "share of the colors that the mesh explains"
    both = " and the other" if len(found.hypotheses) > 1 else ""
    numbers = f"{measure} {found.before:.2f}, with this{both} undone {found.after:.2f}"
    # Colors alone are easier to please than silhouettes: what they name is a suspicion.
    state = "wrong" if evidence.outlines is not None else "doubtful"
    return Judgement(hypothesis.aspect, state, f"{hypothesis.found}: {numbers}: {hypothesis.todo}")


def find_cause(evidence: Evidence) -> _Cause | None:
    """The mistake, or two mistakes together, that explain a disagreement; None where there is none, or none does."""
    said = evidence.said
    overlap = ious(evidence, said) if evidence.outlines is not None else None
    before = score(evidence, said) if overlap is None else float(overlap.mean())
    if before >= (SOUND_COLORS if overlap is None else GOOD_IOU) and not odd_cameras(overlap):
        return None
    known = list(hypotheses(evidence.height))
    few = coarse(evidence, sorted({0, len(evidence.images) - 1}), spread(len(said.cameras), SEARCHED))
    best: tuple[Hypothesis, ...] = (max(known, key=lambda h: score(few, h.change(few.said))),)
    found = _tried(evidence, best, before)
    if not found and before < HOPELESS and overlap is not None:
        found = _tried(evidence, _best_pair(evidence, known), before)
    if found and found.after >= SOUND_IOU:
        return found
    order = _other_order(evidence)
    return order if order and (not found or order.after >= found.after) else found


def _tried(evidence: Evidence, causes: tuple[Hypothesis, ...], before: float) -> _Cause | None:
    """What is won by undoing some mistakes; None where it does not convince."""
    meant = _undone(evidence.said, causes)
    after = score(evidence, meant)
    if not _convinces(evidence, before, after):
        return None
    if evidence.outlines is not None and after - before < CLEAR:
        # So little may be chance: the colors must say so, too, where they say anything.
        old, new = color_spread(evidence, evidence.said), color_spread(evidence, meant)
        if np.isfinite(old.levels + new.levels) and new.explained < old.explained + LEAST_JUMP:
            return None
    return _Cause(causes, before, after, meant)


def _undone(said: Arrangement, causes: Sequence[Hypothesis]) -> Arrangement:
    for hypothesis in causes:
        said = hypothesis.change(said)
    return said


def _convinces(evidence: Evidence, before: float, after: float) -> bool:
    if evidence.outlines is None:
        return after - before >= COLORS_JUMP and after >= LEAST_COLORS
    # Near to perfect, little is left to win: what is named must win two fifths of it.
    return after - before >= LEAST_JUMP and after >= LEAST_IOU and 1 - after <= 0.6 * (1 - before)


def _best_pair(evidence: Evidence, known: Sequence[Hypothesis]) -> tuple[Hypothesis, ...]:
    """The two mistakes of different aspects that together explain most, sought in one frame of a few cameras."""
    few = coarse(evidence, [len(evidence.images) // 2], spread(len(evidence.said.cameras), SEARCHED))
    pairs = [(a, b) for a, b in itertools.combinations(known, 2) if a.aspect != b.aspect]
    return max(pairs, key=lambda pair: score(few, _undone(few.said, pair)))


def _other_order(evidence: Evidence) -> _Cause | None:
    """The order of the cameras in which the silhouettes fit best, where it is another; judged by those that change."""
    cameras, said = evidence.said.cameras, evidence.said
    if evidence.outlines is None or len(cameras) < 3:
        return None
    gains = np.zeros((len(cameras), len(cameras)))
    for body, row in zip(said.bodies, evidence.outlines, strict=True):
        world = body.world
        for k, camera in enumerate(cameras):
            drawn = silhouette(world, camera)
            gains[:, k] += [iou(drawn, o) if o.shape == drawn.shape else 0.0 for o in row]
    gains /= len(said.bodies)
    order = linear_sum_assignment(gains, maximize=True)[1]
    moved = np.flatnonzero(order != np.arange(len(cameras)))
    if not len(moved):
        return None
    before, after = float(gains[moved, moved].mean()), float(gains[moved, order[moved]].mean())
    cause = exchanged(said, [int(k) for k in order])
    return _Cause((cause,), before, after, cause.change(said)) if _convinces(evidence, before, after) else None


def _are_inverted(evidence: Evidence) -> Evidence | None:
    """With the masks turned round, where they seem to show the background; None where they do not."""
    if evidence.outlines is None or evidence.told_by != "masks/":
        return None
    borders = [np.concatenate([o[0], o[-1], o[:, 0], o[:, -1]]).mean() for row in evidence.outlines for o in row]
    if np.median(borders) < 0.5:
        return None
    turned = [[~o for o in row] for row in evidence.outlines]
    return replace(evidence, outlines=turned)
