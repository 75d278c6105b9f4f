// y[r][v] = x[r][v] - ln sum over u of exp x[r][u]        dx[r][v] = dy[r][v] - exp(y[r][v]) sum over u of dy[r][u]
//
// One workgroup computes one row. It finds the largest element first, so that no exponential overflows.

struct Params {
    rows: u32,
    classes: u32,
    x_start: u32,
    dy_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// y in the backward pass.
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
// dx in the backward pass.
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
    let base = params.x_start + row * params.classes;
    var own_largest = -3.402823e38;
    for (var v = invocation; v < params.classes; v += 256u) {
        own_largest = max(own_largest, x[base + v]);
    }
    let largest = largest_of_all(own_largest, invocation);
    var sum = 0.0;
    for (var v = invocation; v < params.classes; v += 256u) {
        sum += exp(x[base + v] - largest);
    }
    let log_sum = largest + log(sum_of_all(sum, invocation));
    for (var v = invocation; v < params.classes; v += 256u) {
        y[row * params.classes + v] = x[base + v] - log_sum;
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
    let base = row * params.classes;
    var sum = 0.0;
    for (var v = invocation; v < params.classes; v += 256u) {
        sum += dy[params.dy_start + base + v];
    }
    let total = sum_of_all(sum, invocation);
    for (var v = invocation; v < params.classes; v += 256u) {
        y[base + v] = dy[params.dy_start + base + v] - exp(x[params.x_start + base + v]) * total;
    }
}
