"""`batch`."""

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from data_shards.commands.console import AsJson, SetLocation, errors_for_people, for_terminal
from data_shards.commands.picture import problem_of_picture
from data_shards.feeding.colour import Unit
from data_shards.feeding.plan import ReaderPlan
from data_shards.inspection.opened_set import open_set
from data_shards.inspection.sheet_of_step import StepOfEpoch, sheet_of_step

# Of the paper, and of small networks.
_INPUT_SIZES = (224, 64)


class Recipe(StrEnum):
    """Whose augmentation is followed."""

    PAPER = "paper"
    SOURCE2012 = "source2012"


# `crop_chunk` of the 2012 source's `convdata.py`, which also shifts by standard deviations.
_IMAGES_PER_CROP: Mapping[Recipe, int] = {Recipe.PAPER: 1, Recipe.SOURCE2012: 32}
_COLOUR_UNITS: Mapping[Recipe, Unit] = {
    Recipe.PAPER: "variance",
    Recipe.SOURCE2012: "deviation",
}


def batch_command(
    location: SetLocation,
    out: Annotated[Path, typer.Argument(metavar="OUT.png", help="Where to draw it.")],
    *,
    seed: Annotated[int, typer.Option(min=0, help="The job's seed.")] = 0,
    epoch: Annotated[int, typer.Option(min=0, help="Which epoch.")] = 0,
    step: Annotated[int, typer.Option(min=0, help="Which of its steps.")] = 0,
    streams: Annotated[int, typer.Option(min=1, help="The job's data.num_streams.")] = 8,
    window: Annotated[int, typer.Option(min=1, help="The job's data.window, in shards.")] = 4,
    batch: Annotated[int, typer.Option(min=1, help="The job's optim.global_batch_size.")] = 128,
    crop_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="The job's model.input_size.",
            show_default="224 or 64, whichever fits, else all of an image",
        ),
    ] = None,
    colour: Annotated[
        float, typer.Option(min=0, max=10, help="The job's augment.colour_strength.")
    ] = 0.1,
    recipe: Annotated[Recipe, typer.Option(help="The job's model.recipe.")] = Recipe.PAPER,
    centre_crop: Annotated[
        bool, typer.Option("--centre-crop", help="As a job without augment.crop.")
    ] = False,
    no_mirror: Annotated[
        bool, typer.Option("--no-mirror", help="As a job without augment.mirror.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Draw what a job is shown of a step, each image beside its source."""
    if problem := problem_of_picture(out):
        raise typer.BadParameter(problem, param_hint="'OUT.png'")
    with errors_for_people():
        opened = open_set(location)
        image_size = opened.manifest.image_size
        edge = crop_size or next((one for one in _INPUT_SIZES if one <= image_size), image_size)
        plan = ReaderPlan(
            location=location,
            seed=seed,
            global_batch_size=batch,
            crop_size=edge,
            num_streams=streams,
            window=window,
            random_crop=not centre_crop,
            mirror=not no_mirror,
            images_per_crop=_IMAGES_PER_CROP[recipe],
        )
        asked = StepOfEpoch(
            plan=plan,
            epoch=epoch,
            step=step,
            colour_strength=colour,
            colour_unit=_COLOUR_UNITS[recipe],
        )
        sheet = sheet_of_step(opened, asked)
        sheet.image.save(out)
    if as_json:
        told = {"seed": seed, "epoch": epoch, "step": step, "streams": streams, "window": window}
        told |= {"batch": batch, "crop_size": edge, "image_size": image_size}
        ways = {"colour": colour, "recipe": recipe, "random_crop": not centre_crop}
        counts = {"num_shown": sheet.num_shown, "num_images": sheet.num_images}
        document = {**told, **ways, "mirror": not no_mirror, **counts, "picture": str(out)}
        typer.echo(json.dumps(document))
    else:
        words = f"{sheet.num_shown} of {sheet.num_images} images of step {step}: {out}"
        Console().print(Text(for_terminal(words)), soft_wrap=True)
