"""Small photo collections in the published layouts, drawn for a test."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from repic.data.montage_list import FILE, read_montages

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
            "name": "dreambooth",
            "missing": "refuse",
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


# Group of conf/data -> names and reference pictures, and photos with whom they show, as published.
LAYOUTS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "dreambooth": (
        {"<dog>": "database_dreambooth/dog.jpg", "<fancy_boot>": "database_dreambooth/boot.jpg"},
        {"dreambooth/dog/00.jpg": ["<dog>"], "dreambooth/fancy_boot/00.jpg": ["<fancy_boot>"]},
    ),
    "myvlm": (
        {
            "<asian_doll>": "database_myvlm/asian_doll.jpg",
            "<cat_statue>": "database_myvlm/cat_statue.jpg",
        },
        {
            "myvlm_data/asian_doll/asian_doll_1.jpg": ["<asian_doll>"],
            "myvlm_data/cat_statue/cat_statue_1.jpg": ["<cat_statue>"],
        },
    ),
    "yollava": (
        {"<bo>": "database_yollava/bo.png", "<brown-duck>": "database_yollava/brown-duck.png"},
        {
            "yollava-data/bo/0.png": ["<bo>"],
            "yollava-data/brown-duck/0.png": ["<brown-duck>"],
            "yollava-data/brown-duck/1.png": ["<brown-duck>"],
        },
    ),
    "repic_2": (
        {
            "<Anya>": "database_2_concepts/Anya.jpg",
            "<Bond>": "database_2_concepts/Bond.jpg",
            "<H>": "database_2_concepts/H.jpg",
            "<T>": "database_2_concepts/T.jpg",
        },
        {
            "query-image-2-concepts/Anya_and_Bond/Anya_and_Bond_1.jpg": ["<Anya>", "<Bond>"],
            "query-image-2-concepts/H_and_T/H_and_T_1.jpg": ["<H>", "<T>"],
        },
    ),
    "repic_4": (
        {
            "<thor>": "database_4_concepts/avengers/thor.jpg",
            "<black widow>": "database_4_concepts/avengers/black widow.jpg",
            "<scarlet witch>": "database_4_concepts/avengers/scalet witch.jpg",
            "<hulk>": "database_4_concepts/avengers/hulk.jpg",
            "<ironman>": "database_4_concepts/avengers/ironman.jpg",
        },
        {
            "query-image-4-concepts/group photo_avengers.jpg": [
                ["<thor>", "<black widow>", "<scarlet witch>", "<hulk>"],
                ["<thor>", "<black widow>", "<scarlet witch>", "<ironman>"],
            ]
        },
    ),
}
STEMS = {"repic_2": "2_concept", "repic_4": "4_concept"}
PLACES = {
    "yollava-data": "yollava-data/test",
    "query-image-2-concepts": "repic/query-image-2-concepts",
    "query-image-4-concepts": "repic/query-image-4-concepts",
    **{
        f"database_{kind}": f"repic/database_{kind}_images"
        for kind in ("dreambooth", "myvlm", "yollava", "2_concepts", "4_concepts")
    },
}


def place_of(published: str) -> str:
    """Where conf/data looks for a published path, below the folder that holds all data."""
    folder, _, rest = published.partition("/")
    return f"{PLACES.get(folder, folder)}/{rest}"


def draw_group(root: Path, group: str) -> dict[str, Any]:
    """Draw a miniature of one of the published sets; return its queries."""
    references, shown = LAYOUTS[group]
    kind = STEMS.get(group, group)
    database = {
        name: {
            "name": name.strip("<>").title(),
            "image": f"./data/database_tot/{path}",
            "info": "" if name == "<fancy_boot>" else f"{name} is somebody.",
            "category": "being",
        }
        for name, path in references.items()
    }
    for shade, path in enumerate([*references.values(), *shown]):
        photo(root / place_of(path), 10 * shade)
    queries = {f"./data/{path}": names for path, names in shown.items()}
    plural = "s" if group in STEMS else ""
    folder = root / "repic"
    (folder / f"database_{kind}{plural}.json").write_text(json.dumps({"concept_dict": database}))
    (folder / f"{kind}_query_templates.json").write_text(json.dumps(queries))
    return queries


def draw_montage_photos(root: Path) -> None:
    """Stand-ins for DreamBooth's photos that the list of montages names, no two alike."""
    for shade, subject in enumerate(read_montages(FILE).subjects.values()):
        for number, path in enumerate((subject.reference, *subject.photos)):
            (root / "dreambooth" / subject.key).mkdir(parents=True, exist_ok=True)
            colour = (8 * shade, 40 * number, 255 - 8 * shade)
            Image.new("RGB", (16, 16), colour).save(root / "dreambooth" / path)
