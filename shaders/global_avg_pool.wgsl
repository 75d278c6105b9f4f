// y[n][c] = 1/(H W) sum over i, j of x[n][i][j][c]        dx[n][i][j][c] = dy[n][c] / (H W)

struct Params {
    batch: u32,
    pixels: u32,
    channels: u32,
    x_start: u32,
    dy_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
// The result: y, or dx in the backward pass.
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn global_avg_pool_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let i = element_index(group, groups, invocation);
    if i >= params.batch * params.channels {
        return;
    }
    let n = i / params.channels;
    let channel = i - n * params.channels;
    var sum = 0.0;
    for (var pixel = 0u; pixel < params.pixels; pixel++) {
        sum += x[params.x_start + (n * params.pixels + pixel) * params.channels + channel];
    }
    out[i] = sum / f32(params.pixels);
}

@compute @workgroup_size(256)
fn global_avg_pool_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let i = element_index(group, groups, invocation);
    if i >= params.batch * params.pixels * params.channels {
        return;
    }
    let pixel = i / params.channels;
    let channel = i - pixel * params.channels;
    let n = pixel / params.pixels;
    out[i] = dy[params.dy_start + n * params.channels + channel] / f32(params.pixels);
}
