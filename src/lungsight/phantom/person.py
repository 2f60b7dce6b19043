"""Who is X-rayed, and how."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Body:
    """What stays the same between two X-rays of one person."""

    sex: str
    age: int
    stout: float
    """Fat and muscle around the ribs, 0 to 1."""
    broad: float
    """Width of the chest beside its height, about 1."""
    heart: float
    """Size of the heart, about 1."""
    knob: float
    """Size of the aortic knob, 0 to 1.5."""
    slope: float
    """How far the ribs fall from back to front, about 1."""
    bone: float
    """Density of bone, about 1."""
    domes: tuple[float, float]
    """Height of the right and left half of the diaphragm (v, so a smaller one is higher)."""
    waist: float
    """Width of the lungs' upper half, about 1."""

    @property
    def child(self) -> bool:
        """Young enough to be drawn with a child's chest."""
        return self.age < 14

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Body:
        """Draw a person: one in four is a child."""
        child = rng.random() < 0.25
        age = int(rng.integers(1, 9)) if child else int(np.clip(rng.normal(54, 17), 18, 92))
        right = rng.uniform(0.34, 0.46)
        return cls(
            sex=str(rng.choice(["F", "M"])),
            age=age,
            stout=float(rng.uniform(0, 0.6) if child else rng.beta(2, 2)),
            broad=float(rng.uniform(0.9, 1.0) if child else rng.uniform(0.96, 1.08)),
            heart=float(rng.uniform(1.02, 1.2) if child else rng.uniform(0.88, 1.15)),
            knob=0.3 if child else float(np.clip(0.4 + age / 90 + rng.normal(0, 0.15), 0.5, 1.5)),
            slope=float(rng.uniform(0.6, 0.85) if child else rng.uniform(0.85, 1.2)),
            bone=float(rng.uniform(0.85, 1.2)),
            domes=(float(right), float(right + rng.uniform(0.02, 0.09))),
            waist=float(rng.uniform(0.94, 1.04)),
        )


@dataclass(frozen=True, slots=True)
class Pose:
    """What differs between two X-rays of one person."""

    view: str
    breath: float
    """Added to the height of the diaphragm, v."""
    turn: float
    """Rotation about the long axis: how far the front moves to the patient's left, the back to the right."""
    tilt: float
    """Rotation in the picture's plane, radians."""
    span: float
    """Width of both lungs as a share of the picture."""
    stretch: float
    """Height beside width, about 1."""
    offset: tuple[float, float]
    """Where in the room that is left the chest lies, -1 to 1, across and down."""

    @classmethod
    def sample(cls, rng: np.random.Generator, body: Body, view: str) -> Pose:
        """Draw how the person stood or lay."""
        lying = view == "AP"
        return cls(
            view=view,
            breath=float(rng.normal(-0.03 if lying else 0.03, 0.035)),
            turn=float(rng.normal(0, 0.03 if lying else 0.015)),
            tilt=float(np.clip(rng.normal(0, 0.03 if lying else 0.015), -0.08, 0.08)),
            span=float(rng.uniform(0.62, 0.76) if body.child else rng.uniform(0.78, 0.92)),
            stretch=float(rng.uniform(0.93, 1.07)),
            offset=(float(rng.uniform(-0.7, 0.7)), float(rng.uniform(-0.5, 0.7))),
        )
