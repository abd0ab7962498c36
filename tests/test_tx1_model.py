import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional
from tx1_cases import TINY, TINY_DRUGS, load_arrays, parity_batch, parity_folder, tiny_batch, tiny_model

from causcade.errors import InputError
from causcade.tx1.attention import lay_out
from causcade.tx1.checkpoint import read_checkpoint
from causcade.tx1.model import Tx1
from causcade.tx1.shape import PRESETS, DrugShape

VARIANTS = {
    "plain": TINY,
    "drugs": TINY_DRUGS,
    "relu": replace(TINY, ffn_activation="relu", expression_activation="silu", decoder_activation="leaky_relu", product_activation="tanh"),
    "post": replace(TINY, norm_scheme="post", gene_norm=False, expression_norm=False, scale_product=False),
    "gated": replace(TINY_DRUGS, glu=True, decoder_layers=2, num_outputs=3, expansion=2),
    "hidden": replace(TINY, hide_masked=True),
    "mean": replace(TINY_DRUGS, pooling="mean"),
}
OUTPUTS = {"cell_emb": "cell_BD", "gene_emb": "hidden_BLD", "expr_preds": "expression_BL", "mvc_output": "product_BL"}


def slow_cell(model, gene, value, is_masked, drug):
    """Hidden states, embedding and both predictions of one cell without pads, written from the description of the model, in double precision."""
    shape, p = model.shape, {key.removeprefix("model."): tensor.double() for key, tensor in model.state_dict().items()}
    act = {name: getattr(functional, name) for name in ("relu", "gelu", "silu", "leaky_relu", "tanh", "sigmoid")}

    def linear(x, name):
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    def norm(x, name, *, there=True):
        if not there:
            return x
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + shape.norm_eps).sqrt() * p[f"{name}.weight"] + p[f"{name}.bias"]

    token = norm(p["gene_encoder.embedding.weight"][gene], "gene_encoder.enc_norm", there=shape.gene_norm)
    x = act[shape.expression_activation](linear(value.double().clamp(max=shape.expression_max)[:, None], "expression_encoder.linear1"))
    x = norm(linear(x, "expression_encoder.linear2"), "expression_encoder.norm", there=shape.expression_norm)
    x[is_masked] = p["flag_encoder.weight"][1]
    x = x + token
    if drug is not None:
        row = act[shape.drugs.activation](linear(p["chem_encoder.embedding.weight"][drug], "chem_encoder.fc"))
        x[1] = norm(linear(row, "chem_encoder.proj"), "chem_encoder.norm")
    is_key = torch.eye(len(gene), dtype=torch.bool) | (~is_masked if shape.hide_masked else torch.ones_like(is_masked))

    def attention(x, name):
        heads = []
        q, k, v = linear(x, f"{name}.Wqkv").split(shape.d_model, dim=1)
        for head in range(shape.num_heads):
            of_head = slice(head * shape.head_size, (head + 1) * shape.head_size)
            score = q[:, of_head] @ k[:, of_head].T / math.sqrt(shape.head_size)
            heads.append(torch.softmax(score.masked_fill(~is_key, -math.inf), dim=1) @ v[:, of_head])
        return linear(torch.cat(heads, dim=1), f"{name}.out_proj")

    def feed(x, name):
        up = linear(x, f"{name}.up_proj")
        wide = act[shape.ffn_activation](linear(x, f"{name}.gate_proj")) * up if shape.glu else act[shape.ffn_activation](up)
        return linear(wide, f"{name}.down_proj")

    for number in range(shape.num_layers):
        name = f"transformer_encoder.layers.{number}"
        if shape.norm_scheme == "pre":
            x = x + attention(norm(x, f"{name}.norm1"), f"{name}.self_attn")
            x = x + feed(norm(x, f"{name}.norm2"), name)
        else:
            x = norm(x + attention(x, f"{name}.self_attn"), f"{name}.norm1")
            x = norm(x + feed(x, name), f"{name}.norm2")
    hidden = norm(x, "transformer_encoder.norm") if shape.norm_scheme == "pre" else x
    x = hidden
    for number in range(shape.decoder_layers):
        x = act[shape.decoder_activation](linear(x, f"expression_decoder.linear_layers.{number}"))
    query = act[shape.product_activation](linear(token, "mvc_decoder.gene2query")) @ p["mvc_decoder.W.weight"].T
    cell = hidden[~is_masked].mean(dim=0) if shape.pooling == "mean" else hidden[0]
    product = query @ cell / (math.sqrt(shape.d_model) if shape.scale_product else 1)
    return hidden, cell, linear(x, "expression_decoder.out_proj").squeeze(-1), product


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("masked", [None, 0.5])
def test_equals_one_cell_after_another(name, masked):
    shape = VARIANTS[name]
    model, lengths = tiny_model(shape).double(), [9, 2, 14, 9, 5]
    batch = tiny_batch(lengths, shape=shape, masked=masked, width=17)
    batch.value_BL[2, 3] = 2000.0  # counts as the largest value
    with torch.no_grad():
        out, cells = model(batch, decode=True), model(batch, only_cells=True)
    for cell, length in enumerate(lengths):
        is_masked = torch.zeros(length, dtype=torch.bool) if masked is None else batch.is_masked_BL[cell, :length]
        drug = None if batch.drug_B is None else batch.drug_B[cell]
        hidden, embedding, expression, product = slow_cell(model, batch.gene_BL[cell, :length], batch.value_BL[cell, :length], is_masked, drug)
        torch.testing.assert_close(out.hidden_BLD[cell, :length], hidden)
        for result in (out, cells):
            torch.testing.assert_close(result.cell_BD[cell].double(), embedding, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(out.expression_BL[cell, :length], expression)
        torch.testing.assert_close(out.product_BL[cell, :length].double(), product, atol=1e-6, rtol=1e-6)
    for result in (out.hidden_BLD, out.expression_BL, out.product_BL):
        assert not result[~batch.is_real_BL].any()
    assert cells.hidden_BLD is None
    assert model(batch).expression_BL is None


def parity_model(folder, **changes):
    checkpoint = read_checkpoint(folder, drugs=changes.pop("drugs", None))
    model = Tx1(replace(checkpoint.shape, **changes))
    model.load_state_dict(checkpoint.model.state_dict())
    return model.eval()


PARITY = [
    (case, collated, outputs)
    for case in ("base", "chem")
    for collated, outputs in [("infer", "infer"), ("train", "train"), ("train_sampled", "train_sampled"), ("train", "train_attnmask")]
] + [("chem", "infer_nochem", "infer_nochem")]


@pytest.mark.parametrize(("case", "collated", "outputs"), PARITY)
def test_parity_of_outputs_loss_and_gradients(shared_data, case, collated, outputs):
    folder = parity_folder(shared_data, case)
    changes = {"drugs": False} if outputs == "infer_nochem" else {"hide_masked": outputs == "train_attnmask"}
    model, batch, expected = (
        parity_model(folder, **changes),
        parity_batch(folder, f"collated_{collated}"),
        load_arrays(folder / f"outputs_{outputs}.npz"),
    )
    out = model(batch, decode=True)
    for key, name in OUTPUTS.items():
        if key in expected:
            found, wanted = getattr(out, name).detach(), torch.from_numpy(expected[key])
            if key != "cell_emb":
                found, wanted = found[batch.is_real_BL], wanted[batch.is_real_BL]
            torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)  # asked for: 1e-4
    torch.testing.assert_close(functional.normalize(out.cell_BD.detach(), dim=1), torch.from_numpy(expected["cell_emb_l2"]), atol=1e-5, rtol=0)
    if "loss" not in expected:
        return
    target = torch.from_numpy(load_arrays(folder / f"collated_{collated}.npz")["expr_target"])
    errors = [(part - target)[batch.is_masked_BL & batch.is_real_BL].square().mean() for part in (out.expression_BL, out.product_BL)]
    loss = (errors[0] + errors[1]) / 2
    for found, key in zip((*errors, loss), ("loss_mse", "loss_mvc", "loss"), strict=True):
        assert found.item() == pytest.approx(expected[key].item(), rel=1e-5)
    if "grad_keys" in expected:
        loss.backward()
        norms = {name: parameter.grad.norm().item() for name, parameter in model.named_parameters()}
        assert norms == pytest.approx(dict(zip(expected["grad_keys"].tolist(), expected["grad_norms"].tolist(), strict=True)), rel=1e-4)


@pytest.mark.parametrize("case", ["base", "chem"])
def test_parity_inside_the_model(shared_data, case):
    folder = parity_folder(shared_data, case)
    model, batch, expected = parity_model(folder), parity_batch(folder, "collated_infer"), load_arrays(folder / "outputs_infer.npz")
    found = {}
    parts = {"gene_encoder_out": model.model.gene_encoder, "expression_encoder_out": model.model.expression_encoder}
    parts |= {f"layer{number}_out": layer for number, layer in enumerate(model.layers)}
    parts |= {"chem_encoder_out": model.model.chem_encoder} if case == "chem" else {}
    for name, part in parts.items():
        part.register_forward_hook(lambda module, inputs, output, name=name: found.update({name: output}))
    model.layers[0].register_forward_pre_hook(lambda module, inputs: found.update(transformer_in=inputs[0]))
    layout = lay_out(batch)
    with torch.no_grad():
        model(batch)
    for name, packed in found.items():
        wanted = torch.from_numpy(expected[name])
        got = packed
        if name != "chem_encoder_out":
            got, wanted = layout.unpack(packed)[batch.is_real_BL], wanted[batch.is_real_BL]
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["plain", "drugs", "post", "mean"])
def test_pads_and_other_cells_change_nothing(name):
    shape = VARIANTS[name]
    model = tiny_model(shape)
    batch = tiny_batch([12, 3, 30, 12, 7, 25], shape=shape, width=40)
    order = torch.tensor([4, 2, 0, 5, 3, 1])
    shuffled = type(batch)(*[None if part is None else part[order] for part in batch[:5]])
    with torch.no_grad():
        whole, other = model(batch).cell_BD, model(shuffled).cell_BD
        alone = [model(type(batch)(*[None if part is None else part[cell : cell + 1] for part in batch[:5]])).cell_BD for cell in range(6)]
    torch.testing.assert_close(other, whole[order], atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.cat(alone), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("case", ["base", "chem"])
def test_pads_and_other_cells_change_nothing_in_the_parity_model(shared_data, case):
    folder = parity_folder(shared_data, case)
    model, batch = parity_model(folder), parity_batch(folder, "collated_infer")
    with torch.no_grad():
        whole = model(batch).cell_BD
        for cell in range(len(whole)):
            length = int(batch.is_real_BL[cell].sum())
            parts = [None if part is None else part[cell : cell + 1] for part in batch[:5]]
            alone = type(batch)(*[part[:, :length] if part is not None and part.ndim == 2 else part for part in parts])
            torch.testing.assert_close(model(alone).cell_BD[0], whole[cell], atol=1e-5, rtol=0)


def test_order_of_genes_changes_nothing():
    model, batch = tiny_model(), tiny_batch([20])
    order = torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.randperm(19, generator=torch.Generator().manual_seed(0))])
    with torch.no_grad():
        torch.testing.assert_close(model(batch).cell_BD, model(type(batch)(*[part[:, order] for part in batch[:3]])).cell_BD, atol=1e-5, rtol=0)


def test_another_pooling_may_be_asked_of_a_model():
    batch = tiny_batch([12, 5])
    for trained in ("cls", "mean"):
        model = tiny_model(replace(TINY, pooling=trained))
        with torch.no_grad():
            hidden, found = model(batch).hidden_BLD, {pooling: model(batch, only_cells=True, pooling=pooling).cell_BD for pooling in ("cls", "mean")}
            assert torch.equal(model(batch, only_cells=True).cell_BD, found[trained])
        torch.testing.assert_close(found["cls"], hidden[:, 0])
        torch.testing.assert_close(found["mean"], hidden.sum(dim=1) / torch.tensor([[12.0], [5.0]]))


def test_what_stands_at_masked_positions_is_never_read():
    model, batch = tiny_model(), tiny_batch([15, 8], masked=0.5)
    other = batch._replace(value_BL=torch.where(batch.is_masked_BL, -1.0, batch.value_BL))
    with torch.no_grad():
        for one, two in zip(model(batch, decode=True), model(other, decode=True), strict=True):
            assert torch.equal(one, two)


def test_published_parameters():
    for name, count in {"70m": 70_996_993, "1.3b": 1_353_854_977, "3b": 2_717_048_321}.items():
        with torch.device("meta"):
            model = Tx1(PRESETS[name])
        assert sum(parameter.numel() for parameter in model.parameters()) == count
        assert not list(model.buffers())


def published_keys(shape):
    """Names and shapes of the table of the description."""
    d, f, v = shape.d_model, shape.ffn_size, shape.vocab_size
    sizes = {"gene_encoder.embedding.weight": (v, d), "flag_encoder.weight": (2, d), "mvc_decoder.W.weight": (d, d)}
    linear = {"expression_encoder.linear1": (d, 1), "expression_encoder.linear2": (d, d), "mvc_decoder.gene2query": (d, d)}
    linear |= {"expression_decoder.out_proj": (shape.num_outputs, d)}
    linear |= {f"expression_decoder.linear_layers.{number}": (d, d) for number in range(shape.decoder_layers)}
    norms = ["gene_encoder.enc_norm"] * shape.gene_norm + ["expression_encoder.norm"] * shape.expression_norm
    norms += ["transformer_encoder.norm"] * (shape.norm_scheme == "pre")
    for number in range(shape.num_layers):
        layer = f"transformer_encoder.layers.{number}"
        linear |= {
            f"{layer}.self_attn.Wqkv": (3 * d, d),
            f"{layer}.self_attn.out_proj": (d, d),
            f"{layer}.up_proj": (f, d),
            f"{layer}.down_proj": (d, f),
        }
        linear |= {f"{layer}.gate_proj": (f, d)} if shape.glu else {}
        norms += [f"{layer}.norm1", f"{layer}.norm2"]
    if shape.drugs:
        sizes["chem_encoder.embedding.weight"] = (shape.drugs.num_drugs, shape.drugs.num_bits)
        linear |= {"chem_encoder.fc": (d, shape.drugs.num_bits), "chem_encoder.proj": (d, d)}
        norms.append("chem_encoder.norm")
    for name, size in linear.items():
        sizes |= {f"{name}.weight": size, f"{name}.bias": size[:1]}
    for name in norms:
        sizes |= {f"{name}.weight": (d,), f"{name}.bias": (d,)}
    return {f"model.{name}": size for name, size in sizes.items()}


@pytest.mark.parametrize("shape", [*VARIANTS.values(), *PRESETS.values()])
def test_published_names(shape):
    with torch.device("meta"):
        model = Tx1(shape)
    assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == published_keys(shape)


def test_initial_weights():
    shape = replace(TINY_DRUGS, d_model=128, num_layers=3, vocab_size=300, drugs=DrugShape(num_drugs=4, num_bits=64))
    state = torch.get_rng_state()
    model = Tx1(shape, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    for name, tensor in model.state_dict().items():
        if name == "model.chem_encoder.embedding.weight" or name.endswith("bias"):
            assert not tensor.any()
        elif "norm" in name:
            assert (tensor == 1).all()
        else:
            std = math.sqrt(2 / tensor.shape[1]) / (math.sqrt(2 * 3) if "self_attn.out_proj" in name else 1)
            drawn = tensor[1:] if name == "model.gene_encoder.embedding.weight" else tensor
            # Five standard errors of a standard deviation.
            assert drawn.std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * drawn.numel()))
            assert abs(drawn.mean().item()) < 5 * std / math.sqrt(drawn.numel())
    assert not model.model.gene_encoder.embedding.weight[0].any()


def test_initial_weights_follow_the_seed():
    first, second, other = (Tx1(TINY, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["model.flag_encoder.weight"], other["model.flag_encoder.weight"])
    with torch.device("meta"):
        late = Tx1(TINY)
    late.to_empty(device="cpu").initialise(1)
    assert all(torch.equal(first[name], tensor) for name, tensor in late.state_dict().items())


def train_once(model, batch):
    model.train()
    torch.manual_seed(0)
    out = model(batch, decode=True)
    (out.expression_BL.square().sum() + out.product_BL.square().sum()).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("name", ["drugs", "gated", "hidden"])
def test_every_parameter_learns_and_row_0_does_not(name):
    shape = VARIANTS[name]
    batch = tiny_batch([9, 6, 12], shape=shape, masked=0.5)
    gradients = train_once(tiny_model(shape), batch)
    assert all(gradient is not None and gradient.any() for gradient in gradients.values())
    assert not gradients["model.gene_encoder.embedding.weight"][0].any()
    assert not gradients["model.flag_encoder.weight"][0].any()
    if shape.drugs:
        assert not gradients["model.chem_encoder.embedding.weight"][0].any()


def nodes_behind(tensors):
    """Names of all nodes of the graph of gradients."""
    names, waiting, seen = set(), [tensor.grad_fn for tensor in tensors], set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            names.add(node.name())
            waiting += [before for before, _ in node.next_functions]
    return names


@pytest.mark.parametrize("name", VARIANTS)
def test_no_gradient_is_added_up_in_the_order_in_which_threads_come(name):
    # On a CPU, torch sums the gradient of x[index] by several threads at once, each value when its thread comes to it: the last bits of a model that
    # was trained beside other jobs differed. Its sums over rows chosen by index_select have one order.
    model, batch = tiny_model(VARIANTS[name]), tiny_batch((9, 4, 7), shape=VARIANTS[name], masked=0.5)
    out, cells = model(batch, decode=True), model(batch, only_cells=True)
    names = nodes_behind([out.cell_BD, out.expression_BL, out.product_BL, cells.cell_BD])
    assert "IndexSelectBackward0" in names
    assert not {"IndexBackward0", "ScatterAddBackward0", "PutBackward0"} & names


def test_recomputed_layers_give_the_same_gradients():
    batch, model = tiny_batch([9, 6, 12], masked=0.5), tiny_model()
    kept = train_once(tiny_model(), batch)
    model.recompute_layers()
    assert all(torch.equal(gradient, kept[name]) for name, gradient in train_once(model, batch).items())
    model.recompute_layers(is_on=False)
    assert not model.model.transformer_encoder.recomputes


def test_dropout_in_training_only():
    model, batch = tiny_model(), tiny_batch([9, 6], masked=0.5)
    with torch.no_grad():
        assert torch.equal(model(batch).cell_BD, model(batch).cell_BD)
        model.train()
        assert not torch.equal(model(batch).cell_BD, model(batch).cell_BD)


@pytest.mark.parametrize("name", ["plain", "hidden"])
def test_compiled_layers(name):
    shape = VARIANTS[name]
    model, plain = tiny_model(shape), tiny_model(shape)
    model.compile_layers(backend="eager")
    with torch.no_grad():
        for lengths in ([5, 7, 9], [6, 6, 6], [3, 8, 8, 12]):
            batch = tiny_batch(lengths, masked=0.5)
            torch.testing.assert_close(model(batch).cell_BD, plain(batch).cell_BD, atol=1e-6, rtol=0)
    assert list(model.state_dict()) == list(plain.state_dict())
    compiled = model.layers[0]._compiled_call_impl
    model.compile_layers()
    assert model.layers[0]._compiled_call_impl is compiled


@pytest.mark.parametrize("how", ["weights", "autocast"])
def test_bfloat16(how):
    plain, model, batch = tiny_model(TINY_DRUGS), tiny_model(TINY_DRUGS), tiny_batch([9, 6, 30], shape=TINY_DRUGS, masked=0.5)
    model = model.bfloat16() if how == "weights" else model
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        out = model(batch, decode=True)
    expected = plain(batch, decode=True)
    for found, wanted in zip(out, expected, strict=True):
        assert functional.cosine_similarity(found.float().flatten(), wanted.flatten(), dim=0) > 0.999


def test_no_cells():
    batch = tiny_batch([4, 5], shape=TINY_DRUGS, masked=0.5)
    out = tiny_model(TINY_DRUGS)(type(batch)(*[part[:0] for part in batch[:5]]), decode=True)
    assert out.cell_BD.shape == (0, 16)
    assert out.expression_BL.shape == (0, 5)


def test_table_of_drugs():
    model = Tx1(TINY_DRUGS)
    table = torch.rand(5, 8)
    model.set_drug_table(table)
    learned = model.model.chem_encoder.embedding.weight
    assert torch.equal(learned[1:], table[1:])
    assert not learned[0].any()
    with pytest.raises(InputError, match=r"a table of drugs \[5, 8\], found \[4, 8\]"):
        model.set_drug_table(table[1:])
    with pytest.raises(InputError, match="a model with drugs, found one without"):
        Tx1(TINY).set_drug_table(table)
    frozen = Tx1(replace(TINY_DRUGS, drugs=replace(TINY_DRUGS.drugs, is_frozen=True)))
    assert not frozen.model.chem_encoder.embedding.weight.requires_grad


def test_what_does_not_fit():
    with pytest.raises(InputError, match="a model with drugs and a batch without"):
        tiny_model(TINY_DRUGS)(tiny_batch([4]))
    with pytest.raises(InputError, match="a batch with drugs and a model without"):
        tiny_model()(tiny_batch([4], shape=TINY_DRUGS))
    with pytest.raises(ValueError, match="exclude each other"):
        tiny_model()(tiny_batch([4]), decode=True, only_cells=True)
    with pytest.raises(InputError, match="found 0"):
        Tx1(replace(TINY, vocab_size=0))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["70m", "3b"])
def test_pads_and_other_cells_change_nothing_at_published_widths(name):
    shape = replace(PRESETS[name], vocab_size=2000, num_layers=PRESETS[name].num_layers if name == "70m" else 4)
    model = Tx1(shape, seed=0).eval()
    batch = tiny_batch([40, 300, 700, 300], shape=shape, width=800)
    with torch.no_grad():
        whole = functional.normalize(model(batch, only_cells=True).cell_BD, dim=1)
        for cell in range(4):
            alone = model(type(batch)(*[None if part is None else part[cell : cell + 1] for part in batch[:5]])).cell_BD
            torch.testing.assert_close(functional.normalize(alone, dim=1)[0], whole[cell], atol=1e-5, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("is_compiled", [False, True])
@pytest.mark.parametrize("name", ["70m", "3b"])
def test_on_a_gpu_in_bfloat16(name, is_compiled):
    shape = replace(PRESETS[name], vocab_size=2000, num_layers=2, expression_dropout=0.0)
    model = Tx1(shape, seed=0).eval()
    for lengths in ([40, 300, 700, 300], [256, 256]):
        batch = tiny_batch(lengths, shape=shape, masked=0.5, width=800)
        plain = train_once(Tx1(shape, seed=0), batch)
        model.cuda().zero_grad()
        if is_compiled:
            model.compile_layers()
        with torch.autocast("cuda", torch.bfloat16):
            fast = train_once(model, batch.to("cuda"))
        for parameter, gradient in plain.items():
            # Weights behind an empty table of drugs have no gradient.
            if gradient.any():
                assert functional.cosine_similarity(gradient.flatten(), fast[parameter].cpu().float().flatten(), dim=0) > 0.99, parameter
