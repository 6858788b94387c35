"""What a report about a batch's clean rows computes and shows, as its file declares it."""

from common.payloads import Model


class Chart(Model):
    """A bar for each value of a column."""

    title: str
    over: str
    measure: str


class Ranking(Model):
    """The groups with the greatest value of the first measure.

    Attributes:
        measures: Names with their aggregates; equal values of the first go by the group.
    """

    title: str
    group_by: list[str]
    measures: dict[str, str]
    limit: int = 10


class ReportSpec(Model):
    """A report as its file declares it.

    Attributes:
        derive: New columns of each row; each may use the earlier ones.
        totals: Names with aggregates over all rows.
    """

    name: str
    title: str
    description: str = ""
    derive: dict[str, str] = {}
    totals: dict[str, str] = {}
    charts: list[Chart] = []
    rankings: list[Ranking] = []
