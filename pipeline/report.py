"""`python -m pipeline.report`: what a search found, as a page and as Markdown."""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from pipeline.cli import run_command


@dataclass(frozen=True)
class ReportOptions:
    """Write what a search found as one HTML page and as Markdown; runs also while it searches."""

    study: tyro.conf.Positional[str | None] = None
    """Name of the study; else the one that was searched last."""
    output: Path | None = None
    """Folder for report.html and report.md; else the study's own in the state folder."""
    store: str | None = None
    """Where its networks are: s3://bucket[/prefix] or a folder; else where the search put them."""
    state_dir: Path = Path(".cgnet")
    """Folder of this machine's own services, studies and logs."""


def report(options: ReportOptions) -> int:
    """Write the report; print its answer, what is missing of it, and where it is."""
    from pipeline.runtime import environment

    environment.configure(options.state_dir)
    from pipeline.runtime import console
    from pipeline.runtime.report.gathering import gather
    from pipeline.runtime.report.page import report_html, report_markdown
    from pipeline.runtime.report.view import read_view
    from pipeline.runtime.study_storage import study_folder

    view = read_view(options.state_dir, options.study)
    console.log_to_file(options.state_dir / "logs" / "report.log")
    store = options.store or (view.about.store if view.about else "s3://cgnet")
    made = gather(view, store, options.state_dir)
    folder = options.output or study_folder(options.state_dir, view.name)
    folder.mkdir(parents=True, exist_ok=True)
    markdown = report_markdown(made)
    (folder / "report.html").write_text(report_html(made), encoding="utf-8")
    (folder / "report.md").write_text(markdown, encoding="utf-8")
    for line in made.missing:
        console.say(f"left out: {line}")
    sys.stdout.write(f"{markdown.splitlines()[2]}\n")
    sys.stdout.write(f"page:     {folder / 'report.html'}\nmarkdown: {folder / 'report.md'}\n")
    return 0


def main() -> int:
    """Run the command."""
    return run_command("report", ReportOptions, report)


if __name__ == "__main__":
    raise SystemExit(main())
