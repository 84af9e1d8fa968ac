"""What a defence did: accuracy, attack rate and cost, before and after."""

from vallum.base import InputError
from vallum.schema import Record


class Measured(Record, frozen=True):
    """One model under one attack.

    Attributes:
        accuracy: Share of records that were classified rightly, 0 to 1.
        attack_rate: Share for which the attack succeeded, 0 to 1; the attack says what counts.
        seconds: What making the model, or answering, took.
    """

    accuracy: float
    attack_rate: float
    seconds: float


class Effect(Record, frozen=True):
    """A defence by its figures; who defends without measuring an attack claims nothing.

    Attributes:
        defence: Its name and parameters.
        attack: What was tried on both models, and on which records.
        before: Without the defence.
        after: With it.
    """

    defence: str
    attack: str
    before: Measured
    after: Measured

    def text(self) -> str:
        """Return both rows and their difference, for people."""
        lines = [f"{self.defence}, against {self.attack}"]
        for name, one in (("before", self.before), ("after", self.after)):
            lines.append(
                f"  {name:<7} accuracy {one.accuracy:6.1%}  attack {one.attack_rate:6.1%}"
                f"  {one.seconds:8.2f} s"
            )
        ratio = self.after.seconds / max(self.before.seconds, 1e-9)
        lines.append(
            f"  change  accuracy {self.after.accuracy - self.before.accuracy:+6.1%}"
            f"  attack {self.after.attack_rate - self.before.attack_rate:+6.1%}"
            f"  {ratio:8.1f} x"
        )
        return "\n".join(lines)


def effect(defence: str, attack: str, before: Measured, after: Measured) -> Effect:
    """Return the effect, checked.

    Raises:
        InputError: A share is not from 0 to 1, or a time is negative.
    """
    for one in (before, after):
        if not (0 <= one.accuracy <= 1 and 0 <= one.attack_rate <= 1 and one.seconds >= 0):
            raise InputError("shares are from 0 to 1, seconds from 0", code="defend.effect")
    return Effect(defence=defence, attack=attack, before=before, after=after)
