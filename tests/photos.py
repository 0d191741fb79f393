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
