"""What contracts between parties that do not exist say: the values, and a question for every fact."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

SUFFIXES = ("Ltd", "Inc", "AG", "SA", "BV", "LLC", "GmbH", "PLC")
STREETS = ("Street", "Road", "Lane", "Avenue", "Square", "Court", "Drive", "Way")
_MATERIALS = ("Oak", "Steel", "Glass", "Linen", "Copper", "Leather", "Marble", "Paper", "Silver", "Bamboo")
_THINGS = ("tables", "lamps", "boxes", "bowls", "bags", "clocks", "frames", "chairs", "toys", "masks")
_JOBS = ("accountant", "driver", "designer", "lawyer", "engineer", "analyst", "cook", "porter", "editor", "chemist")
_BENEFITS = ("a car", "a pension", "free meals", "a phone", "child care", "a gym pass", "dental care", "shares")
_STATES = ("Ohio", "Texas", "Maine", "Utah", "Iowa", "Nevada", "Oregon", "Kansas", "Alaska", "Idaho")
_WHO = ("the seller", "the customer", "the carrier", "both parties")

_FIRST_DAY, _LAST_DAY = datetime.date(1980, 1, 1).toordinal(), datetime.date(2019, 12, 31).toordinal()
DATES = tuple(f"{datetime.date.fromordinal(d):%d-%m-%Y}" for d in range(_FIRST_DAY, _LAST_DAY + 1))


def _upto(low: int, high: int, step: int = 1, unit: str = "") -> tuple[str, ...]:
  return tuple(f"{i}{unit}" for i in range(low, high + 1, step))


FACTS: Mapping[str, Mapping[str, tuple[str, tuple[str, ...] | None]]] = {
  "sales": {
    "date": ("When did {a} and {b} sign?", None),
    "seller": ("Who sold goods to {b} on {date}?", None),
    "seller_address": ("What is the address of {a}, who sells to {b}?", None),
    "customer": ("Who bought goods from {a} on {date}?", None),
    "customer_address": ("What is the address of {b}, who buys from {a}?", None),
    "good": ("What does {a} sell to {b}?", tuple(f"{m} {t}" for m in _MATERIALS for t in _THINGS)),
    "quantity": ("How many pieces does {a} sell to {b}?", _upto(2, 99)),
    "unit_price": ("How many dollars a piece does {a} ask of {b}?", _upto(2, 99)),
    "total_price": ("How many dollars in all does {a} ask of {b}?", None),
    "invoice": ("How many days after delivery does {a} invoice {b}?", _upto(1, 9)),
    "payment": ("Within how many days of the invoice does {b} pay {a}?", _upto(5, 60, 5)),
    "penalty": ("After how many days does {a} fine {b}?", _upto(5, 60, 5)),
    "interest": ("What interest does {a} take of {b} for late payment?", _upto(1, 9, unit="%")),
    "delivery": ("Where do the goods of {a} for {b} go?", None),
    "shipper": ("Who chooses how {a} ships to {b}?", _WHO),
    "freight": ("Who pays when {a} ships to {b}?", _WHO),
    "warranty": ("For how many years does {a} guarantee its goods to {b}?", _upto(1, 9)),
    "notice": ("Within how many days does {b} report a defect to {a}?", _upto(5, 60, 5)),
    "cooling_off": ("For how many days can {b} withdraw from {a}?", _upto(3, 14)),
    "law": ("The law of which state binds {a} and {b}?", _STATES),
  },
  "employment": {
    "employer": ("Who employed {b} on {date}?", None),
    "employer_address": ("What is the address of {a}, who employs {b}?", None),
    "employee": ("Whom did {a} employ on {date}?", None),
    "employee_address": ("What is the address of {b}, who works for {a}?", None),
    "date": ("When did {b} start to work for {a}?", None),
    "months": ("For how many months does {a} employ {b}?", _upto(6, 60)),
    "job": ("What is the job of {b} with {a}?", _JOBS),
    "place": ("Where does {b} work for {a}?", None),
    "from": ("At what hour does {b} begin to work for {a}?", _upto(6, 10)),
    "until": ("At what hour does {b} stop to work for {a}?", _upto(14, 19)),
    "pay": ("How many dollars an hour does {a} pay {b}?", _upto(12, 99)),
    "paid": ("How often does {a} pay {b}?", ("every day", "every week", "every fortnight", "every month")),
    "benefit": ("What does {a} give {b} besides pay?", _BENEFITS),
    "holidays": ("How many days of holiday does {a} give {b}?", _upto(10, 30)),
    "secrecy": ("For how many months does {b} keep the secrets of {a}?", _upto(3, 12)),
    "sick": ("How many days of paid sick leave does {a} give {b}?", _upto(5, 15)),
    "end": ("How many weeks before the end do {a} and {b} say so?", _upto(1, 12)),
    "rivals": ("For how many months does {b} avoid rivals of {a}?", _upto(6, 24)),
    "changes": ("How many weeks before a change does {a} tell {b}?", _upto(1, 9)),
    "law": ("The law of which state binds {a} and its employee {b}?", _STATES),
  },
}
"""Question and values of every fact, by kind of contract; None: drawn otherwise, as names, addresses, dates and totals
are."""
