"""Every recipe loads; a mistake in one is told with its file, its key, what was found and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radvqa import tree
from radvqa.errors import InputError
from radvqa.recipe import Recipe, load, validate
from radvqa.recipe_sections import Adapt, Part

RECIPES = sorted((Path(__file__).parent.parent / "recipes").rglob("*.yaml"))
TEXT = """
name: small
data: {phantom: {dataset: phantom, options: {num_images: 10, splits: [no, on]}}}
adapt: {rank: 4}
stages:
  - {name: stage1, epochs: 1, lr: 1e-5, data: [{corpus: phantom, where: {topic: [modality, yes]}}]}
  - {name: stage2, start: stage1, steps: 3, data: [{corpus: phantom}, {corpus: phantom, share: 0.2}]}
evaluate: {data: [{corpus: phantom}]}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(TEXT)
    return path


def test_there_are_recipes():
    assert {"demo", "paper", "vqa_rad", "medpix"} <= {path.stem for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_loads_and_says_how_it_is_run(path, monkeypatch):
    monkeypatch.setenv("RADVQA_DATA", "/data")
    recipe = load(path)
    assert recipe.name == path.stem
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert f"radvqa run recipes/{path.relative_to(RECIPES[0].parent)}" in " ".join(head)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipes_data_sets_and_options_exist(path, monkeypatch):
    from radvqa import datasets

    monkeypatch.setenv("RADVQA_DATA", "/data")
    for data in load(path).data.values():
        datasets.checked_options(data.dataset, data.options)


def test_numbers_text_and_truth_values_are_read_as_written(file):
    recipe = load(file)
    assert recipe.stages[0].lr == 1e-5 and recipe.stages[0].epochs == 1.0
    assert recipe.data["phantom"].options["splits"] == ["no", "on"]  # not False and True, as old YAML has it
    assert recipe.stages[0].data[0].where["topic"] == ("modality", "yes")
    assert recipe.out == Path("runs/small") and recipe.evaluate.data[0].split == "test"
    assert [stage.adapt.rank for stage in recipe.stages] == [4, 4] and recipe.arms == ("base", "stage1", "stage2")


def test_the_papers_settings_are_the_defaults():
    assert (Adapt().rank, Adapt().alpha) == (12, 32)
    assert Adapt().language == ("q_proj", "v_proj", "o_proj", "up_proj", "down_proj")
    assert Adapt().vision == ("q_proj", "v_proj", "out_proj", "fc1", "fc2")


def test_every_prompt_style_can_be_asked_for():
    from radvqa.prompt import STYLES

    assert set(get_args(Recipe.model_fields["prompt"].annotation)) == set(STYLES)


def test_overrides_reach_everything(file):
    changes = ["adapt.rank=8", "stages.stage2.lr=1e-4", "stages.0.schedule=cosine", "model.name=google/x-3b"]
    changes += ["evaluate.data.phantom.max_samples=7", "stages.stage1.data.0.where.topic=[plane]", "explain=null"]
    changes += ["stages.stage2.data.1.share=0.3", "report.title='A title: of two'"]
    recipe = load(file, changes)
    assert [stage.adapt.rank for stage in recipe.stages] == [8, 8]
    assert recipe.stages[1].lr == 1e-4 and recipe.stages[0].schedule == "cosine"
    assert recipe.evaluate.data[0].max_samples == 7 and recipe.stages[1].data[1].share == 0.3
    assert recipe.stages[0].data[0].where == {"topic": ("plane",)} and recipe.explain is None
    assert recipe.model.name == "google/x-3b" and recipe.report.title == "A title: of two"


def test_a_stages_own_adapt_is_filled_up_from_the_recipes(file):
    recipe = load(file, ["stages.stage2.start=base", "stages.stage2.adapt.alpha=5"])
    assert (recipe.stages[1].adapt.rank, recipe.stages[1].adapt.alpha) == (4, 5.0)


WRONG = [
    ("stages.stage2.lrr=1", "stages.stage2.lrr: there is no such key; did you mean lr? allowed: name, start, data"),
    ("adapt.rnk=3", "adapt.rnk: there is no such key; did you mean rank? allowed: method, rank"),
    ("evalute.batch_size=3", "evalute: there is no such key; did you mean evaluate?"),
    (
        "data.phantom.pth=3",
        "data.phantom.pth: there is no such key; did you mean path? allowed: dataset, path, options",
    ),
    ("evaluate.data.0.shar=1", "evaluate.data.0.shar: there is no such key; allowed: corpus, split"),
    ("adapt.rank=x", "adapt.rank: found 'x'; it should be a valid integer"),
    ("adapt.rank=8.5", "adapt.rank: found 8.5; it should be a valid integer"),
    ("adapt.rank=0", "adapt.rank: found 0; it should be greater than 0"),
    ("adapt={vision: [], language: []}", "adapt.vision: nothing is adapted; name modules"),
    ("stages.stage1.epochs=true", "stages.stage1.epochs: found True; it should be a valid number"),
    (
        "stages.stage1.schedule=linear",
        "stages.stage1.schedule: found 'linear'; it should be 'constant', 'cosine' or 'wsd'",
    ),
    ("stages.stag.lr=1", "stages.stag: there is no item 'stag' here; did you mean stage2? allowed: stage1, stage2"),
    ("stages.7.lr=1", "stages.7: there is no item '7' here"),
    ("stages.stage2.start=stge1", "stages.stage2.start: found 'stge1'; did you mean stage1? allowed: base, stage1"),
    ("stages.stage1.start=stage2", "stages.stage1.start: found 'stage2'; allowed: base"),
    ("stages.stage2.adapt.rank=8", "stages.stage2.adapt: `adapt` differs from that of stage1"),
    ("stages.stage2.name=stage1", "stages.stage1.name: two stages have this name"),
    ("stages.stage1.name=scores", "stages.scores.name: 'scores' means something else in a run folder"),
    ("stages.stage1.steps=4", "stages.stage1.epochs: both epochs and steps are given"),
    ("stages.stage2.steps=null", "stages.stage2.epochs: neither epochs nor steps is given"),
    ("stages.stage1.data=[]", "stages.stage1.data: this list is empty"),
    ("stages.stage2.data.1.share=1", "stages.stage2.data: the shares sum to 1; leave room"),
    ("stages.stage1.data.0.share=0.5", "stages.stage1.data: the shares sum to 0.5; they must sum to 1"),
    ("stages.stage1.data.0.corpus=fantom", "stages.stage1.data.0.corpus: found 'fantom'; did you mean phantom?"),
    ("stages.stage1.data.0.where.topik=x", "questions have no field 'topik'; did you mean topic?"),
    ("stages.stage1.data.0.where.split=x", "stages.stage1.data.0.where: the split has a key of its own"),
    ("evaluate.arms=[sage1]", "evaluate.arms: found 'sage1'; did you mean stage1? allowed: base, stage1, stage2"),
    ("explain.arm=stage3", "explain.arm: found 'stage3'; did you mean"),
    ("explain.methods=[rolout]", "explain.methods: found 'rolout'; did you mean rollout? allowed: raw"),
    ("evaluate=", "evaluate: found None; it should be a mapping of keys"),
    ("name=a b", "name: found 'a b'"),
    ("name=../x", "name: found '../x'"),
    ("report.title=2024", "report.title: found 2024; it should be a valid string"),
    ("seed.x=1", "seed: found {'x': 1}; it should be a valid integer"),
    ("stages.stage1.lr.x=1", "stages.stage1.lr: found 1e-05, which has no keys below it"),
    ("seed", "found 'seed'; an override is written key.sub=value"),
    ("a..b=1", "an override is written key.sub=value"),
    ("explain={a: [}", "explain: not YAML"),
]


@pytest.mark.parametrize(("override", "message"), WRONG, ids=[override for override, _ in WRONG])
def test_a_mistake_is_told_with_file_key_value_and_what_is_allowed(file, override, message):
    with pytest.raises(InputError) as error:
        load(file, [override])
    assert str(error.value).startswith(str(file)) and message in str(error.value)


def test_a_missing_key_is_named(file):
    file.write_text("name: x\ndata: {p: {dataset: phantom}}\n")
    with pytest.raises(InputError, match=r"small.yaml, evaluate: this key is missing"):
        load(file)
    file.write_text("name: x\ndata: {p: {path: a}}\nevaluate: {data: [{corpus: p}]}\n")
    with pytest.raises(InputError, match=r"small.yaml, data.p.dataset: this key is missing"):
        load(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "row 3: not YAML: the key 'a' is given twice"),
        ("a: [1\n", "not YAML"),
        ("- a\n", "a recipe is a mapping of keys, found list"),
        ("", "found NoneType"),
        ("a: !!python/object/apply:os.system ['true']\n", "not YAML: could not determine a constructor"),
    ],
)
def test_a_broken_file_is_told_with_its_line(file, text, message):
    file.write_text(text)
    with pytest.raises(InputError) as error:
        load(file)
    assert message in str(error.value) and str(error.value).startswith(str(file))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.yaml: the recipe cannot be read \(No such file"):
        load(tmp_path / "nowhere.yaml")
    (tmp_path / "latin.yaml").write_bytes("name: caf\xe9".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        load(tmp_path / "latin.yaml")


def test_environment_variables_are_put_into_paths_only(file, monkeypatch):
    monkeypatch.setenv("HERE", "/data")
    recipe = load(file, ["data.phantom.path=${HERE}/x", "data.phantom.options.file=${HERE}/y", "report.title=${HERE}"])
    assert recipe.data["phantom"].path == Path("/data/x") and recipe.data["phantom"].options["file"] == "/data/y"
    assert recipe.report.title == "${HERE}"
    monkeypatch.delenv("HERE")
    with pytest.raises(InputError, match=r"data.phantom.path: the environment variable HERE is not set; set it"):
        load(file, ["data.phantom.path=${HERE}/x"])


def test_a_resolved_recipe_reads_back_equal(file, tmp_path):
    recipe = load(file, ["report.title='1e-5'", "data.phantom.options={a: 'yes', b: '~', c: '2020-01-01', d: 1e-7}"])
    (tmp_path / "again.yaml").write_text(recipe.dump())
    assert load(tmp_path / "again.yaml") == recipe


def test_recipes_are_frozen(file):
    recipe = load(file)
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 3  # type: ignore[misc]


def test_every_field_is_documented():
    def parts(kind: type[Part]) -> set[type[Part]]:
        return {kind}.union(*(parts(sub) for sub in kind.__subclasses__()))

    undocumented = [
        f"{part.__name__}.{name}" for part in parts(Part) for name, f in part.model_fields.items() if not f.description
    ]
    assert not undocumented


def test_a_recipe_can_be_made_in_python():
    recipe = validate({"name": "x", "data": {"p": {"dataset": "phantom"}}, "evaluate": {"data": [{"corpus": "p"}]}})
    assert isinstance(recipe, Recipe) and recipe.arms == ("base",)
    with pytest.raises(InputError, match=r"^evaluate: this key is missing"):
        validate({"name": "x", "data": {"p": {"dataset": "phantom"}}})


def test_overrides_on_their_own_spell_a_tree():
    assert tree.assigned(["a=1", "b.c=[x, 2]", "d=no"]) == {"a": 1, "b": {"c": ["x", 2]}, "d": "no"}


words = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]))  # no control characters, no line separators
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words
plain = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3), max_leaves=8
)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(words, plain, max_size=4))
def test_what_is_dumped_reads_back_equal(values):
    assert tree.parse(tree.dump(values)) == values
