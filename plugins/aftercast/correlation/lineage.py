"""Which ids new groups inherit from old families, so that an id stays while its members are mostly the same.

The rule: pairs of an old family and a new group are taken in order of how many members they share (then by the share of their union, then
the older family, then the group with the oldest member); each pair whose family and group are both free passes the id on. A group left
without an id is new and `split_from` the family most of its members came from; a family left without a group has `merged_into` the one
that took most of its members.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MERGED, SPLIT = "merged_into", "split_from"


@dataclass(frozen=True, slots=True)
class Regrouping:
    """What became of the families.

    Attributes:
        family_of: group -> family id.
        merged: family that is no more -> the family that took most of its members.
        split: new family -> the family most of its members came from.
        sizes: family -> members: of a new one after, of a merged one before the regrouping.
    """

    family_of: dict[int, str]
    merged: dict[str, str]
    split: dict[str, str]
    sizes: dict[str, int]


def inherit(before: Sequence[str], groups: Sequence[int], name: Callable[[int], str]) -> Regrouping:
    """Pass ids on by largest overlap.

    Args:
        before, groups: old family and new group of each member, oldest member first.
        name: gives a group without an heir its id.
    """
    shared = Counter(zip(before, groups, strict=True))
    old, new = Counter(before), Counter(groups)
    age_old = {family: place for place, family in reversed(list(enumerate(before)))}
    age_new = {group: place for place, group in reversed(list(enumerate(groups)))}

    def order(pair: tuple[str, int]) -> tuple[float, ...]:
        both = shared[pair]
        return (-both, -both / (old[pair[0]] + new[pair[1]] - both), age_old[pair[0]], age_new[pair[1]])

    family_of: dict[int, str] = {}
    for family, group in sorted(shared, key=order):
        if group not in family_of and family not in family_of.values():
            family_of[group] = family
    kept = set(family_of.values())
    split: dict[str, str] = {}
    sizes: dict[str, int] = {}
    for group in sorted(new, key=lambda each: age_new[each]):
        if group not in family_of:
            family_of[group] = name(group)
            origin = min((pair for pair in shared if pair[1] == group), key=order)[0]
            split[family_of[group]] = origin
            sizes[family_of[group]] = new[group]
    merged: dict[str, str] = {}
    for family in old:
        if family not in kept:
            target = min((pair for pair in shared if pair[0] == family), key=order)[1]
            merged[family] = family_of[target]
            sizes[family] = old[family]
    # A family that a new one is split from may itself have merged elsewhere: then its successor is named.
    split = {family: merged.get(origin, origin) for family, origin in split.items()}
    return Regrouping(family_of, merged, {family: origin for family, origin in split.items() if origin != family}, sizes)


def family_id(founder: str) -> str:
    return "family-" + hashlib.sha256(founder.encode()).hexdigest()[:10]
