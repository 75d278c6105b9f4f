// The gates of one step, after the matrix products.
//
//   z = x W_ih^T + h W_hh^T + b        i, f, o = sigmoid(z)   g = tanh(z)        c' = f c + i g        h' = o tanh(c')
//
//   dc' += dh' o (1 - tanh(c')^2)      dc = dc' f
//   dz = [dc' g i (1 - i),  dc' c f (1 - f),  dc' i (1 - g^2),  dh' tanh(c') o (1 - o)]
//
// One thread takes one cell of one sequence. Rows of a step are `*_stride` apart, since those of one sequence lie side by
// side.

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
// [N, 4H], rows gates_stride apart: z before and i, f, g, o after; on the way back these before and dz after.
@group(0) @binding(1) var<storage, read_write> gates: array<f32>;
// c of the step before, where it is not in `states`; on the way back wherever it is.
@group(0) @binding(2) var<storage, read> before: array<f32>;
// h' and c' of all steps.
@group(0) @binding(3) var<storage, read_write> states: array<f32>;
// The same, on the way back.
@group(0) @binding(4) var<storage, read> states_made: array<f32>;
// dh' in two parts, from above and from the step after, [N, H].
@group(0) @binding(5) var<storage, read> grad: array<f32>;
@group(0) @binding(6) var<storage, read> through: array<f32>;
// dc', and dc after, [N, H].
@group(0) @binding(7) var<storage, read_write> grad_cell: array<f32>;

// Where c of the step before is: 0 nowhere, it is zero; 1 in `before`; 2 in `states`.
override BEFORE: u32 = 0;
override HAS_THROUGH: u32 = 0;

fn hyperbolic_tangent(x: f32) -> f32 {
    let s = abs(x);
    if s < 0.1 {
        let q = x * x;
        return x * (1.0 + q * (-1.0 / 3.0 + q * (2.0 / 15.0 - q * 17.0 / 315.0)));
    }
    let e = exp(-2.0 * s);
    return sign(x) * (1.0 - e) / (1.0 + e);
}

fn sigmoid(x: f32) -> f32 {
    let e = exp(-abs(x));
    return select(e, 1.0, x >= 0.0) / (1.0 + e);
}

@compute @workgroup_size(256)
fn lstm_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = (group.y * groups.x + group.x) * 256u + thread;
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
    let place = params.before_start + n * params.before_stride + k;
    if BEFORE == 1u {
        cell = fma(f, before[place], cell);
    }
    if BEFORE == 2u {
        cell = fma(f, states[place], cell);
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
    @builtin(local_invocation_index) thread: u32,
) {
    let index = (group.y * groups.x + group.x) * 256u + thread;
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
    if HAS_THROUGH == 1u {
        dh += through[index];
    }
    var c = 0.0;
    if BEFORE != 0u {
        c = before[params.before_start + n * params.before_stride + k];
    }
    let t = hyperbolic_tangent(states_made[params.cells_start + n * params.cells_stride + k]);
    let d = grad_cell[params.grad_cell_start + index] + dh * o * (1.0 - t * t);
    gates[z] = d * g * i * (1.0 - i);
    gates[z + params.hidden] = d * c * f * (1.0 - f);
    gates[z + 2u * params.hidden] = d * i * (1.0 - g * g);
    gates[z + 3u * params.hidden] = dh * t * o * (1.0 - o);
    grad_cell[params.grad_cell_start + index] = d * f;
}
