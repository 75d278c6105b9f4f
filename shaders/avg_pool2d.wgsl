// y[n][p][q][c] = 1/K sum over u, v of x[n][p S + u][q S + v][c]        K = kernel height * width
//
// dx[n][i][j][c] = 1/K sum of dy[n][p][q][c] over the windows that cover (i, j)
//
// S is the stride of the axis. One invocation computes one element of the result.

struct Params {
    batch: u32,
    height: u32,
    width: u32,
    channels: u32,
    out_height: u32,
    out_width: u32,
    kernel_y: u32,
    kernel_x: u32,
    stride_y: u32,
    stride_x: u32,
    x_start: u32,
    dy_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
// The result: y, or dx in the backward pass.
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn avg_pool2d_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let i = element_index(group, groups, invocation);
    if i >= params.batch * params.out_height * params.out_width * params.channels {
        return;
    }
    let pixel = i / params.channels;
    let channel = i - pixel * params.channels;
    let row = pixel / params.out_width;
    let q = pixel - row * params.out_width;
    let n = row / params.out_height;
    let p = row - n * params.out_height;
    var sum = 0.0;
    for (var u = 0u; u < params.kernel_y; u++) {
        for (var v = 0u; v < params.kernel_x; v++) {
            let position = (n * params.height + p * params.stride_y + u) * params.width + q * params.stride_x + v;
            sum += x[params.x_start + position * params.channels + channel];
        }
    }
    out[i] = sum / f32(params.kernel_y * params.kernel_x);
}

@compute @workgroup_size(256)
fn avg_pool2d_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let i = element_index(group, groups, invocation);
    if i >= params.batch * params.height * params.width * params.channels {
        return;
    }
    let pixel = i / params.channels;
    let channel = i - pixel * params.channels;
    let row = pixel / params.width;
    let at_x = pixel - row * params.width;
    let n = row / params.height;
    let at_y = row - n * params.height;
    let first_p = select(0u, (at_y - params.kernel_y) / params.stride_y + 1u, at_y >= params.kernel_y);
    let first_q = select(0u, (at_x - params.kernel_x) / params.stride_x + 1u, at_x >= params.kernel_x);
    let end_p = min(at_y / params.stride_y + 1u, params.out_height);
    let end_q = min(at_x / params.stride_x + 1u, params.out_width);
    var sum = 0.0;
    for (var p = first_p; p < end_p; p++) {
        for (var q = first_q; q < end_q; q++) {
            let window = (n * params.out_height + p) * params.out_width + q;
            sum += dy[params.dy_start + window * params.channels + channel];
        }
    }
    out[i] = sum / f32(params.kernel_y * params.kernel_x);
}
