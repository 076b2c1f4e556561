"""Files of PyTorch's made to do harm: nothing of them runs, and what is honest still loads."""

from __future__ import annotations

import itertools
import json
import warnings
import zipfile
from collections import namedtuple

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pytest_onnxprep.errors import SourceError  # noqa: E402
from pytest_onnxprep.exporters.workshop import trace_run  # noqa: E402
from pytest_onnxprep.sources import torch_checkpoint, torch_pickle, torch_reader, trial  # noqa: E402
from pytest_onnxprep.sources.load import load_source  # noqa: E402
from pytest_onnxprep.sources.torch_expressions import is_arithmetic, is_guard  # noqa: E402
from pytest_onnxprep.sources.torch_operators import allowed  # noqa: E402
from pytest_onnxprep.spec.signature import Signature  # noqa: E402
from pytest_onnxprep.spec.tensor import TensorSpec  # noqa: E402

Pair = namedtuple("Pair", "first second")
torch.utils._pytree._register_namedtuple(Pair, serialized_type_name="test_torch_hostile.Pair")


@torch.library.custom_op("onnxprep_hostile::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    """An operator of the user's."""
    return x * 2


@twice.register_fake
def _(x):
    return torch.empty_like(x)


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torch.jit is deprecated
        yield


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A sound program of an open size, with a text among its inputs."""

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(4, 3)

        def forward(self, x, mode):
            return self.linear(x["a"])

    path = tmp_path_factory.mktemp("sound") / "net.pt2"
    rows = {"x": {"a": {0: torch.export.Dim("rows", min=3, max=9)}}, "mode": None}
    torch.export.save(torch.export.export(Net(), ({"a": torch.ones(4, 4)}, "plain"), dynamic_shapes=rows), str(path))
    return path


def rewritten(source, target, change, more=()):
    """A copy of an archive with its description changed, and entries added."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for info in old.infolist():
            data = old.read(info)
            new.writestr(info.filename, change(data) if info.filename.endswith("models/model.json") else data)
        for name, data in more:
            new.writestr(name, data)
    return target


def refusal(path):
    """Why a file is not read; asked a second time, it is the same."""
    with pytest.raises(SourceError) as first:
        load_source(path)
    with pytest.raises(SourceError) as second:
        load_source(path)
    assert str(first.value) == str(second.value)
    assert str(path) in str(first.value)
    return str(first.value)


def plant_guard(described, code):
    """A condition."""
    described["guards_code"] = [f"{code} is None"]


def plant_size(described, code):
    """A size."""
    described["graph_module"]["graph"]["sym_int_values"]["s0"] = {"as_expr": {"expr_str": code}}


def plant_target(described, code):
    """A function of torch's."""
    described["graph_module"]["graph"]["nodes"][0]["target"] = "torch.hub.download_url_to_file"


def plant_name(described, code):
    """The name of a value."""
    described["graph_module"]["graph"]["nodes"][0]["name"] = f"x = {code}; y"


def plant_argument(described, code):
    """The name of an input."""
    signature = described["graph_module"]["module_call_graph"][0]["signature"]
    signature["forward_arg_names"] = [f"x={code}", "mode"]


def plant_key(described, code):
    """The key of a table of inputs."""
    signature = described["graph_module"]["module_call_graph"][0]["signature"]
    signature["in_spec"] = signature["in_spec"].replace('[\\"a\\"]', json.dumps(json.dumps([f'a"+{code}+"']))[1:-1])


def plant_text(described, code):
    """The value of an input."""
    for given in described["graph_module"]["graph"]["inputs"]:
        if "as_string" in given:
            given["as_string"] = f"' or {code} or '"


def plant_import(described, code):
    """A structure whose keys are members of an Enum."""
    signature = described["graph_module"]["module_call_graph"][0]["signature"]
    spec = {"type": "builtins.dict", "context": '[{"__enum__": true}]', "children_spec": []}
    signature["out_spec"] = json.dumps([1, spec])


@pytest.mark.parametrize(
    ("plant", "told"),
    [
        (plant_guard, "a condition on its inputs is code"),
        (plant_size, "what should be the size of a tensor is code"),
        (plant_target, "which is no operator that torch.export.save writes"),
        (plant_name, "stands where a name should"),
        (plant_argument, "stands where a name should"),
        (plant_key, "stands where the name of an input should"),
        (plant_text, "with quotes that torch would put into code"),
        (plant_import, "whose module torch would import"),
    ],
)
def test_code_in_a_program(program, tmp_path, plant, told):
    """Torch makes Python code of all of these, or imports what they name."""
    proof = tmp_path / "proof"
    code = f"__import__('pathlib').Path({str(proof)!r}).touch()"

    def change(data):
        described = json.loads(data)
        plant(described, code)
        assert json.dumps(described) != json.dumps(json.loads(data))
        return json.dumps(described).encode()

    assert told in refusal(rewritten(program, tmp_path / "bad.pt2", change))
    assert not proof.exists()


@pytest.mark.parametrize("name", ["metadata", "forward_arg_names", "guards_code", "range_constraints", "x"])
def test_values_by_the_names_of_fields(program, tmp_path, name):
    """What a value is called makes no difference to what it may hold."""

    def change(data):
        described = json.loads(data)
        tables = described["graph_module"]["graph"]["tensor_values"]
        tables[name] = {"sizes": [{"as_expr": {"expr_str": "exit()"}}]}
        return json.dumps(described).encode()

    text = refusal(rewritten(program, tmp_path / "bad.pt2", change))
    assert "is code" in text or "no description of a program" in text


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("net/data/aotinductor/model/x.so", "compiled libraries"),
        ("net/models/other.JSON", "torch.export.save never writes"),
        ("net/models/MODEL.json", "entries of the same name"),
        ("net/data/constants/custom_obj_0", "Python objects that run code"),
        ("net/data/constants/opaque_obj_0", "Python objects that run code"),
        ("net/data/weights/../../x", "torch.export.save never writes"),
        ("elsewhere/models/model.json", "outside its folder|damaged"),
    ],
)
def test_entries_of_a_program(program, tmp_path, entry, told):
    """Torch reads more of an archive than its description, and looks entries up without regard to case."""
    path = rewritten(program, tmp_path / "bad.pt2", lambda data: data, [(entry, b"{}")])

    assert any(text in refusal(path) for text in told.split("|"))


def test_a_program_that_maps_a_file(program, tmp_path):
    """An operator of aten creates files."""
    proof = tmp_path / "proof"

    def change(data):
        described = json.loads(data)
        graph = described["graph_module"]["graph"]
        node = json.loads(json.dumps(graph["nodes"][0]))
        given = {"filename": {"as_string": str(proof)}, "shared": {"as_bool": True}, "size": {"as_int": 3}}
        node.update(target="torch.ops.aten.from_file.default", name="mapped")
        node["outputs"] = [{"as_tensor": {"name": "mapped"}}]
        node["inputs"] = [{"name": name, "arg": value, "kind": 1} for name, value in given.items()]
        graph["tensor_values"]["mapped"] = next(iter(graph["tensor_values"].values()))
        graph["nodes"].insert(0, node)
        return json.dumps(described).encode()

    assert "which acts on more than tensors" in refusal(rewritten(program, tmp_path / "bad.pt2", change))
    assert not proof.exists()


def test_what_a_program_may_call():
    """Operators that compute, those the user registered, and the arithmetic of sizes."""
    for target in (
        "torch.ops.aten.add.Tensor",
        "torch.ops.aten.__and__.Tensor",
        "torch.ops.prims.convert_element_type.default",
        "torch.ops.higher_order.cond",
        "torch.ops.onnxprep_hostile.twice.default",
        "_operator.floordiv",
        "torch.sym_max",
        "math.trunc",
    ):
        assert not allowed(target), target
    for target in (
        "torch.ops.load_library",
        "torch.ops.aten.add",
        "torch.ops.aten.add.__init__",
        "torch.ops.higher_order.print",
        "torch.ops.higher_order.inductor_compiled_code",
        "torch.ops.debugprims.load_tensor.default",
        "torch.ops.nobody.knows.default",
        "torch.ops.aten.add.Tensor\n",
        "_operator.methodcaller",
        "torch.load",
        "math.__loader__.load_module",
        "#edge:add",
    ):
        assert allowed(target), target


def test_guards_are_comparisons():
    """What torch 2.13 writes passes; anything that calls, reaches or grows does not."""
    for text in (
        "L['x'].size()[0] >= 3",
        "((L['x'].size()[1]*(L['y'].size()[0] + L['x'].size()[0])) % 2) == 0",
        "math.trunc(1.5*torch.sym_float(1 + (((-3) + L['x']['a b'].size()[2]) // 2))) < 2",
        "max(1, L['args'][0].size()[0] // 2) != 1 and not (L['self'].linear.weight.size()[0] == 4)",
        "L['mode'] == 'plain'",
        "L['x'].size()[0]**2 < 100",
    ):
        assert is_guard(text), text
    for text in (
        "__import__('os')",
        "L.__class__",
        "L['x'].__class__.__mro__",
        "L['x'].save('f')",
        "torch.load('f')",
        "math.__loader__",
        "(lambda: 1)()",
        "[x for x in L]",
        "9**9**9 == 1",
        "'a' * 10000000000 == L['x']",
        "max(*L['x'])",
        "L['x'] == 'a\"b'",
        "f'{L}' == 1",
        "(y := 1)",
        "x = 1",
    ):
        assert not is_guard(text), text
    assert is_arithmetic("Max(Integer(1), FloorDiv(Symbol('s0', positive=True, integer=True), Integer(2)))")
    assert not is_arithmetic("Symbol('s0').__class__")


def test_tensors_stretched_beyond_the_file(program, tmp_path):
    """A few bytes seen as terabytes are not copied out."""
    path = tmp_path / "bad.pt2"
    with zipfile.ZipFile(program) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        for info in old.infolist():
            data = old.read(info)
            if info.filename.endswith("weights_config.json"):
                config = json.loads(data)
                for entry in config["config"].values():
                    entry["tensor_meta"].update(sizes=[{"as_int": 1 << 40}], strides=[{"as_int": 0}])
                data = json.dumps(config).encode()
            new.writestr(info.filename, data)

    assert "its tensors would take" in refusal(path)


def export(forward, arguments, **options):
    """A program of a function."""
    net = type("Net", (torch.nn.Module,), {"forward": lambda self, *given: forward(*given)})
    return torch.export.export(net(), arguments, **options)


def with_loop(x):
    """A loop by value."""
    from torch._higher_order_ops.while_loop import while_loop

    return while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x * 2), (torch.tensor(0), x))


def with_check(x, n):
    """A size by value."""
    rows = n.item()
    torch._check(rows >= 1)
    torch._check(rows <= x.shape[0])
    return x[:rows]


@pytest.fixture
def lstm():
    """A layer."""
    return torch.nn.LSTM(4, 3, batch_first=True)


@pytest.mark.parametrize(
    ("forward", "given", "free"),
    [
        (lambda x: torch.cond(x.sum() > 0, lambda x: x * 2, lambda x: x - 1, (x,)), 1, 1),
        (with_loop, 1, 0),
        (lambda x: twice(x), 1, 1),
        (lambda x: Pair(x, x * 2), 1, 0),
        (lambda x: {"a": x, "b": [x, (x.relu(), None)]}, 1, 0),
        (lambda x, y: torch.cat([x, y]).view(-1, 2) + x.shape[0], 2, 2),
        (lambda x: torch.vmap(lambda row: row * 2)(x), 1, 0),
        (lambda x: torch.nn.functional.interpolate(x[None, None], scale_factor=1.5), 1, 1),
        (lambda x: x[x > 0], 1, 0),
    ],
)
def test_honest_programs_load(tmp_path, forward, given, free):
    """Branches, loops, operators and structures of the user's, sizes by arithmetic."""
    dims = ({0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO},) * given
    arguments = tuple(torch.arange(12.0).reshape(3, 4) for _ in range(given))
    path = tmp_path / "net.pt2"
    torch.export.save(export(forward, arguments, dynamic_shapes=[dims] if free else None), str(path))
    source = load_source(path)
    signature = source.derived_signature()

    assert not source.try_out({name: np.ones((3, 4), "float32") for name in signature.inputs}, signature)
    assert source.run({name: np.ones((3, 4), "float32") for name in signature.inputs}, signature)


def test_honest_programs_with_constraints_and_states(tmp_path, lstm):
    """Sizes by value with checks on them, recurrent layers, and files beside the program."""
    checked, recurrent = tmp_path / "checked.pt2", tmp_path / "recurrent.pt2"
    torch.export.save(export(with_check, (torch.ones(3, 4), torch.tensor(2))), str(checked))
    program = torch.export.export(lstm, (torch.ones(2, 5, 4),)).run_decompositions()
    torch.export.save(program, str(recurrent), extra_files={"note.txt": "model.save('x')"})

    assert load_source(checked).fingerprint().stable
    assert load_source(recurrent).fingerprint().stable


class Acts(torch.nn.Module):
    """Does nothing yet."""

    def __init__(self, proof):
        super().__init__()
        self.proof = str(proof)
        self.w = torch.ones(1)


class Saves(Acts):
    """When it runs."""

    def forward(self, x):
        """A file comes of it."""
        torch.save(x, self.proof)
        return x


class Maps(Acts):
    """When it runs."""

    def forward(self, x):
        """A file comes of it."""
        return x + torch.ops.aten.from_file(self.proof, True, 4)


class Restores(Acts):
    """When it is read."""

    @torch.jit.export
    def __getstate__(self):
        return (self.w, self.proof, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, str, bool]):
        torch.save(state[0], state[1])
        self.w = state[0]
        self.proof = state[1]
        self.training = state[2]

    def forward(self, x):
        """Nothing comes of it."""
        return x + self.w


@pytest.mark.parametrize("kind", [Saves, Maps, Restores])
def test_scripts_that_act_on_files(tmp_path, kind):
    """When they run, and when they are merely read."""
    proof, path = tmp_path / "proof", tmp_path / "bad.pt"
    torch.jit.save(torch.jit.script(kind(proof)), str(path))

    assert "may act on files, processes or memory" in refusal(path)
    assert not proof.exists()


@pytest.mark.parametrize(
    "line",
    [
        b"torch . save(x, 'f')",
        b"torch.\\\n  save(x, 'f')",
        b"t = torch\n    t.save(x, 'f')",
        b"torch.  # why\n  save(x, 'f')",
        b"ops.aten.from_file('f', True, 4)",
        b"ops.inductor.resize_storage_bytes_(x, 9)",
        b"ops.prim.rpc_sync('a', 'b', (x,))",
        b"getattr(torch, \"save\")(x, 'f')",
        b"getattr(torch, \"\\x73ave\")(x, 'f')",
        b"getattr(torch, 'sa' 've')(x, 'f')",
    ],
)
def test_scripts_that_write_it_otherwise(tmp_path, line):
    """Code in a file is written by whoever made it."""
    sound, path = tmp_path / "net.pt", tmp_path / "bad.pt"
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), str(sound))
    with zipfile.ZipFile(sound) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        for info in old.infolist():
            data = old.read(info)
            code = info.filename.endswith("activation.py")
            new.writestr(info.filename, data.replace(b"    return", b"    " + line + b"\n    return") if code else data)

    assert "may act on files, processes or memory" in refusal(path)


def test_parts_by_number(tmp_path):
    """They are written as ``getattr``, one inside the other."""
    path = tmp_path / "net.pt"
    layers = torch.nn.Sequential(torch.nn.Sequential(torch.nn.Sequential(torch.nn.Linear(4, 3))))
    torch.jit.save(torch.jit.trace(layers.eval(), torch.ones(1, 4)), str(path))

    assert load_source(path).fingerprint().stable


class Spins(torch.nn.Module):
    """Never ends."""

    def forward(self, x):
        """Nothing comes of it."""
        n = 0
        while bool(x.sum() * 0 == 0):
            n = (n + 1) % 1000
        return x + n


class Grows(torch.nn.Module):
    """Takes terabytes."""

    def forward(self, x):
        """Of zeros."""
        return x + torch.zeros(1 << 42)


@pytest.mark.parametrize(
    ("net", "told"), [(Spins, "did not come to an end within 1 s"), (Grows, "takes more than 4 GB")]
)
def test_scripts_without_measure(tmp_path, monkeypatch, net, told):
    """Run in a child first; the run goes on."""
    path = tmp_path / "bad.pt"
    torch.jit.save(torch.jit.script(net()), str(path))
    source = load_source(path)
    monkeypatch.setattr(trial, "SECONDS", 1.0)
    signature = Signature({"x": TensorSpec("float32", (2,))})

    with pytest.raises(SourceError, match=f"bad.pt .TorchScript. is not run here, .*{told}"):
        trace_run(source, signature, {"x": np.ones(2, "float32")})


def test_scripts_that_are_the_users_own_affair(tmp_path):
    """Operators registered in this process alone are looked for here; one that fails says why, not where."""
    path, failing = tmp_path / "own.pt", tmp_path / "failing.pt"
    library = torch.library.Library("onnxprep_hostile_script", "DEF")
    library.define("half(Tensor x) -> Tensor")
    library.impl("half", lambda x: x / 2, "CompositeImplicitAutograd")
    torch.jit.save(torch.jit.script(Halves()), str(path))
    torch.jit.save(torch.jit.script(Mismatch()), str(failing))
    signature, feeds = Signature({"x": TensorSpec("float32", (2,))}), {"x": np.ones(2, "float32")}

    assert trace_run(load_source(path), signature, feeds)["output"].tolist() == [0.5, 0.5]
    with pytest.raises(SourceError, match=r"refuses its own example inputs .*: RuntimeError: .*mat"):
        trace_run(load_source(failing), signature, feeds)


class Halves(torch.nn.Module):
    """An operator that torch does not have."""

    def forward(self, x):
        """The half."""
        return torch.ops.onnxprep_hostile_script.half(x)


class Mismatch(torch.nn.Module):
    """Shapes that do not fit."""

    def forward(self, x):
        """Nothing comes of it."""
        return torch.mm(x[None], torch.zeros(7, 3))


def test_records_of_where_code_came_from(tmp_path):
    """They are read when the graph is shown, long after the file was."""
    sound, path = tmp_path / "net.pt", tmp_path / "bad.pt"
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), str(sound))
    with zipfile.ZipFile(sound) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        for info in old.infolist():
            data = old.read(info)
            new.writestr(info.filename, data[: len(data) // 2] if info.filename.endswith(".debug_pkl") else data)

    assert "is damaged: Unexpected end of pickler archive; copy it" in refusal(path)


def zipped(path, entries):
    """An archive with compressed entries, of parts."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, parts in entries:
            with archive.open(name, "w") as entry:
                for part in parts:
                    entry.write(part)
    return path


def test_archives_that_unpack_without_measure(program, tmp_path, monkeypatch):
    """Found from their list of entries."""
    monkeypatch.setattr(torch_reader, "_UNPACKED", 1 << 20)
    nothing = itertools.repeat(b"N0" * (1 << 16), 32)
    checkpoint = zipped(tmp_path / "a.pth", [("a/data.pkl", [b"\x80\x02", *nothing])])
    bad = rewritten(program, tmp_path / "net.pt2", lambda data: data)
    with zipfile.ZipFile(bad, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/extra/z.json", b"[]," * (1 << 20))

    assert "far more than torch writes" in refusal(checkpoint)
    assert "far more than torch writes" in refusal(bad)


def test_pickles_without_measure(tmp_path, monkeypatch):
    """Operations are counted, and of many pickles the first few are looked at."""
    monkeypatch.setattr(torch_pickle, "_MOST_OPERATIONS", 1000)
    long, many = tmp_path / "long.pt", tmp_path / "many.pt"
    long.write_bytes(b"\x80\x02" + b"N0" * 5000 + b"N.")
    many.write_bytes(b"\x80\x02N." * 5000)

    assert "far more than weights need" in refusal(long)
    assert "is damaged" in refusal(many)


def test_checkpoints_are_looked_at_once(tmp_path, monkeypatch):
    """However many tests ask for one, until it changes."""
    path = tmp_path / "w.pt"
    torch.save({"w": torch.ones(2)}, path)
    first = refusal(path)
    monkeypatch.setattr(torch_checkpoint, "_damage", None)  # the first it would call

    assert refusal(path) == first
    monkeypatch.undo()
    torch.save({"w": torch.ones(2), "b": torch.ones(2)}, path)
    assert "(w, b)" in refusal(path)


def changed(path, old, new):
    """A file with a text replaced, its checksums made right again."""
    with zipfile.ZipFile(path) as archive:
        entries = [(info.filename, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in entries:
            archive.writestr(name, data.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"OrderedDict", b"OrderetDict"),
        (b"torch._utils\n", b"torch._utylz\n"),
        (b"_rebuild_tensor_v2", b"_rebuild\x01tensor_v2"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils"),
    ],
)
def test_damaged_names_are_damage(tmp_path, old, new):
    """No pickled object of the user's is made of them, and what is no text is not shown."""
    path = tmp_path / "w.pth"
    torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    changed(path, old, new)
    text = refusal(path)

    assert "is damaged" in text
    assert "pickled Python object" not in text
    assert text.isprintable()


def test_damaged_numbers_are_damage(tmp_path):
    """They are not read for the message, and yet looked at."""
    path = tmp_path / "w.pth"
    torch.save({"w": torch.full((1000,), 7.0)}, path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\0\0\xe0\x40", b"\0\0\xe1\x40", 1))

    assert "is damaged: the checksum of w/data/0 is wrong" in refusal(path)
