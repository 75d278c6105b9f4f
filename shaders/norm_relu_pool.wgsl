// z = max(0, scale x + shift)        y[n][p][q][c] = 1/s^2 sum over u, v of z[n][p s + u][q s + v][c]
//
// z is never stored. The backward pass here computes dz, which is dy / s^2 for each element of a window; batch_norm.wgsl
// computes the gradients of the ReLU and the norm from it.

struct Params {
    batch: u32,
    height: u32,
    width: u32,
    channels: u32,
    window: u32,
    x_start: u32,
    dy_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
// [4, channels]: scale, shift, and two rows that only the gradient of batch norm reads.
@group(0) @binding(2) var<storage, read> folded: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
// The result: y, or dz in the backward pass.
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn norm_relu_pool_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let i = element_index(group, groups, invocation);
    let out_height = params.height / params.window;
    let out_width = params.width / params.window;
    if i >= params.batch * out_height * out_width * params.channels {
        return;
    }
    let pixel = i / params.channels;
    let channel = i - pixel * params.channels;
    let row = pixel / out_width;
    let q = pixel - row * out_width;
    let n = row / out_height;
    let p = row - n * out_height;
    let scale = folded[channel];
    let shift = folded[params.channels + channel];
    var sum = 0.0;
    for (var u = 0u; u < params.window; u++) {
        for (var v = 0u; v < params.window; v++) {
            let position = (n * params.height + p * params.window + u) * params.width + q * params.window + v;
            sum += max(0.0, fma(x[params.x_start + position * params.channels + channel], scale, shift));
        }
    }
    out[i] = sum / f32(params.window * params.window);
}

@compute @workgroup_size(256)
fn norm_relu_pool_spread(
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
    let q = (pixel - row * params.width) / params.window;
    let n = row / params.height;
    let p = (row - n * params.height) / params.window;
    let out_height = params.height / params.window;
    let out_width = params.width / params.window;
    if p >= out_height || q >= out_width {
        out[i] = 0.0;
        return;
    }
    let position = (n * out_height + p) * out_width + q;
    out[i] = dy[params.dy_start + position * params.channels + channel] / f32(params.window * params.window);
}
