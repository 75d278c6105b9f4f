// The elementwise part of one LSTM step, after the matrix products, and its gradient. A prime means "after the step"; the
// code writes h_new for h' and c_new for c'.
//
//   a = x W_ih^T + h W_hh^T + b        i, f, o = sigmoid(a)   g = tanh(a)        c' = f c + i g        h' = o tanh(c')
//
//   dh' = dy + dh of the next step     dc' += dh' o (1 - tanh(c')^2)             dc = dc' f
//   da = [dc' g i (1 - i),  dc' c f (1 - f),  dc' i (1 - g^2),  dh' tanh(c') o (1 - o)]
//
// The attention LSTM also uses this shader; there the pre-activations are called a'. One invocation computes one cell of
// one sequence. The steps of a sequence lie side by side, so the rows of one step are `*_stride`
// apart.

struct Params {
    batch: u32,
    hidden: u32,
    gates_start: u32,
    gates_stride: u32,
    h_new_start: u32,
    h_new_stride: u32,
    c_new_start: u32,
    c_new_stride: u32,
    c_start: u32,
    c_stride: u32,
    dy_start: u32,
    dy_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// [N, 4H]: the forward pass replaces a by i, f, g, o, and the backward pass replaces those by da.
@group(0) @binding(1) var<storage, read_write> gates: array<f32>;
// c of the previous step. The forward pass reads it here only if it is not in `states`; the backward pass always does.
@group(0) @binding(2) var<storage, read> c: array<f32>;
// h' and c' of all steps.
@group(0) @binding(3) var<storage, read_write> states: array<f32>;
// h' and c' of all steps, in the backward pass.
@group(0) @binding(4) var<storage, read> states_read: array<f32>;
// The gradient with respect to the output h'.
@group(0) @binding(5) var<storage, read> dy: array<f32>;
// dh of the next step, [N, H].
@group(0) @binding(6) var<storage, read> dh: array<f32>;
// dc', replaced by dc, [N, H].
@group(0) @binding(7) var<storage, read_write> dc: array<f32>;

// The order of the gates in a row: i, f, g, o.
const INPUT = 0u;
const FORGET = 1u;
const CELL = 2u;
const OUTPUT = 3u;

// Values of PREVIOUS_CELLS: where c of the previous step is.
const ZERO = 0u; // nowhere, because it is zero
const IN_C = 1u;
const IN_STATES = 2u;
override PREVIOUS_CELLS: u32 = 0;
// Whether there is no next step, whose dh would be added to dy.
override IS_LAST: u32 = 0;

@compute @workgroup_size(256)
fn lstm_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let index = element_index(group, groups, invocation);
    if index >= params.batch * params.hidden {
        return;
    }
    let n = index / params.hidden;
    let k = index - n * params.hidden;
    let first = params.gates_start + n * params.gates_stride + k;
    let i = sigmoid(gates[first + INPUT * params.hidden]);
    let f = sigmoid(gates[first + FORGET * params.hidden]);
    let g = hyperbolic_tangent(gates[first + CELL * params.hidden]);
    let o = sigmoid(gates[first + OUTPUT * params.hidden]);
    var c_new = i * g;
    let previous = params.c_start + n * params.c_stride + k;
    if PREVIOUS_CELLS == IN_C {
        c_new = fma(f, c[previous], c_new);
    }
    if PREVIOUS_CELLS == IN_STATES {
        c_new = fma(f, states[previous], c_new);
    }
    gates[first + INPUT * params.hidden] = i;
    gates[first + FORGET * params.hidden] = f;
    gates[first + CELL * params.hidden] = g;
    gates[first + OUTPUT * params.hidden] = o;
    states[params.c_new_start + n * params.c_new_stride + k] = c_new;
    states[params.h_new_start + n * params.h_new_stride + k] = o * hyperbolic_tangent(c_new);
}

@compute @workgroup_size(256)
fn lstm_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let index = element_index(group, groups, invocation);
    if index >= params.batch * params.hidden {
        return;
    }
    let n = index / params.hidden;
    let k = index - n * params.hidden;
    let first = params.gates_start + n * params.gates_stride + k;
    let i = gates[first + INPUT * params.hidden];
    let f = gates[first + FORGET * params.hidden];
    let g = gates[first + CELL * params.hidden];
    let o = gates[first + OUTPUT * params.hidden];
    var dh_new = dy[params.dy_start + n * params.dy_stride + k];
    if IS_LAST == 0u {
        dh_new += dh[index];
    }
    var previous = 0.0;
    if PREVIOUS_CELLS != ZERO {
        previous = c[params.c_start + n * params.c_stride + k];
    }
    let tanh_c = hyperbolic_tangent(states_read[params.c_new_start + n * params.c_new_stride + k]);
    let dc_new = dc[index] + dh_new * o * (1.0 - tanh_c * tanh_c);
    gates[first + INPUT * params.hidden] = dc_new * g * i * (1.0 - i);
    gates[first + FORGET * params.hidden] = dc_new * previous * f * (1.0 - f);
    gates[first + CELL * params.hidden] = dc_new * i * (1.0 - g * g);
    gates[first + OUTPUT * params.hidden] = dh_new * tanh_c * o * (1.0 - o);
    dc[index] = dc_new * f;
}
