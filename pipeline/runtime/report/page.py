"""The report: one HTML page that holds all it needs, and the same in Markdown."""

from dataclasses import dataclass
from importlib import resources

from jinja2 import Environment
from markupsafe import Markup

from pipeline.core.manifest import ClassTable
from pipeline.runtime.figures.series import Rival, front_series
from pipeline.runtime.records import TrialRecord, any_shrank, as_deployed, front
from pipeline.runtime.report.chart import front_svg, legend
from pipeline.runtime.report.facts import (
    caveat,
    class_rows,
    comparison,
    percent,
    provenance,
    spending,
)
from pipeline.runtime.report.pictures import Row
from pipeline.runtime.report.view import Scored, StudyView

_SMALL_PICTURE = 200  # pixels of width below which enlarging shows pixels as they are


@dataclass(frozen=True)
class Report:
    """All that a report is made of.

    Attributes:
        view: the study.
        paper: M3N21 on the same data; None where it was not trained.
        rivals: other networks on the same data.
        pictures: the champion on samples of val; empty where they could not be had.
        classes: of the data set, for the pictures' colours.
        mlflow: address of the study's run; empty where MLflow does not answer.
        missing: what is left out and why, a sentence each.
    """

    view: StudyView
    paper: Scored | None = None
    rivals: tuple[Rival, ...] = ()
    pictures: tuple[Row, ...] = ()
    classes: ClassTable | None = None
    mlflow: str = ""
    missing: tuple[str, ...] = ()


def report_html(report: Report) -> str:
    """Return the page; it asks the network for nothing."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["iou"] = lambda value: "-" if value is None else f"{value:.1f}"
    environment.filters["gain"] = lambda value: "" if value is None else f"{value:+.1f}"
    text = resources.files("pipeline.runtime.report").joinpath("page.html").read_text("utf-8")
    view = report.view
    fields: dict[str, object] = {
        "view": view,
        "missing": report.missing,
        "mlflow": report.mlflow,
        "spending": spending(view),
        "provenance": provenance(view),
        "paper": report.paper,
        "pictures": report.pictures,
        "palette": _palette(report.classes),
        "rendering": "pixelated" if _is_small(view) else "auto",
    }
    if view.champion:
        fields |= _champion_fields(report, view.scored(view.champion))
    return environment.from_string(text).render(fields)


def _champion_fields(report: Report, champion: Scored) -> dict[str, object]:
    view = report.view
    series = front_series(view.trials, view.seeds, report.rivals)
    shrank = any_shrank(view.trials)
    score, _, note = percent(champion).partition(" (")
    return {
        "champion": champion,
        "score": score,
        "score_note": note.rstrip(")"),
        "comparison": comparison(champion, report.paper),
        "caveat": caveat(champion),
        "chart": _chart(report, view.trials, champion.num_params),
        "deployed_chart": (
            _chart(report, as_deployed(view.trials), champion.deployed_parameters)
            if shrank
            else None
        ),
        "shrank": shrank,
        "legend": [(name, Markup(symbol), text) for name, symbol, text in legend(series)],
        "front": [view.scored(trial) for trial in front(view.trials)],
        "classes": class_rows(champion, report.paper, _class_names(report)),
    }


def _chart(report: Report, trials: list[TrialRecord], champion_size: int) -> dict[str, str]:
    """Return the front of trials by their sizes, drawn for wide screens and for narrow ones."""
    view = report.view
    series = front_series(trials, view.seeds, report.rivals)
    about = (
        f"Mean IoU on val against parameters: {len(front(trials))} networks on the front, "
        f"the champion at {champion_size:,} parameters."
    )
    sizes = {"wide": (764, 380), "narrow": (360, 300)}
    return {
        name: Markup(front_svg(series, view.budget, *size, about)) for name, size in sizes.items()
    }


def report_markdown(report: Report) -> str:
    """Return the report's words and numbers as Markdown."""
    view = report.view
    lines = [f"# {view.name}", ""]
    if view.champion is None:
        lines.append("No network has been trained to the end yet.")
    else:
        champion = view.scored(view.champion)
        lines += [
            f"**{champion.label}**: {champion.num_params:,} parameters, mean IoU "
            f"{percent(champion)} on val of {view.dataset}. {comparison(champion, report.paper)}",
            "",
            caveat(champion),
            "",
            *_front_lines(view),
            "",
            *_class_lines(report, champion),
        ]
    lines += ["", *_pairs("search", spending(view)), "", *_pairs("made with", provenance(view))]
    if view.about:
        lines += ["", "```console", view.about.command, "```"]
    if report.missing:
        lines += ["", "Not in this report:", "", *(f"- {line}" for line in report.missing)]
    return "\n".join(lines) + "\n"


def _front_lines(view: StudyView) -> list[str]:
    rows = [view.scored(trial) for trial in front(view.trials)]
    if not any_shrank(view.trials):
        return [
            "| network on the front | parameters | mean IoU on val |",
            "|---|---:|---:|",
            *(f"| {row.label} | {row.num_params:,} | {percent(row)} |" for row in rows),
        ]
    return [
        "| network on the front | parameters | deployed | mean IoU on val |",
        "|---|---:|---:|---:|",
        *(
            f"| {row.label} | {row.num_params:,} | {row.deployed_parameters:,} | {percent(row)} |"
            for row in rows
        ),
    ]


def _class_lines(report: Report, champion: Scored) -> list[str]:
    def cell(value: float | None) -> str:
        return "-" if value is None else f"{value:.1f}"

    return [
        "| class | champion IoU % | M3N21 IoU % |",
        "|---|---:|---:|",
        *(
            f"| {row.name} | {cell(row.champion)} | {cell(row.paper)} |"
            for row in class_rows(champion, report.paper, _class_names(report))
        ),
    ]


def _pairs(heading: str, rows: list[tuple[str, str]]) -> list[str]:
    return [f"| {heading} | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]


def _class_names(report: Report) -> tuple[str, ...] | None:
    if report.view.about:
        return report.view.about.class_names
    return report.classes.names if report.classes else None


def _palette(classes: ClassTable | None) -> list[tuple[str, str]]:
    if classes is None:
        return []
    return [(n, f"rgb{tuple(c)}") for n, c in zip(classes.names, classes.palette, strict=True)]


def _is_small(view: StudyView) -> bool:
    return bool(view.about and view.about.image_size[1] < _SMALL_PICTURE)
