#!/usr/bin/env python3
"""Records results of PyTorch, with which the engine's tests can compare without Python.

    python tools/make_op_fixtures.py [OUTPUT_FOLDER]          (default: tests/fixtures)

writes two files:

* `ops.safetensors`: one case for each operation, loss and optimizer, with its values and gradients;
* `densenet_tiny.safetensors`: a whole small DenseNet, forward and backward.

Inputs are drawn as f32, and PyTorch computes on them in float64. The recorded values are therefore exact to the
last bit of the f32 in which they are stored, and a test's tolerance measures only the engine's error.

The keys of `ops.safetensors`:

    CASE/<input>                    each input of the operation
    CASE/output, CASE/grad_output   the result, and a random cotangent of the same shape
    CASE/grad_<input>               the gradient of sum(output * grad_output)
    CASE/new_<buffer>               running statistics after the step

Operations with several results spell them `output_h`, `grad_output_h` and so on. Stride, eps and the
like are in the metadata entry `cases`, a JSON object: `{CASE: {"op": ..., attribute: value}}`.

Feature maps are stored NHWC (PyTorch's NCHW permuted), convolution weights OIHW, linear weights
[out, in]; scalars have the shape [1]; indices are i64, everything else f32.
"""

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import save_file
from torchvision.models.densenet import _DenseBlock

torch.manual_seed(20)

tensors = {}
cases = {}


def normal(*shape):
    """Returns a standard normal tensor, drawn in f32 so that storing it loses nothing."""
    return torch.randn(shape, dtype=torch.float32)


def uniform(low, high, *shape):
    """Returns a tensor with values between `low` and `high`."""
    return torch.rand(shape, dtype=torch.float32) * (high - low) + low


def stored(name, tensor):
    """Returns `tensor` in the form of the file: f32 or i64, feature maps NHWC, scalars of one element."""
    tensor = tensor.detach()
    if tensor.ndim == 4 and not name.endswith("weight"):
        tensor = tensor.permute(0, 2, 3, 1)
    if tensor.ndim == 0:
        tensor = tensor.reshape(1)
    if tensor.is_floating_point():
        tensor = tensor.float()
    return tensor.contiguous().clone()


def put(case, name, tensor):
    """Stores one tensor of a case."""
    tensors[f"{case}/{name}"] = stored(name, tensor)


def record(case, op, function, inputs, buffers=None, **attributes):
    """Runs `function` on `inputs` and stores inputs, outputs, cotangents and gradients.

    `buffers` are running statistics that the function may update in place: they have no gradient,
    and their state afterwards is stored as `new_<buffer>`.
    """
    cases[case] = {"op": op, **attributes}
    leaves = {}
    for name, value in inputs.items():
        put(case, name, value)
        leaves[name] = value.double().requires_grad_() if value.is_floating_point() else value
    state = {}
    for name, value in (buffers or {}).items():
        put(case, name, value)
        state[name] = value.double()

    outputs = function(**leaves, **state)
    if not isinstance(outputs, dict):
        outputs = {"": outputs}
    total = 0.0
    for name, output in outputs.items():
        suffix = f"_{name}" if name else ""
        cotangent = normal(*output.shape)
        put(case, f"output{suffix}", output)
        put(case, f"grad_output{suffix}", cotangent)
        total = total + (output * cotangent.double()).sum()

    differentiable = {name: leaf for name, leaf in leaves.items() if leaf.is_floating_point()}
    gradients = torch.autograd.grad(total, list(differentiable.values()))
    for name, gradient in zip(differentiable, gradients):
        put(case, f"grad_{name}", gradient)
    for name, value in state.items():
        put(case, f"new_{name}", value)


# --- convolution ---------------------------------------------------------------------------------


def convolution(case, x, outputs, kernel, stride, padding, bias):
    inputs = {"x": x, "weight": normal(outputs, x.shape[1], *kernel) / 4}
    if bias:
        inputs["bias"] = normal(outputs)

    def run(x, weight, bias=None):
        return F.conv2d(x, weight, bias, stride=stride, padding=padding)

    record(case, "conv2d", run, inputs, stride=stride, padding=padding)


convolution("conv2d_7x7_s2_p3", normal(2, 3, 11, 9), 5, (7, 7), (2, 2), (3, 3), bias=False)
convolution("conv2d_7x7_s2_p3_bias", normal(2, 3, 11, 9), 5, (7, 7), (2, 2), (3, 3), bias=True)
convolution("conv2d_3x3_s1_p1", normal(2, 17, 5, 7), 6, (3, 3), (1, 1), (1, 1), bias=False)
convolution("conv2d_3x3_s1_p1_bias", normal(2, 17, 5, 7), 6, (3, 3), (1, 1), (1, 1), bias=True)
convolution("conv2d_1x1", normal(2, 33, 3, 3), 20, (1, 1), (1, 1), (0, 0), bias=False)
convolution("conv2d_1x1_bias", normal(2, 33, 3, 3), 20, (1, 1), (1, 1), (0, 0), bias=True)
convolution("conv2d_3x3_s2_p0", normal(2, 4, 7, 9), 3, (3, 3), (2, 2), (0, 0), bias=False)
convolution("conv2d_3x3_s2_p0_bias", normal(2, 4, 7, 9), 3, (3, 3), (2, 2), (0, 0), bias=True)
convolution("conv2d_5x3_s21_p12", normal(2, 5, 9, 7), 4, (5, 3), (2, 1), (1, 2), bias=False)
convolution("conv2d_5x3_s21_p12_bias", normal(2, 5, 9, 7), 4, (5, 3), (2, 1), (1, 2), bias=True)


# --- batch norm, alone and before ReLU and a convolution -----------------------------------------

EPS = 1e-5
MOMENTUM = 0.1


def norm_inputs(channels):
    """Returns a scale and a shift; gamma has both signs, so that no kernel can assume one."""
    gamma = uniform(0.5, 1.5, channels)
    gamma[channels // 2] *= -1
    return {"gamma": gamma, "beta": normal(channels) / 2}


def running_statistics(channels):
    return {"running_mean": normal(channels) / 2, "running_var": uniform(0.5, 2.0, channels)}


def batch_norm(training):
    def run(x, gamma, beta, running_mean, running_var):
        return F.batch_norm(x, running_mean, running_var, gamma, beta, training, MOMENTUM, EPS)

    return run


def norm_relu_conv(training, padding):
    def run(x, gamma, beta, weight, running_mean, running_var):
        normed = batch_norm(training)(x, gamma, beta, running_mean, running_var)
        return F.conv2d(F.relu(normed), weight, padding=padding)

    return run


for mode, training in (("train", True), ("eval", False)):
    attributes = {"training": training, "momentum": MOMENTUM, "eps": EPS}
    x = normal(2, 5, 3, 7) * uniform(0.5, 2.0, 5).reshape(1, 5, 1, 1) + normal(5).reshape(1, 5, 1, 1)
    record(
        f"batch_norm_{mode}", "batch_norm", batch_norm(training),
        {"x": x, **norm_inputs(5)}, running_statistics(5), **attributes,
    )
    for kernel, padding, channels, outputs in ((1, 0, 19, 8), (3, 1, 9, 4)):
        x = normal(2, channels, 5, 3) + normal(channels).reshape(1, -1, 1, 1) / 2
        weight = normal(outputs, channels, kernel, kernel) / 4
        record(
            f"norm_relu_conv_{kernel}x{kernel}_{mode}", "norm_relu_conv", norm_relu_conv(training, padding),
            {"x": x, **norm_inputs(channels), "weight": weight}, running_statistics(channels),
            stride=(1, 1), padding=(padding, padding), **attributes,
        )


def randomise(module):
    """Gives every batch norm of `module` its own scale, shift and statistics."""
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            channels = layer.num_features
            layer.weight.data = uniform(0.5, 1.5, channels)
            layer.bias.data = normal(channels) / 4
            layer.running_mean.data = normal(channels) / 4
            layer.running_var.data = uniform(0.5, 2.0, channels)


def is_statistic(name):
    return name.endswith(("running_mean", "running_var"))


block = _DenseBlock(num_layers=3, num_input_features=6, bn_size=2, growth_rate=4, drop_rate=0.0)
randomise(block)
block_state = {n: t for n, t in block.state_dict().items() if "num_batches_tracked" not in n}
block_input = normal(2, 6, 5, 7)
for mode, training in (("train", True), ("eval", False)):
    # `functional_call` uses the given tensors in place, so the buffers passed in are updated.
    def run(x, **state):
        block.train(training)
        return torch.func.functional_call(block.double(), state, (x,))

    record(
        f"dense_block_{mode}", "dense_block", run,
        {"x": block_input, **{n: t.float() for n, t in block_state.items() if not is_statistic(n)}},
        {n: t.float() for n, t in block_state.items() if is_statistic(n)},
        training=training, momentum=MOMENTUM, eps=EPS, layers=3, growth=4, bottleneck=8,
    )


# --- activation and pooling ----------------------------------------------------------------------

x = normal(2, 3, 4, 5)
x[0, 0] = 0.0  # the gradient at zero is zero
record("relu", "relu", lambda x: F.relu(x), {"x": x})

# A map after a ReLU has many equal zeros: the first of several maxima, in row order, gets the gradient.
pool = {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1)}
for case, x in (
    ("max_pool2d_ties", F.relu(normal(2, 5, 9, 7) - 1.0)),
    ("max_pool2d_negative", -uniform(0.5, 2.0, 2, 3, 6, 8)),  # padding must not win with a zero
):
    record(case, "max_pool2d", lambda x: F.max_pool2d(x, 3, 2, 1), {"x": x}, **pool)
record(
    "avg_pool2d_2x2", "avg_pool2d", lambda x: F.avg_pool2d(x, 2, 2),
    {"x": normal(2, 5, 7, 4)}, kernel=(2, 2), stride=(2, 2),
)
record("global_avg_pool", "global_avg_pool", lambda x: x.mean((2, 3)), {"x": normal(2, 5, 7, 3)})


# --- matrices, look-up, elementwise --------------------------------------------------------------

record(
    "linear", "linear", lambda x, weight, bias: F.linear(x, weight, bias),
    {"x": normal(5, 13), "weight": normal(9, 13) / 3, "bias": normal(9)},
)
record("matmul", "matmul", lambda a, b: a @ b, {"a": normal(5, 11), "b": normal(11, 7)})
record(
    "embedding", "embedding", lambda indices, weight: F.embedding(indices, weight),
    {"indices": torch.tensor([[3, 0, 3, 10, 7], [7, 3, 1, 0, 3]]), "weight": normal(11, 4)},
)
record(
    "concat_channels", "concat", lambda a, b, c: torch.cat([a, b, c], 1),
    {"a": normal(2, 3, 3, 5), "b": normal(2, 5, 3, 5), "c": normal(2, 1, 3, 5)},
)
record("add", "add", lambda a, b: a + b, {"a": normal(3, 7), "b": normal(3, 7)})
record("sub", "sub", lambda a, b: a - b, {"a": normal(3, 7), "b": normal(3, 7)})
record("mul", "mul", lambda a, b: a * b, {"a": normal(3, 7), "b": normal(3, 7)})
record("scale", "scale", lambda x: x * -1.75, {"x": normal(3, 7)}, factor=-1.75)
record("sum", "sum", lambda x: x.sum(), {"x": normal(3, 7)})
record("mean", "mean", lambda x: x.mean(), {"x": normal(3, 7)})
record("tanh", "tanh", lambda x: torch.tanh(x), {"x": normal(3, 7) * 3})
record("sigmoid", "sigmoid", lambda x: torch.sigmoid(x), {"x": normal(3, 7) * 3})


# --- LSTM: the gates' rows are in the order input, forget, cell, output --------------------------


def lstm_weights(inputs, hidden):
    return {
        "w_ih": normal(4 * hidden, inputs) / 2,
        "w_hh": normal(4 * hidden, hidden) / 2,
        "b_ih": normal(4 * hidden) / 2,
        "b_hh": normal(4 * hidden) / 2,
    }


def lstm_cell(x, h, c, w_ih, w_hh, b_ih, b_hh):
    new_h, new_c = torch.lstm_cell(x, (h, c), w_ih, w_hh, b_ih, b_hh)
    return {"h": new_h, "c": new_c}


def lstm_sequence(x, w_ih, w_hh, b_ih, b_hh):
    zeros = x.new_zeros(1, x.shape[0], w_hh.shape[1])
    return torch.lstm(
        x, (zeros, zeros), [w_ih, w_hh, b_ih, b_hh], has_biases=True, num_layers=1, dropout=0.0,
        train=True, bidirectional=False, batch_first=True,
    )[0]


record(
    "lstm_cell", "lstm_cell", lstm_cell,
    {"x": normal(3, 7), "h": normal(3, 6) / 2, "c": normal(3, 6), **lstm_weights(7, 6)},
)
record("lstm_sequence", "lstm", lstm_sequence, {"x": normal(3, 5, 7), **lstm_weights(7, 6)})


# --- losses --------------------------------------------------------------------------------------

record("log_softmax", "log_softmax", lambda x: F.log_softmax(x, -1), {"x": normal(4, 9) * 3})

PAD = 0
targets = torch.tensor([3, PAD, 8, 1, PAD, 3, 5])
for case, smoothing in (("cross_entropy", 0.0), ("cross_entropy_smoothed", 0.1)):

    def cross_entropy(logits, targets, smoothing=smoothing):
        return F.cross_entropy(logits, targets, ignore_index=PAD, label_smoothing=smoothing)

    record(
        case, "cross_entropy", cross_entropy, {"logits": normal(7, 9) * 2, "targets": targets},
        ignore_index=PAD, label_smoothing=smoothing,
    )
record(
    "mse_loss", "mse_loss", lambda x, target: F.mse_loss(x, target),
    {"x": normal(3, 5), "target": normal(3, 5)},
)


# --- optimizers: five steps with given gradients -------------------------------------------------

STEPS = 5


def optimizer(case, kind, **settings):
    """Stores `param`, the gradients `grad_1` .. and the parameter after each step, `param_1` .. ."""
    start = normal(3, 4)
    parameter = torch.nn.Parameter(start.double())
    stepper = kind([parameter], **settings)
    cases[case] = {"op": kind.__name__.lower(), "steps": STEPS, **settings}
    put(case, "param", start)
    for step in range(1, STEPS + 1):
        gradient = normal(3, 4)
        parameter.grad = gradient.double()
        stepper.step()
        put(case, f"grad_{step}", gradient)
        put(case, f"param_{step}", parameter)


optimizer("sgd_momentum", torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.01)
optimizer("sgd_nesterov", torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True)
optimizer("adam", torch.optim.Adam, lr=0.01, betas=(0.9, 0.999), eps=1e-8)
optimizer("adam_weight_decay", torch.optim.Adam, lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05)
optimizer("adamw", torch.optim.AdamW, lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05)

for case, max_norm in (("clip_grad_norm", 1.5), ("clip_grad_norm_within", 100.0)):
    cases[case] = {"op": "clip_grad_norm", "max_norm": max_norm}
    parameters = []
    for index, shape in enumerate([(3, 4), (5,), (2, 3, 2)]):
        gradient = normal(*shape)
        put(case, f"grad_{index}", gradient)
        parameters.append(torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64)))
        parameters[-1].grad = gradient.double()
    put(case, "total_norm", torch.nn.utils.clip_grad_norm_(parameters, max_norm))
    for index, parameter in enumerate(parameters):
        put(case, f"clipped_{index}", parameter.grad)


# --- coverage of attention -----------------------------------------------------------------------


def coverage(attention, said):
    """Returns the penalty of doubly stochastic attention (Xu et al. 2015), a mean over sentences."""
    return (1 - (attention * said[..., None]).sum(1)).square().sum(1).mean()


# A separate generator state: cases that are added here do not change the random numbers of the others.
with torch.random.fork_rng():
    torch.manual_seed(21)
    record(
        "coverage",
        "coverage",
        coverage,
        {"attention": torch.softmax(normal(3, 5, 11), 2), "said": (torch.rand(3, 5) < 0.8).long()},
    )


# --- soft attention and an LSTM: rows of w_hh are query, the context's gate, then the LSTM's gates ----


def attention_lstm(x, keys, values, image_of, h0, c0, w_ih, w_hh, bias, score):
    """Runs the decoder of Xu et al. (2015) step by step, written with PyTorch's operations."""
    key, value = keys.shape[2], values.shape[2]
    query_weight, gate_weight, lstm_weight = w_hh.split([key, value, w_hh.shape[0] - key - value])
    gate_bias, lstm_bias = bias.split([value, bias.shape[0] - value])
    keys, values = keys[image_of], values[image_of]
    h, c, output, weights = h0, c0, [], []
    for step in range(x.shape[1]):
        query = h @ query_weight.T
        scores = torch.tanh(keys + query[:, None]) @ score
        alpha = torch.softmax(scores, 1)
        context = (alpha[..., None] * values).sum(1) * torch.sigmoid(F.linear(h, gate_weight, gate_bias))
        h, c = torch.lstm_cell(
            torch.cat([x[:, step], context], 1), (h, c), w_ih, lstm_weight, lstm_bias, torch.zeros_like(lstm_bias)
        )
        output.append(torch.cat([h, context], 1))
        weights.append(alpha)
    return {"output": torch.stack(output, 1), "weights": torch.stack(weights, 1), "c": c}


def attention_lstm_inputs(images, steps, positions, words, key, value, hidden):
    """Returns inputs with one sentence for each element of `images`."""
    sentences, count = len(images), max(images) + 1
    return {
        "x": normal(sentences, steps, words),
        "keys": normal(count, positions, key),
        "values": normal(count, positions, value),
        "image_of": torch.tensor(images),
        "h0": normal(sentences, hidden) / 2,
        "c0": normal(sentences, hidden),
        "w_ih": normal(4 * hidden, words + value) / 2,
        "w_hh": normal(key + value + 4 * hidden, hidden) / 2,
        "bias": normal(value + 4 * hidden) / 2,
        "score": normal(key),
    }


# A separate generator state, so that the other cases do not change.
with torch.random.fork_rng():
    torch.manual_seed(21)
    record(
        "attention_lstm_step", "attention_lstm", attention_lstm,
        attention_lstm_inputs([0, 1, 2], steps=1, positions=4, words=5, key=7, value=6, hidden=3),
    )
    # Two sentences belong to the first image, none to the second.
    record(
        "attention_lstm_sequence", "attention_lstm", attention_lstm,
        attention_lstm_inputs([0, 2, 0, 3], steps=5, positions=9, words=6, key=10, value=19, hidden=17),
    )


# --- a whole small DenseNet ----------------------------------------------------------------------


def densenet_tiny():
    """Returns parameters under torchvision's names, `x`, and the outputs under `eval/` and `train/`.

    `eval/spatial` is the map after the last ReLU and `eval/pooled` its average; `train/grad/NAME`
    are the gradients of sum(pooled * train/grad_pooled) with batch statistics, `train/grad_x` that
    of the image, and `train/new/NAME` the running statistics after that one forward pass.
    `eval/grad/NAME` and `eval/grad_x` are the gradients of the same sum with running statistics.
    """
    net = torchvision.models.DenseNet(
        growth_rate=4, block_config=(2, 2), num_init_features=8, bn_size=2, num_classes=1
    )
    randomise(net)
    found = {}
    for name, value in net.state_dict().items():
        if name.startswith("features.") and "num_batches_tracked" not in name:
            found[name] = stored(name, value)
    x = normal(2, 3, 32, 32)
    found["x"] = stored("x", x)
    net.double()

    def gradients(mode, pooled, leaf):
        """Stores the gradients of sum(pooled * cotangent) with respect to the image and every parameter."""
        net.zero_grad()
        (pooled * cotangent.double()).sum().backward()
        found[f"{mode}/grad_x"] = stored("x", leaf.grad)
        for name, parameter in net.features.named_parameters(prefix="features"):
            found[f"{mode}/grad/{name}"] = stored(name, parameter.grad)

    net.eval()
    leaf = x.double().requires_grad_()
    spatial = F.relu(net.features(leaf))
    pooled = spatial.mean((2, 3))
    cotangent = normal(*pooled.shape)
    found["eval/spatial"] = stored("spatial", spatial)
    found["eval/pooled"] = stored("pooled", pooled)
    gradients("eval", pooled, leaf)

    net.train()
    leaf = x.double().requires_grad_()
    pooled = F.relu(net.features(leaf)).mean((2, 3))
    found["train/pooled"] = stored("pooled", pooled)
    found["train/grad_pooled"] = stored("pooled", cotangent)
    gradients("train", pooled, leaf)
    for name, buffer in net.features.named_buffers(prefix="features"):
        if is_statistic(name):
            found[f"train/new/{name}"] = stored(name, buffer)
    config = {"growth": 4, "blocks": [2, 2], "stem": 8, "bottleneck": 2, "eps": EPS, "momentum": MOMENTUM}
    return found, {"config": json.dumps(config)}


# --- divergence of a student's classes from a teacher's -------------------------------------------

def divergences():
    for case, temperature in (("kl_div", 1.0), ("kl_div_temperature", 2.5)):

        def run(student, teacher, temperature=temperature):
            wanted = F.log_softmax(teacher.detach() / temperature, dim=-1)
            got = F.log_softmax(student / temperature, dim=-1)
            divergence = F.kl_div(got, wanted, log_target=True, reduction="batchmean")
            # The teacher is a constant, but autograd needs it to be a part of the graph.
            return divergence * temperature**2 + 0.0 * teacher.sum()

        inputs = {"student": normal(9, 37) * 3, "teacher": normal(9, 37) * 3}
        record(case, "kl_div", run, inputs, temperature=temperature)


# A separate generator state, so that the other cases do not change.
with torch.random.fork_rng():
    torch.manual_seed(1503)
    divergences()


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "tests" / "fixtures"
    folder.mkdir(parents=True, exist_ok=True)
    made_by = {"made_by": f"tools/make_op_fixtures.py, torch {torch.__version__}, torchvision {torchvision.__version__}"}
    save_file(tensors, folder / "ops.safetensors", {**made_by, "cases": json.dumps(cases)})
    found, metadata = densenet_tiny()
    save_file(found, folder / "densenet_tiny.safetensors", {**made_by, **metadata})
    for name in ("ops", "densenet_tiny"):
        path = folder / f"{name}.safetensors"
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
