from __future__ import annotations

import pytest

from aftercast.questions import all_questions, money


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, "not quantified"),
        (0.0, "EUR 0"),
        (999.4, "EUR 999"),
        (999.9, "EUR 1.00k"),
        (12_345, "EUR 12.3k"),
        (123_456, "EUR 123k"),
        (1_234_567, "EUR 1.23M"),
        (-2_500, "EUR -2.50k"),
    ],
)
def test_money_has_three_significant_figures(amount: float | None, text: str):
    assert money(amount, "EUR") == text


def test_there_are_five_questions_over_published_marts_only():
    assert len(all_questions()) == 5
    assert all("marts." in question.sql and "star." not in question.sql for question in all_questions())
