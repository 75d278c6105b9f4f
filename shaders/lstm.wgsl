// The elementwise part of one LSTM step, after the matrix products, and its gradient. A prime means "after the step".
//
//   z = x W_ih^T + h W_hh^T + b        i, f, o = sigmoid(z)   g = tanh(z)        c' = f c + i g        h' = o tanh(c')
//
//   dc' += dh' o (1 - tanh(c')^2)      dc = dc' f
//   dz = [dc' g i (1 - i),  dc' c f (1 - f),  dc' i (1 - g^2),  dh' tanh(c') o (1 - o)]
//
// One invocation computes one cell of one sequence. The steps of a sequence lie side by side, so the rows of one step are
// `*_stride` apart.

struct Params {
    batch: u32,
    hidden: u32,
    gates_start: u32,
    gates_stride: u32,
    h_start: u32,
    h_stride: u32,
    cells_start: u32,
    cells_stride: u32,
    before_start: u32,
    before_stride: u32,
    grad_start: u32,
    grad_stride: u32,
    grad_cell_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// [N, 4H], rows gates_stride apart: z is replaced by i, f, g, o; in the backward pass those by dz.
@group(0) @binding(1) var<storage, read_write> gates: array<f32>;
// c of the previous step, where it is not in `states`; in the backward pass always.
@group(0) @binding(2) var<storage, read> before: array<f32>;
// h' and c' of all steps.
@group(0) @binding(3) var<storage, read_write> states: array<f32>;
// h' and c' of all steps, in the backward pass.
@group(0) @binding(4) var<storage, read> states_read: array<f32>;
// dh' in two summands: from above, and from the next step, [N, H].
@group(0) @binding(5) var<storage, read> grad: array<f32>;
@group(0) @binding(6) var<storage, read> grad_after: array<f32>;
// dc', replaced by dc, [N, H].
@group(0) @binding(7) var<storage, read_write> grad_cell: array<f32>;

// Where c of the previous step is: 0 nowhere, it is zero; 1 in `before`; 2 in `states`.
override BEFORE: u32 = 0;
override HAS_GRAD_AFTER: u32 = 0;

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
    let z = params.gates_start + n * params.gates_stride + k;
    let i = sigmoid(gates[z]);
    let f = sigmoid(gates[z + params.hidden]);
    let g = hyperbolic_tangent(gates[z + 2u * params.hidden]);
    let o = sigmoid(gates[z + 3u * params.hidden]);
    var cell = i * g;
    let previous = params.before_start + n * params.before_stride + k;
    if BEFORE == 1u {
        cell = fma(f, before[previous], cell);
    }
    if BEFORE == 2u {
        cell = fma(f, states[previous], cell);
    }
    gates[z] = i;
    gates[z + params.hidden] = f;
    gates[z + 2u * params.hidden] = g;
    gates[z + 3u * params.hidden] = o;
    states[params.cells_start + n * params.cells_stride + k] = cell;
    states[params.h_start + n * params.h_stride + k] = o * hyperbolic_tangent(cell);
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
    let z = params.gates_start + n * params.gates_stride + k;
    let i = gates[z];
    let f = gates[z + params.hidden];
    let g = gates[z + 2u * params.hidden];
    let o = gates[z + 3u * params.hidden];
    var dh = grad[params.grad_start + n * params.grad_stride + k];
    if HAS_GRAD_AFTER == 1u {
        dh += grad_after[index];
    }
    var c = 0.0;
    if BEFORE != 0u {
        c = before[params.before_start + n * params.before_stride + k];
    }
    let t = hyperbolic_tangent(states_read[params.cells_start + n * params.cells_stride + k]);
    let dcell = grad_cell[params.grad_cell_start + index] + dh * o * (1.0 - t * t);
    gates[z] = dcell * g * i * (1.0 - i);
    gates[z + params.hidden] = dcell * c * f * (1.0 - f);
    gates[z + 2u * params.hidden] = dcell * i * (1.0 - g * g);
    gates[z + 3u * params.hidden] = dh * t * o * (1.0 - o);
    grad_cell[params.grad_cell_start + index] = dcell * f;
}
