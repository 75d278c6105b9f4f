// y[n][p][q][c] = max over u, v of x[n][p S - P + u][q S - P + v][c]
//
// dx[n][i][j][c] = sum of dy[n][p][q][c] over the windows whose maximum is at (i, j)
//
// One invocation computes one element of the result; in the backward pass it visits the windows that cover the element.
// So no two invocations write the same element. Of equal values the first in row order is the maximum; a NaN counts as
// larger than every number. S is the stride of the axis, and P its padding.

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
    padding_y: u32,
    padding_x: u32,
    x_start: u32,
    dy_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
// The result: y, or dx in the backward pass.
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

fn is_nan(value: f32) -> bool {
    return (bitcast<u32>(value) & 0x7fffffffu) > 0x7f800000u;
}

// Returns the position in x of the maximum of the window at (p, q) of image n.
fn largest(n: u32, p: u32, q: u32, channel: u32) -> u32 {
    let top = max(i32(p * params.stride_y) - i32(params.padding_y), 0);
    let left = max(i32(q * params.stride_x) - i32(params.padding_x), 0);
    let bottom = min(i32(p * params.stride_y + params.kernel_y) - i32(params.padding_y), i32(params.height));
    let right = min(i32(q * params.stride_x + params.kernel_x) - i32(params.padding_x), i32(params.width));
    var best = ((n * params.height + u32(top)) * params.width + u32(left)) * params.channels + channel;
    for (var i = top; i < bottom; i++) {
        for (var j = left; j < right; j++) {
            let position = ((n * params.height + u32(i)) * params.width + u32(j)) * params.channels + channel;
            let value = x[params.x_start + position];
            if value > x[params.x_start + best] || is_nan(value) {
                best = position;
            }
        }
    }
    return best;
}

@compute @workgroup_size(256)
fn max_pool2d_forward(
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
    out[i] = x[params.x_start + largest(n, row - n * params.out_height, q, channel)];
}

@compute @workgroup_size(256)
fn max_pool2d_backward(
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
    let n = row / params.height;
    let at_y = row - n * params.height + params.padding_y;
    let at_x = pixel - row * params.width + params.padding_x;
    // The windows p with p S <= at < p S + kernel.
    let first_p = select(0u, (at_y - params.kernel_y) / params.stride_y + 1u, at_y >= params.kernel_y);
    let first_q = select(0u, (at_x - params.kernel_x) / params.stride_x + 1u, at_x >= params.kernel_x);
    let end_p = min(at_y / params.stride_y + 1u, params.out_height);
    let end_q = min(at_x / params.stride_x + 1u, params.out_width);
    var sum = 0.0;
    for (var p = first_p; p < end_p; p++) {
        for (var q = first_q; q < end_q; q++) {
            if largest(n, p, q, channel) == i {
                let window = (n * params.out_height + p) * params.out_width + q;
                sum += dy[params.dy_start + window * params.channels + channel];
            }
        }
    }
    out[i] = sum;
}
