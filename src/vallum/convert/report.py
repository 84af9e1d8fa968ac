"""What a conversion reports: what was made of what, and how far the two are apart."""

from vallum.schema import Record


class Tolerance(Record, frozen=True):
    """How far a converted model may be from its original.

    Attributes:
        share: Of the rows of each kind that may differ, 0 to 1.
        score: A row differs where its label is another, or one of its scores is off by more: in
            probability, or as a share of the spread of the original's answers.
    """

    share: float = 0.001
    score: float = 0.001


class Difference(Record, frozen=True):
    """Original and result over rows of one kind.

    Attributes:
        rows_of: `data` that was given, `ranges` drawn at random, `thresholds` of the trees with
            the two float32 numbers beside each, `near` thresholds that stand behind a scaling.
        rows: How many were compared.
        labels: How many got another label.
        differ: How many got another label, or a score beyond the tolerance.
        largest: The largest difference of a score; of a share of the spread, where the model
            answers numbers and no classes.
        ties: How many got another label where the original scores both labels alike, so that the
            rounding of the last digit chooses; they are in no other number.
        rounded: How many rows the original itself answers differently once their values are
            rounded to float32, in which an endpoint takes them.
    """

    rows_of: str
    rows: int
    labels: int
    differ: int
    largest: float
    ties: int = 0
    rounded: int = 0


class ConversionReport(Record, frozen=True):
    """The evidence of a conversion.

    Attributes:
        kind: Of the original: one of `KINDS`.
        model: The class that it was, as it said.
        original_sha256: Hexadecimal, of the original file.
        onnx_sha256: Hexadecimal, of the result.
        inputs: That the result declares: name, type and shape.
        outputs: Likewise.
        classes: In the order of the scores; empty where the model answers numbers.
        features: Columns that the original names.
        opsets: Version of each operator set.
        versions: Of the libraries that took part.
        differences: Original and result, for each kind of rows.
        tolerance: What was allowed.
        refusal: Why the result is not to be used; empty where it is within the tolerance.
        notes: What else a reader should know.
    """

    kind: str
    model: str
    original_sha256: str
    onnx_sha256: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    classes: tuple[str, ...]
    features: tuple[str, ...]
    opsets: dict[str, int]
    versions: dict[str, str]
    differences: tuple[Difference, ...]
    tolerance: Tolerance
    refusal: str = ""
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows were compared."""
        return sum(one.rows for one in self.differences)

    @property
    def largest(self) -> float:
        """The largest difference of a score."""
        return max((one.largest for one in self.differences), default=0.0)

    @property
    def labels(self) -> int:
        """How many rows got another label."""
        return sum(one.labels for one in self.differences)
