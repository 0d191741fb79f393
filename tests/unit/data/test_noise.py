import numpy as np

from repic.data.noise import NoiseExamples


def test_every_picture_is_another_and_always_the_same() -> None:
    data = NoiseExamples(counts=[1, 3], size=4, seed=5, image_px=28)
    assert len(data) == 4
    assert [len(data[i].images) for i in range(4)] == [2, 4, 2, 4]
    keys = [image.key for i in range(4) for image in data[i].images]
    assert len(set(keys)) == len(keys) == 12
    one, same = (np.asarray(data[2].images[1].load()) for _ in range(2))
    assert one.shape == (28, 28, 3)
    assert (one == same).all()
    assert (one != np.asarray(data[2].images[0].load())).any()
    assert len({data[i].id for i in range(4)}) == 4


def test_names_are_introduced_once() -> None:
    (example,) = NoiseExamples(counts=[12], size=1, seed=0, image_px=1)
    assert len(set(example.pool)) == 12
