// y[r][i] = x[r][i] - ln sum over j of e^x[r][j]        dx[r][i] = dy[r][i] - e^y[r][i] sum over j of dy[r][j]
//
// One workgroup computes one row. It finds the largest element first, so that no power overflows.

struct Params {
    rows: u32,
    columns: u32,
    x_start: u32,
    grad_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// x; y in the backward pass.
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> grad: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn log_softmax_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let row = group_index(group, groups);
    if row >= params.rows {
        return;
    }
    let base = params.x_start + row * params.columns;
    var own_largest = -3.402823e38;
    for (var i = invocation; i < params.columns; i += 256u) {
        own_largest = max(own_largest, x[base + i]);
    }
    let largest = largest_of_all(own_largest, invocation);
    var sum = 0.0;
    for (var i = invocation; i < params.columns; i += 256u) {
        sum += exp(x[base + i] - largest);
    }
    let log_sum = largest + log(sum_of_all(sum, invocation));
    for (var i = invocation; i < params.columns; i += 256u) {
        y[row * params.columns + i] = x[base + i] - log_sum;
    }
}

@compute @workgroup_size(256)
fn log_softmax_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let row = group_index(group, groups);
    if row >= params.rows {
        return;
    }
    let base = row * params.columns;
    var sum = 0.0;
    for (var i = invocation; i < params.columns; i += 256u) {
        sum += grad[params.grad_start + base + i];
    }
    let total = sum_of_all(sum, invocation);
    for (var i = invocation; i < params.columns; i += 256u) {
        let dy = grad[params.grad_start + base + i];
        y[base + i] = dy - exp(x[params.x_start + base + i]) * total;
    }
}
