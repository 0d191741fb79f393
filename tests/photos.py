"""A small photo collection in the published layout, drawn for a test."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

CONCEPTS = {"<bo>": "dog", "<mi>": "dog", "<lu>": "dog", "<jug>": "vase", "<pot>": "vase"}


@dataclass
class Collection:
    """Folders and JSON files; a test edits ``database`` and ``queries``, then writes."""

    root: Path
    database: dict[str, Any]
    queries: dict[str, Any]

    def write(self) -> dict[str, Any]:
        """Write both files and return the arguments of a dataset that reads them."""
        (self.root / "real").mkdir(exist_ok=True)
        (self.root / "real/database.json").write_text(json.dumps({"concept_dict": self.database}))
        (self.root / "real/queries.json").write_text(json.dumps(self.queries))
        return {
            "root": self.root,
            "database": "real/database.json",
            "queries": "real/queries.json",
            "folders": {"dreambooth": "photos", "database_dreambooth": "real/crops"},
            "questions": ["What is there?", "Who is there?"],
            "num_absent": 0,
            "counts": [1, 2, 3, 4, 5],
            "size": None,
            "seed": 0,
            "how_to_get": "Download it from the moon.",
        }


def photo(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 8), (shade, 0, 0)).save(path)


def draw_collection(root: Path) -> Collection:
    """Five concepts, two photos of each."""
    database, queries = {}, {}
    for shade, (name, category) in enumerate(CONCEPTS.items()):
        bare = name.strip("<>")
        photo(root / f"real/crops/{bare}.jpg", shade)
        database[name] = {
            "name": bare,
            "image": f"./data/database_tot/database_dreambooth/{bare}.jpg",
            "info": f" {name} is shade {shade}.",
            "category": category,
        }
        for number in range(2):
            photo(root / f"photos/{bare}/0{number}.jpg", 100 * number + shade)
            queries[f"./data/dreambooth/{bare}/0{number}.jpg"] = [name]
    return Collection(root, database, queries)


def draw_training(root: Path) -> None:
    """RePIC's training samples where data=repic_train looks for them: one of every kind."""
    folder = root / "repic/training_images"
    for shade, name in enumerate(("bo", "mi", "scene")):
        photo(folder / f"{name}.jpg", 50 * shade)
    kinds: list[tuple[str, list[str], str, Any]] = [
        ("yes_no", ["bo.jpg", "scene.jpg"], "Is <bo> in the second image?", "yes"),
        ("iou", ["scene.jpg"], "Where is the dog?", [1, 1, 9, 7]),
        ("yes_no_name", ["bo.jpg", "scene.jpg"], "Describe the second image.", "<bo>"),
        ("yes_no_name_multi", ["bo.jpg", "mi.jpg", "scene.jpg"], "Describe it.", ["<bo>", "<mi>"]),
    ]
    samples = [
        {"accu_reward_method": kind, "image": images, "problem": problem, "solution": solution}
        for kind, images, problem, solution in kinds
    ]
    (root / "repic/oict_training_5k_multi.json").write_text(json.dumps(samples))


def overrides(root: Path) -> list[str]:
    """Draw both, and say where they are."""
    collection = draw_collection(root)
    files = collection.write()
    draw_training(root)
    places = [f"data.test.folders.{name}={place}" for name, place in files["folders"].items()]
    names = [f"data.test.{key}={files[key]}" for key in ("database", "queries")]
    return [f"data.root={root}", *names, *places]
