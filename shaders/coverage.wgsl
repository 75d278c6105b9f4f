// m[s, p] = 1 - sum over counted t of a[s, t, p]     y = 1/S sum over s, p of m[s, p]^2
// da[s, t, p] = -2/S m[s, p] dy                      where t is counted, else 0
//
// A step is counted if it produces a word, and not if it only pads the sentence. In the forward pass one invocation computes
// m and its square for one position of one sentence; `reduce_sum` adds the squares. In the backward pass one invocation
// computes one element of da.

struct Params {
    sentences: u32,
    steps: u32,
    positions: u32,
    a_start: u32,
    dy_start: u32,
    // -2/S
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
// a [S, T, P]; m [S, P] in the backward pass.
@group(0) @binding(1) var<storage, read> a: array<f32>;
// [S, T]: 1 where the step is counted, else 0.
@group(0) @binding(2) var<storage, read> counted: array<f32>;
// m [S, P]; da [S, T, P] in the backward pass.
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> squares: array<f32>;
@group(0) @binding(5) var<storage, read> dy: array<f32>;

@compute @workgroup_size(256)
fn coverage_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let index = element_index(group, groups, invocation);
    if index >= params.sentences * params.positions {
        return;
    }
    let s = index / params.positions;
    let p = index - s * params.positions;
    var missing = 1.0;
    for (var t = 0u; t < params.steps; t += 1u) {
        let step = s * params.steps + t;
        if counted[step] == 1.0 {
            missing -= a[params.a_start + step * params.positions + p];
        }
    }
    y[index] = missing;
    squares[index] = missing * missing;
}

@compute @workgroup_size(256)
fn coverage_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let index = element_index(group, groups, invocation);
    if index >= params.sentences * params.steps * params.positions {
        return;
    }
    let step = index / params.positions;
    let p = index - step * params.positions;
    let s = step / params.steps;
    let factor = params.factor * dy[params.dy_start];
    y[index] = select(0.0, factor * a[s * params.positions + p], counted[step] == 1.0);
}
