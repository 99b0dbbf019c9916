"""A teacher follows its student, and learns nothing itself."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from ovsslib.miniature.training.teacher import follow, rising


def test_a_step_towards_the_student() -> None:
    student = nn.Linear(3, 2)
    teacher = copy.deepcopy(student)
    before = student.weight.detach().clone()
    with torch.no_grad():
        student.weight.add_(1.0)
    follow(teacher, student, 0.75)
    assert torch.allclose(teacher.weight, before + 0.25)
    assert torch.allclose(student.weight, before + 1)
    assert torch.equal(teacher.bias, student.bias)
    follow(teacher, student, 1.0)
    assert torch.allclose(teacher.weight, before + 0.25)


def test_the_momentum_rises() -> None:
    values = [rising(0.996, step / 10) for step in range(11)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(0.996)
    assert values[5] == pytest.approx(0.998)
    assert values[10] == pytest.approx(1)
