"""The options of the commands: their names for the user, and what their help says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Mesh = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="The mesh to run on: n150, n300, t3k, galaxy, p100, p150, p300; rows x columns (2x4); or with replicas, "
        "t3k/dp4.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="KIND",
        help="hardware; simulated: real numbers on any machine; dry: no numbers, does it fit?; "
        "auto: hardware if there is any, else simulated.",
    ),
]
Precision = Annotated[str, typer.Option(metavar="POLICY", help="accuracy, performance, or a JSON file.")]
FamilyName = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="A family, or package:family; decides where several claim the architecture."),
]
Traceback = Annotated[bool, typer.Option("--traceback", help="Show the whole traceback of an error.")]
Prompts = Annotated[
    list[str] | None,
    typer.Argument(metavar="PROMPT", help="Texts to continue, each in quotes; - reads one from standard input."),
]
PromptsFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="More prompts: one a line."),
]
Temperature = Annotated[
    float,
    typer.Option(metavar="T", min=0.0, help="0 always takes the likeliest token, 1 draws by the model's own odds."),
]
TopK = Annotated[
    int | None,
    typer.Option(metavar="K", min=1, help="Draw from the K likeliest tokens only."),
]
TopP = Annotated[
    float | None,
    typer.Option(metavar="P", min=0.0, max=1.0, help="Draw from the likeliest tokens that make up P only."),
]
Seed = Annotated[
    int | None,
    typer.Option(metavar="N", help="Makes drawing repeatable."),
]
Stop = Annotated[
    list[str] | None,
    typer.Option(metavar="TEXT", help="End before this text; may be given more than once."),
]
MaxSeqLen = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Room for prompt and new tokens; the most that fits by default."),
]
BatchSize = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Slots for prompts; as many as there are prompts by default."),
]
Revision = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="A branch, tag or commit of the model's repository."),
]
Model = Annotated[
    str,
    typer.Argument(metavar="MODEL_OR_CONFIG", help="A checkpoint folder, a config.json, or a Hugging Face model id."),
]
Seq = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Tokens for each user; the most that fits by default."),
]
Architecture = Annotated[
    str, typer.Argument(metavar="CLASS", help="A class name, as config.json has it under architectures.")
]
Folder = Annotated[Path | None, typer.Option(metavar="DIR", help="The folder to make; ./NAME by default.")]
Parent = Annotated[
    str, typer.Option("--from", metavar="FAMILY", help="The installed family that is the nearest relative.")
]
VerifyDevice = Annotated[
    str,
    typer.Option(
        metavar="KIND", help="hardware; simulated: the command itself, on any machine; auto: hardware if any."
    ),
]
Families = Annotated[
    str,
    typer.Option(metavar="NAMES", help="Families with commas between them; all that are installed by default."),
]
Patience = Annotated[
    float,
    typer.Option(metavar="SECONDS", min=1.0, help="End the device's process when nothing has moved for so long."),
]
Output = Annotated[Path, typer.Option(metavar="DIR", help="The folder that report.json and report.html go to.")]
Measured = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Predict with the constants in the report.json of ttfamily verify."),
]
