"""The base class of wrappers that change all rows of a variable, also those not in the batch."""

from __future__ import annotations

from typing import Any

from tfopt.wrappers.wrapper import Wrapper


class AllRowsWrapper(Wrapper):
    """Base class of wrappers for which rows that are not in the batch are updated, too."""

    takes_constraints = False

    @property
    def sparse(self) -> Any:
        """Returns "whole" if the inner optimizer needs whole variables, and "exact" otherwise."""
        words = super().sparse
        if isinstance(words, str):
            return _of_all_rows(words)
        return {role: _of_all_rows(word) for role, word in words.items()}

    def check_arguments(self) -> None:
        """Raises for an inner optimizer that updates rows alone, or averages weights."""
        super().check_arguments()
        if self.inner_optimizer.averages_itself:
            raise ValueError(
                f"`inner_optimizer` must not average weights by itself: {type(self).__name__} "
                f"moves or averages them, too; got {self.inner_optimizer!r}."
            )
        if self.inner_optimizer.lazy:
            raise ValueError(
                f"`lazy` of `inner_optimizer` must not be True: {type(self).__name__} changes all "
                f"rows; got {self.inner_optimizer!r}."
            )


def _of_all_rows(word: str) -> str:
    return "whole" if word == "whole" else "exact"
